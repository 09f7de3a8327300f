"""What a response means: an identifier, an error, a wait, text that may be shown. Pure: no I/O.

The rules for others:

- Only the documented success status is a success. 408, 429 and every 5xx are transient; any other
  status is final, and so is 501 to Start, which a web server of another kind answers.
- A message may quote a response, but never the write key or what an upload holds: a server may
  quote the request.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    PermanentApiError,
    SessionExpiredError,
    TransientApiError,
)

if TYPE_CHECKING:
    import re
    from pathlib import Path

MAX_RETRY_AFTER_SECONDS: Final = 600.0
"""Longest `Retry-After` that is honoured: a server that needs longer will ask again."""

_TRANSIENT: Final = frozenset({408, 429, *range(500, 600)})
_RESPONSE_LOST: Final = frozenset({408, 502, 504})
"""A gateway gave up on the service, which may have received the request and still carry it out."""

_KEY_REFUSED: Final = frozenset({401, 403})
_SESSION_UNKNOWN: Final = frozenset({400, 404, 410})
_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
_NOT_IMPLEMENTED: Final = 501
_MAX_SHOWN_CHARACTERS: Final = 200


class Call(msgspec.Struct, frozen=True):
    """One prepared call of the API.

    Attributes:
        name: Its name in Segment's documentation.
        path: Its path below the base address.
        success: The status of a successful response.
        sync_id: The session that it belongs to; None for Start.
        headers: Headers of its own.
        json: Its JSON body.
        file: The file that is its body.
    """

    name: str
    path: str
    success: int
    sync_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    json: dict[str, str] | None = None
    file: Path | None = None

    def __str__(self) -> str:
        """Name the call and its session."""
        return self.name if self.sync_id is None else f"{self.name} of session {self.sync_id}"


class Response(msgspec.Struct, frozen=True):
    """The parts of a response that matter here."""

    status: int
    retry_after: str | None
    body: bytes

    @property
    def is_html(self) -> bool:
        """Whether the body is that of a web page."""
        return self.body.lstrip()[:1] == b"<"

    def get_member(self, name: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return a member of the JSON object in the body; None if there is none."""
        try:
            return json.loads(self.body)[name]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def parse_identifier(call: Call, response: Response, name: str) -> str:
    """Return the identifier that a successful response carries.

    Raises:
        PermanentApiError: It has none, so it is not Segment that responded.
    """
    identifier = response.get_member(name)
    if not isinstance(identifier, str) or not identifier or not identifier.isprintable():
        page = " (an HTML page)" if response.is_html else ""
        msg = (
            f"{call}: the response{page} has no {name}. "
            "Is api_url that of Segment's Objects Bulk API?"
        )
        raise PermanentApiError(msg, status=response.status)
    return identifier


def build_error(
    call: Call, response: Response, *, api_url: str, secrets: re.Pattern[str]
) -> ApiError:
    """Return the error for a response that is not the documented success."""
    status = response.status
    body = _describe_body(call, response, secrets)
    if call.sync_id is None and _is_foreign(status):
        msg = (
            f"{call}: {api_url} answered {status}{body}, but {call.success} was expected. Is this "
            "api_url that of Segment's Objects Bulk API?"
        )
        return PermanentApiError(msg, status=status)
    problem = f"{call}: Segment answered {status}{body}"
    if status in _TRANSIENT:
        retry_after = parse_retry_after(response.retry_after)
        is_response_lost = status in _RESPONSE_LOST
        return TransientApiError(
            problem, status=status, retry_after=retry_after, is_response_lost=is_response_lost
        )
    if status in _KEY_REFUSED:
        msg = f"{problem}: the write key is not accepted. Check write_key."
        return AuthenticationError(msg, status=status)
    if call.sync_id is not None and status in _SESSION_UNKNOWN:
        return SessionExpiredError(problem, status=status)
    if status == _TOO_LARGE:
        msg = f"{problem}: the file is too large. Lower max_file_bytes."
        return PermanentApiError(msg, status=status)
    msg = f"{problem}, but {call.success} was expected. Check that {api_url} is the right api_url."
    return PermanentApiError(msg, status=status)


def _is_foreign(status: int) -> bool:
    """Return whether a status is none that Segment's API, or what stands before it, has for Start.

    400 is documented. A web server without this API answers 404 or 405, 501 to every POST, or
    redirects.
    """
    if status == _NOT_IMPLEMENTED:
        return True
    return status not in _TRANSIENT | _KEY_REFUSED | {_BAD_REQUEST, _TOO_LARGE}


def _describe_body(call: Call, response: Response, secrets: re.Pattern[str]) -> str:
    """Return what of a response's body may be shown.

    The response to an upload may quote what was uploaded, and so may that to Finish, which has it
    processed. Of these, only the fields are shown in which the sandbox says where and why.
    """
    error = response.get_member("error")
    reason = error.get("reason") if isinstance(error, dict) else None
    if isinstance(error, dict) and isinstance(reason, str):
        line = error.get("line")
        text = f"line {line}: {reason}" if isinstance(line, int) else reason
    elif response.is_html:
        return " (an HTML page)"
    elif call.file is not None or call.json is not None:
        text = ""
    else:
        text = response.body.decode(errors="replace")
    text = secrets.sub("***", text)
    text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split())[:_MAX_SHOWN_CHARACTERS]
    return f" ({text})" if text else ""


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a response asks to wait, from either form of `Retry-After`.

    A value that asks for no wait, such as a past date, is ignored: retries without a wait would
    soon be used up.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _seconds_until(date: str) -> float:
    try:
        until = email.utils.parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return math.nan
    if until.tzinfo is None:  # the zone "-0000": UTC, of an unknown origin
        until = until.replace(tzinfo=datetime.timezone.utc)
    return (until - datetime.datetime.now(tz=datetime.timezone.utc)).total_seconds()
