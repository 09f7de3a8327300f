"""Private members of the SDK that the target overrides or uses are as they were."""

from __future__ import annotations

import hashlib
import inspect
from importlib import metadata
from typing import Any, Final

import pytest
from singer_sdk import mapper, metrics, plugin_base, sinks, target_base
from singer_sdk.singerlib.encoding import base

# Each member, and the start of the SHA-256 of its source in singer-sdk 0.54.9.
KNOWN: Final[dict[Any, dict[str, str]]] = {
    target_base.Target: {
        "get_sink": "d50a023664a5c97b",
        "drain_all": "1da0109210d345c4",
        "process_endofpipe": "cfb659b6898b0490",
        "_process_schema_message": "ed6e8449bc8ff234",
        "_process_record_message": "08aaf4096e2d39e7",
        "_process_batch_message": "f26fbe519745daf2",
        "_process_activate_version_message": "377950028ca9b3eb",
        "_process_state_message": "e27158e2b1e7ea6d",
        "_write_state_message": "bf40aa5e36ebef4d",
    },
    plugin_base.PluginBase: {
        "_validate_config": "0584b9e347e353fa",
        "_setup_signal_handlers": "eb4287001bdd7d19",
        "setup_mapper": "18669d0d28bd587f",
        "cb_config": "bb313c8c34f6ff33",
        "get_singer_command": "71a1f42edd6f0d64",
    },
    plugin_base._ConfigInput: {"from_cli_args": "977c27ea1aa526c8"},  # noqa: SLF001 - the private class is what the test checks
    base.GenericSingerReader: {
        "process_lines": "f6d848854616d1d8",
        "assert_line_requires": "91c2ae04d02f56c8",
    },
    sinks.Sink: {
        "__init__": "8013bcca4771f0ee",
        "_add_sdc_metadata_to_record": "0ac381cf306bfc0c",
        "_remove_sdc_metadata_from_record": "7cd9e5fb192f13ec",
        "_remove_sdc_metadata_from_schema": "2dc71b7ab109162a",
        "_validate_and_parse": "970aadabcc4da8c7",
        "_singer_validate_message": "018b08ee7f624f61",
    },
    mapper.PluginMapper: {"register_raw_stream_schema": "b86016569f9b1404"},
    mapper.CustomStreamMap: {"_eval": "389317fd6fbbdc12"},  # its local `property_name` is read
    mapper.SameRecordTransform: {
        "transform": "db46d82cacfd5593",
        "get_filter_result": "1bf3b70e2572a4c4",
    },
    mapper.DefaultStreamMap.__mro__[1]: {"transform": "3d21910fbf85f850"},
    metrics.Counter: {"increment": "7310d5f6f52fdbf2", "_ready_to_log": "57f5533effc3a205"},
}


def hash_source(owner: Any, name: str) -> str:  # noqa: ANN401 - any class
    """Return the start of the SHA-256 of a member's source."""
    member = inspect.getattr_static(owner, name)
    if isinstance(member, property):
        member = member.fget
    function = getattr(member, "__func__", member)
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        pytest.param(owner, name, expected, id=f"{owner.__name__}.{name}")
        for owner, members in KNOWN.items()
        for name, expected in members.items()
    ],
)
def test_sdk_member_is_unchanged(owner: Any, name: str, expected: str) -> None:  # noqa: ANN401 - any class
    """A changed source has to be reviewed, and its new digest entered here."""
    actual = hash_source(owner, name)
    assert actual == expected, (
        f"singer-sdk {metadata.version('singer-sdk')} changed {owner.__name__}.{name}, "
        "compared with 0.54.9. Read the change, check that target.py, sinks.py, singer/ and "
        f"mapping/ still do the same, then enter {actual} here."
    )
