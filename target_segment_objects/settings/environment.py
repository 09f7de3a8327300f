"""The variables of a run: those of the process, and ours from the `.env` of the current folder.

`load_environment` is the only reader of `.env`. The rules that others may rely on:

- It is called before an option takes its default from a variable, so that all of them see the same.
- Only the file in the current folder is read, and of it only the names that begin with `PREFIX`. A
  variable of the process wins, and the process's variables stay as they are.
- A file that another user could have written sets nothing; what would have used it fails instead.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from singer_sdk.exceptions import ConfigValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "TARGET_SEGMENT_OBJECTS_"
"""What every variable of the target begins with."""

SANDBOX: Final = f"{PREFIX}SANDBOX"
ACCEPT_DELETES: Final = f"{PREFIX}ACCEPT_DELETES"
LOG_LEVEL: Final = f"{PREFIX}LOGLEVEL"
COMMAND_VARIABLES: Final = frozenset({SANDBOX, ACCEPT_DELETES, LOG_LEVEL})
"""Those that are not settings: the command reads them with and without `--config=ENV`."""

_MAX_BYTES: Final = 1_000_000  # of the file; ours: a page of variables has a few thousand
_ROOT: Final = 0
_INSTEAD: Final = "set the variables in the environment"


class Environment(msgspec.Struct, frozen=True):
    """The variables of a run.

    Attributes:
        variables: All of the process, and ours of the file.
        file: The `.env`; None if there is none.
        file_names: Our variables that only the file sets.
        problem: Why the file cannot be used; None if it can.
    """

    variables: Mapping[str, str]
    file: Path | None = None
    file_names: tuple[str, ...] = ()
    problem: str | None = None

    def __repr__(self) -> str:
        """Show no value: one of them may be the write key."""
        return f"Environment(file={self.file}, file_names={self.file_names})"

    def describe_file_use(self, *, with_settings: bool) -> str | None:
        """Return a line that says what is used of the file; None if nothing is.

        Its settings are used only `with_settings`, and variables of the command in any case.

        Raises:
            ConfigValidationError: Something would be used, and the file cannot be.
        """
        used = [name for name in self.file_names if with_settings or name in COMMAND_VARIABLES]
        if self.problem is not None and (used or not self.file_names):
            msg = f"{self.file} cannot be used: {self.problem}."
            raise ConfigValidationError(msg, errors=[msg])
        return f"Variables from {self.file}: {', '.join(used)}" if used else None


def load_environment() -> Environment:
    """Return the variables of the process and of the `.env` in the current folder."""
    try:
        file = Path.cwd() / ".env"
        link = file.lstat()
        if file.is_dir():  # a virtual environment is often called so
            return Environment(os.environ)
        content, status = _read_file(file)
    except FileNotFoundError:
        return Environment(os.environ)
    except OSError as cause:
        reason = f"{cause.strerror or cause}. Correct or remove it, or {_INSTEAD}"
        return Environment(os.environ, file, problem=reason)
    values, malformed_line = _parse_file(content)
    if malformed_line is not None:
        reason = f"line {malformed_line} is not like {PREFIX}NAME=value"
        return Environment(os.environ, file, problem=reason)
    added = {name: value for name, value in values.items() if name not in os.environ}
    problem = _find_distrust(file, {link.st_uid, status.st_uid}, status.st_mode) if added else None
    if problem is not None:
        return Environment(os.environ, file, tuple(added), problem)
    return Environment({**added, **os.environ}, file, tuple(added))


def _read_file(file: Path) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file, and its status.

    Raises:
        OSError: It cannot be read, or is something else: a pipe could wait for ever.
    """
    _require_regular(file.stat())
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        _require_regular(status)
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(0, f"it has more than {_MAX_BYTES:,} bytes")
    if b"\0" in content:  # as UTF-16 has, which PowerShell writes
        raise OSError(0, "it is not UTF-8 text")
    return content, status


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is not a regular file")


def _parse_file(content: bytes) -> tuple[dict[str, str], int | None]:
    """Return our variables, and the number of the first malformed line that names one of ours."""
    # Not at the start, which every load waits for.
    from dotenv import dotenv_values  # noqa: PLC0415
    from dotenv.parser import parse_stream  # noqa: PLC0415

    # As Python decodes the variables of the process.
    text = content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    bindings = list(parse_stream(io.StringIO(text)))
    malformed = [each.original for each in bindings if each.error]
    line = next((each.line for each in malformed if PREFIX in each.string), None)
    sound = "".join(each.original.string for each in bindings if not each.error)
    values = dotenv_values(stream=io.StringIO(sound))
    ours = {name: value for name, value in values.items() if name.startswith(PREFIX) and value}
    return ours, line


def _find_distrust(file: Path, owners: set[int], mode: int) -> str | None:
    """Return why another user could have written a file; None if only root and this one could."""
    if not hasattr(os, "geteuid"):  # Windows
        return None
    if not owners <= {_ROOT, os.geteuid()}:
        return f"it belongs to another user. Make it yours, remove it, or {_INSTEAD}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write it. Run: chmod go-w {file}"
    return None
