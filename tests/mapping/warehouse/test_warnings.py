"""Warnings of names that warehouses do not take as they are."""

from __future__ import annotations

import pytest

from target_segment_objects import limits
from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.warehouse import warnings

LONG = "x" * limits.POSTGRES_NAME_BYTES
SHORTENED = "With flattening_enabled, flattening_max_key_length shortens such names."


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        pytest.param(
            ["received_at", "uuid"],
            "Segment has columns of its own named received_at, uuid: it discards the properties, "
            "or adds a leading underscore (its documentation says both).",
            id="columns of Segment's own",
        ),
        pytest.param(
            ["ctid"],
            "Postgres and Redshift reject the names of system columns: ctid.",
            id="system column",
        ),
        pytest.param(
            ["2fa"],
            "A name that begins with a digit gets a leading underscore: _2fa.",
            id="digit",
        ),
        pytest.param(
            ["group"],
            "On Redshift, a reserved word gets a leading underscore: _group. A sync to Snowflake "
            "may fail at ANSI's reserved words: group.",
            id="reserved in Redshift and Snowflake",
        ),
        pytest.param(
            [f"{LONG}y"],
            f"Postgres truncates names to 63 bytes: {LONG}…. {SHORTENED}",
            id="long",
        ),
        pytest.param(
            [f"{LONG}y", f"{LONG}z"],
            f"Postgres truncates names to 63 bytes, some to the same one: {LONG}…. {SHORTENED}",
            id="long and equal",
        ),
        pytest.param(
            [f"{number}a" for number in range(7)],
            "A name that begins with a digit gets a leading underscore: _0a, _1a, _2a, _3a, _4a "
            "and 2 more.",
            id="many",
        ),
    ],
)
def test_message_says_what_becomes_of_the_names(names: list[str], reason: str) -> None:
    """The message has the reason, the names, and what to do."""
    assert warnings.describe_property_names(names) == (
        f"warehouses do not take all names of its properties. {reason} "
        "Rename the properties with stream_maps to avoid that."
    )


def test_both_lengths_are_named() -> None:
    """A name of 128 bytes is too long for Postgres and for Redshift; one of 127 is not."""
    fits = "x" * limits.REDSHIFT_NAME_BYTES
    assert "Redshift" not in warnings.describe_property_names([fits])
    assert "Redshift truncates names to 127" in warnings.describe_property_names([f"{fits}x"])


@pytest.mark.parametrize(
    "name", ["id", "name", "order_id", "created_at", "x" * 63, "sdc_received_at"]
)
def test_ordinary_name_has_no_message(name: str) -> None:
    """An ordinary name, an id and a name of 63 bytes are not warned of."""
    assert not warnings.describe_property_names([name])


@pytest.mark.parametrize(
    ("count", "part"),
    [
        pytest.param(1_600, "", id="a table of Postgres"),
        pytest.param(1_601, "it has more than 1,600 properties. A table in", id="one more"),
        pytest.param(5_000, "it has more than 1,600 properties. A table in", id="Segment's"),
        pytest.param(5_001, "it has more than 5,000 properties, the most", id="one more than that"),
    ],
)
def test_number_of_properties(count: int, part: str) -> None:
    """A stream of more columns than a table has, or than Segment selects, is warned of once."""
    messages: list[str] = []
    data_warnings = DataWarnings("s", messages.append)
    names: dict[tuple[str, ...], str] = {(f"p{number}",): f"p{number}" for number in range(count)}
    for _ in range(2):
        data_warnings.warn_names(names, ["p1"])
    assert [message.startswith(f"Stream 's': {part}") for message in messages] == [True] * bool(
        part
    )


def test_each_name_is_warned_of_once() -> None:
    """A second SCHEMA, and a property that it adds, warn of what is new only."""
    messages: list[str] = []
    data_warnings = DataWarnings("s", messages.append)
    data_warnings.warn_names({("2fa",): "2fa"}, [])
    data_warnings.warn_names({("2fa",): "2fa"}, [])
    assert len(messages) == 1
    data_warnings.warn_names({("2fa",): "2fa", ("3d",): "3d"}, [])
    assert len(messages) == 2
    assert "_3d" in messages[1]
    assert "_2fa" not in messages[1]


@pytest.mark.parametrize(
    ("collection", "part"),
    [
        pytest.param("orders", "", id="ordinary"),
        pytest.param("x" * 63, "", id="63 bytes"),
        pytest.param("x" * 64, "has more than 63 bytes. Postgres truncates it.", id="64 bytes"),
        pytest.param("order", "the table _order. A sync to Snowflake may fail.", id="both"),
        pytest.param("user", "Redshift stores it as the table _user. Choose", id="Redshift"),
        pytest.param("start", "is a reserved word. A sync to Snowflake", id="Snowflake"),
    ],
)
def test_name_of_a_collection(collection: str, part: str) -> None:
    """A reserved word and a long name are warned of, with collection_map as the remedy."""
    message = warnings.describe_collection_name(collection)
    assert part in message
    assert bool(message) == bool(part) == ("collection_map" in message)


@pytest.mark.parametrize(
    ("key_properties", "is_lost"),
    [
        pytest.param(["uuid"], False, id="the id"),
        pytest.param(["uuid", "line"], True, id="a part of the id"),
        pytest.param([], True, id="no key"),
    ],
)
def test_only_key_property_is_not_lost(key_properties: list[str], *, is_lost: bool) -> None:
    """A key without a column of its own is not warned of if it is the object's id."""
    messages: list[str] = []
    names: dict[tuple[str, ...], str] = {("uuid",): "uuid", ("line",): "line"}
    DataWarnings("s", messages.append).warn_names(names, key_properties)
    assert bool(messages) is is_lost
