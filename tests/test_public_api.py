"""The client and the session stand by themselves, as docs/python.md says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import target_segment_objects
from target_segment_objects import (
    Client,
    InvalidWriteKeyError,
    Loader,
    Session,
    Spool,
    SpoolError,
    load,
)
from tests.support import RUN_SECONDS

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox

DOCUMENT = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")


def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "module",
    ["segment.client", "segment.session", "delivery.spool", "delivery.scheduler", "limits"],
)
def test_the_sdk_is_not_imported(module: str, tmp_path: Path) -> None:
    """Neither the SDK nor what draws on terminals comes with it."""
    script = (
        f"import sys, target_segment_objects.{module}\n"
        "print([one for one in ('singer_sdk', 'rich', 'click') if one in sys.modules])"
    )
    done = run("-c", script, folder=tmp_path)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "cannot be of type NoneType"),
        (b"a-key", "cannot be of type bytes"),
        ("", "is empty"),
        ("a key", "is not valid"),
        ("a-key\n", "is not valid"),
    ],
)
def test_what_cannot_be_a_write_key(key: Any, reason: str) -> None:  # noqa: ANN401 - any value
    """The error says what a write key is, and does not show what was given."""
    with pytest.raises(InvalidWriteKeyError) as raised:
        Client(key)
    assert str(raised.value) == (
        f"The write key {reason}. It is a string without spaces, which Segment shows for the "
        "source under its API keys."
    )


def test_messages_name_no_settings_of_the_command(tmp_path: Path) -> None:
    """A program has no spool_dir."""
    with Client("a-key", api_url="http://127.0.0.1:9") as client, pytest.raises(SpoolError) as read:
        client.upload("id", tmp_path / "none.gz")
    with pytest.raises(SpoolError) as created:
        Spool(str(tmp_path / "none")).new_path()
    for raised in (read, created):
        assert "spool_dir" not in str(raised.value)
        assert str(raised.value).endswith("Check that the folder exists.")


def test_importing_the_package_imports_nothing_else(tmp_path: Path) -> None:
    """What a name needs is imported when the name is first used."""
    script = (
        "import sys, target_segment_objects\n"
        "print([name for name in sys.modules if name.startswith('target_segment_objects.')])"
    )
    done = run("-c", script, folder=tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_importing_the_public_names_does_not_import_the_sdk(tmp_path: Path) -> None:
    """Neither the SDK nor what draws on terminals comes with any of them."""
    script = (
        "import sys\n"
        "from target_segment_objects import *\n"
        "print([name for name in ('singer_sdk', 'rich', 'click') if name in sys.modules])"
    )
    done = run("-c", script, folder=tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_the_documented_names_are_the_public_ones() -> None:
    """docs/python.md names each public name, and no other."""
    cells = re.findall(r"^\| (`[A-Za-z_]+.*?) \|", DOCUMENT, re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)", cell)]
    assert sorted(documented) == sorted(target_segment_objects.__all__)


def test_every_public_name_can_be_imported_and_listed() -> None:
    """Each is there, with the version; another name is an AttributeError."""
    for name in target_segment_objects.__all__:
        assert getattr(target_segment_objects, name) is not None
    assert set(dir(target_segment_objects)) == {*target_segment_objects.__all__, "__version__"}
    assert target_segment_objects.__version__ == metadata.version("target-segment-objects")
    with pytest.raises(AttributeError, match="no attribute 'client'"):
        _ = target_segment_objects.client


def test_every_public_error_has_the_same_base() -> None:
    """A caller can catch SegmentObjectsError alone."""
    errors = [name for name in target_segment_objects.__all__ if name.endswith("Error")]
    assert errors
    for name in errors:
        error = getattr(target_segment_objects, name)
        assert issubclass(error, target_segment_objects.SegmentObjectsError)


def test_the_example_of_the_documentation_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    """As it is printed: the object lands, and the ids that it prints are the session's."""
    (example,) = re.findall(r"```python\n(import .*?)```", DOCUMENT, re.DOTALL)
    statements = [line for line in example.splitlines() if line and "import" not in line]
    assert len(statements) <= 10
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    done = run("example.py", folder=tmp_path, SEGMENT_WRITE_KEY="k", SEGMENT_API_URL=sandbox.url)
    assert done.returncode == 0, done.stderr
    (session,) = sandbox.warehouse.sessions()
    assert done.stdout.startswith(f"{session.sync_id} ['")
    (row,) = sandbox.warehouse.rows("users")
    assert (row["id"], row["first_name"], row["age"]) == ("1", "Ada", 36)


@pytest.mark.parametrize("documented", [Client, Session, Loader, load])
def test_the_documentation_names_the_options(documented: Any) -> None:  # noqa: ANN401 - callables
    """Each option of these is in the document's table, and none that is not."""
    (row,) = re.findall(rf"^\| `{documented.__name__}\((.*?)\)`", DOCUMENT, re.MULTILINE)
    documented_options = [name for name in re.split(r"[ ,*]+", row) if name]
    assert documented_options == [*inspect.signature(documented).parameters]
