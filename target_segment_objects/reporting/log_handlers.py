"""What log lines look like: every line is printable, and short on a terminal.

Messages contain names and keys from the tap. A line break or an escape sequence in one of them
could forge a log line or control the terminal. So a filter on every handler escapes what is not
printable.

On a terminal, a line is the time and the message; warnings and errors are colored. METRIC lines,
which are for programs, are left out, and so is a line of the SDK that is not true of this target.
Elsewhere the lines have the SDK's format. If the user has a logging configuration, it decides.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOG_CONFIG_VARIABLE: Final = "SINGER_SDK_LOG_CONFIG"

_LEVEL_VARIABLES: Final = ("TARGET_SEGMENT_OBJECTS_LOGLEVEL", "LOGLEVEL")  # the first one wins
_LEVEL_COLORS: Final = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[1;31m"}  # yellow, red
_RESET_COLOR: Final = "\x1b[0m"

_MISLEADING_MESSAGE: Final = "Skipping parse of env var settings..."
"""The SDK's; the target reads the variables itself."""

_SHORT_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


class LoggingConfigError(Exception):
    """A variable for logging is not valid."""


def find_log_level(environment: Mapping[str, str]) -> str | None:
    """Return the log level that variables set, which the SDK would reject with a traceback.

    Raises:
        LoggingConfigError: The level does not exist.
    """
    for variable in _LEVEL_VARIABLES:
        level = environment.get(variable)
        if level:
            if not isinstance(logging.getLevelName(level.upper()), int):
                msg = f"{variable} cannot be {level!r}: it must be DEBUG, INFO, WARNING or ERROR."
                raise LoggingConfigError(msg)
            return level.upper()
    return None


def set_up_log_handlers(stream: TextIO | None, level: str | None = None) -> None:
    """Have every handler escape its messages; shorten the lines of those that write to a terminal.

    Args:
        stream: Standard error.
        level: The log level, unless the user has a logging configuration; None for the SDK's.
    """
    is_short = has_short_lines(stream)
    if LOG_CONFIG_VARIABLE in os.environ:
        level = None
    if level is not None:
        logging.root.setLevel(level)
    for handler in find_log_handlers():
        if level is not None:
            # The SDK sets the level of METRIC lines by the process's variables alone.
            handler.setLevel(level)
        handler.addFilter(_escape_record)
        if is_short and getattr(handler, "stream", None) is stream:
            handler.setFormatter(_TerminalFormatter(has_colors=has_colors()))
            handler.addFilter(_is_for_people)


def find_log_handlers() -> Iterator[logging.Handler]:
    """Yield the handlers of all loggers."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        yield from getattr(logger, "handlers", ())


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can overwrite a line."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def has_short_lines(stream: TextIO | None) -> bool:
    """Return whether log lines on a stream are shortened: it is a terminal that shows them."""
    return is_terminal(stream) and LOG_CONFIG_VARIABLE not in os.environ


def has_colors() -> bool:
    """Return whether a terminal shows colors, and the user wants them."""
    # An old console of Windows would show the escape sequences.
    return not os.environ.get("NO_COLOR") and (os.name != "nt" or "WT_SESSION" in os.environ)


def escape_unprintable(text: str) -> str:
    """Return a text in which every character that is not printable is escaped as in JSON.

    These are control characters, line breaks, marks that change the direction of text, and lone
    surrogates, which cannot be encoded. JSON stays JSON.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape_character(char) for char in text)


def _escape_character(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _escape_record(record: logging.LogRecord) -> bool:
    """Escape the message of a record, and the lines of its traceback."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - the handler reports it, without ending the run
        return True
    if not message.isprintable():
        record.msg, record.args = escape_unprintable(message), None
    if record.exc_info and not record.exc_text:
        lines = logging.Formatter().formatException(record.exc_info).split("\n")
        record.exc_text = "\n".join(map(escape_unprintable, lines))
    return True


def _is_for_people(record: logging.LogRecord) -> bool:
    # Not at the start: rows from Python are loaded without the SDK.
    from singer_sdk.metrics import METRICS_LOGGER_NAME  # noqa: PLC0415

    return record.name != METRICS_LOGGER_NAME and record.msg != _MISLEADING_MESSAGE


class _TerminalFormatter(logging.Formatter):
    """The time and the message; the level, too, unless it is INFO.

    Args:
        has_colors: Whether lines of some levels are colored.
    """

    def __init__(self, *, has_colors: bool) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")
        self._has_colors = has_colors

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        line = super().formatMessage(record)
        if record.levelno == logging.INFO:
            return line
        line = f"{record.asctime} {record.levelname}: {record.message}"
        color = _LEVEL_COLORS.get(record.levelno)
        return f"{color}{line}{_RESET_COLOR}" if color and self._has_colors else line
