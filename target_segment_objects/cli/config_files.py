"""Reads the files of `--config`. An error names the file and what is wrong with it.

A value that is not a file name is not repeated in an error: it may be JSON with the write key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT: Final = "ENV"
"""Stands for the environment instead of a file."""

_NOT_IN_NAMES: Final = frozenset('{}"=\n')
"""Characters of JSON and of assignments, which are hardly in the name of a file."""


class ConfigInput(msgspec.Struct, frozen=True):
    """What `--config` gives.

    Attributes:
        paths: The values of the option.
        config: The settings in the files.
        parse_env: Whether settings are read from the environment, too.
    """

    paths: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    parse_env: bool = False

    def __repr__(self) -> str:
        """Show no settings: one of them is the write key."""
        return f"ConfigInput(parse_env={self.parse_env})"


class ConfigFileError(ValueError):
    """A configuration file cannot be used."""


def read_config_files(paths: Sequence[str]) -> ConfigInput:
    """Return the settings in the files; later files override earlier ones.

    Raises:
        ConfigFileError: A file cannot be used.
    """
    config: dict[str, Any] = {}
    for path in paths:
        if path != ENVIRONMENT:
            config |= _read_config_file(path)
    return ConfigInput(tuple(paths), config, ENVIRONMENT in paths)


def may_be_file_name(value: str) -> bool:
    """Return whether a value may be shown: it does not look like settings."""
    return not _NOT_IN_NAMES & set(value)


def _read_config_file(path: str) -> dict[str, Any]:
    try:
        config = json.loads(_read_text(path))
    except json.JSONDecodeError as error:  # not as the cause: it holds the whole text
        place = f"{error.msg} at line {error.lineno}, column {error.colno}"
        msg = f"Config file is not JSON: {path}: {place}."
        raise ConfigFileError(msg) from None
    except RecursionError:
        msg = f"Config file is nested too deeply: {path}"
        raise ConfigFileError(msg) from None
    if not isinstance(config, dict):
        msg = f"Config file is not a JSON object: {path}"
        raise ConfigFileError(msg)
    return config


def _read_text(path: str) -> str:
    try:
        # A shell expands ~ in `--config ~/x`, but not in `--config=~/x`.
        return Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig")  # noqa: PTH111 - Path's fails for an unknown user
    except UnicodeDecodeError as error:  # not as the cause: it holds the whole text
        msg = f"Config file is not UTF-8: {path}: byte {error.start + 1}."
        raise ConfigFileError(msg) from None
    except (OSError, ValueError) as error:
        if not may_be_file_name(path):
            msg = (
                "--config takes the name of a file, or ENV. What was given is not the name of a "
                "file that can be read."
            )
            raise ConfigFileError(msg) from None
        hint = ". Did you mean ENV?" if path.upper() == ENVIRONMENT else ""
        msg = f"{_describe_read_error(path, error)}: {path}{hint}"
        raise ConfigFileError(msg) from error


def _describe_read_error(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "Config file not found"
    if isinstance(error, IsADirectoryError) or (
        isinstance(error, PermissionError) and Path(path).is_dir()  # so on Windows
    ):
        return "Config file is a folder"
    if isinstance(error, PermissionError):
        return "No permission to read the config file"
    reason = getattr(error, "strerror", None) or "not a file name"
    return f"Config file cannot be read ({reason})"
