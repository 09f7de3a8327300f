"""The four calls of the Objects Bulk API: authentication, retries, answer → error.

The only module that imports `requests`. Each call is prepared (pure), sent, and its answer read
(pure); one retry stands around the middle. The rules that others may rely on:

- A call returns when Segment answered as documented, and raises an `ApiError` otherwise.
- No answer (refused, reset, timed out), 408, 429 and every 5xx are tried again, with exponential
  waits and full jitter, or as long as `Retry-After` asks. Any other answer is final.
- There are never more than `limits.MAX_CONCURRENT_REQUESTS` requests under way. One place among
  them is kept for Keep Alive and for last words, so that long uploads cannot let a session expire.
- The write key is in no message, no log and no `repr`, nor is what an upload holds: answers are
  quoted with care, because they may quote the request.
- Every error of `requests`, and of what lies below it, leaves here as one of ours.
"""

from __future__ import annotations

import base64
import datetime
import email.utils
import io
import json
import logging
import math
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import backoff
import requests
import requests.adapters
import urllib3.exceptions

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    PermanentApiError,
    SessionExpiredError,
    SpoolError,
    TransientApiError,
)
from target_segment_objects.segment.urls import validate_api_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

DEFAULT_API_URL: Final = "https://objects-bulk-api.segmentapis.com"

DEFAULT_REQUEST_TIMEOUT_SECONDS: Final = 300
"""Longest wait for one response."""

DEFAULT_MAX_RETRIES: Final = 10
"""Retries of a call, after the first attempt."""

CONNECT_TIMEOUT_SECONDS: Final = 30.0
"""Longest wait for a connection: one that takes longer will not come."""

MAX_BACKOFF_SECONDS: Final = 60.0
"""Longest wait between two tries, where the answer does not ask for another."""

MAX_RETRY_AFTER_SECONDS: Final = 600.0
"""Longest wait that a `Retry-After` is believed: what asks for more will ask again."""

KEEP_ALIVE_SECONDS: Final = 30.0
"""For a place among the requests, and again for the answer to a Keep Alive."""

ABORT_TIMEOUT_SECONDS: Final = 3.0
"""For a place, a connection and an answer each, when the user waits for the process to end."""

_TRY_AGAIN: Final = frozenset({408, 429})
_SERVER_FAULTS: Final = range(500, 600)
_KEY_REFUSED: Final = frozenset({401, 403})
_SESSION_UNKNOWN: Final = frozenset({400, 404, 410})
_TOO_LARGE: Final = 413
_SHOWN_CHARACTERS: Final = 200
_SECRET_CHARACTERS: Final = 8
_ANSWER_BYTES: Final = 64 * 1024  # of an answer that are read: it holds an id, or a reason

_CANNOT_BE_SENT: Final = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
    urllib3.exceptions.LocationValueError,  # `requests` lets it through
)
"""What is wrong with the request itself, so that no other try can better it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    """One of the four calls, prepared."""

    name: str
    path: str
    answer: int
    sync_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    json: dict[str, str] | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return self.name if self.sync_id is None else f"{self.name} of session {self.sync_id}"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back: as much as is needed of it."""

    status: int
    retry_after: str | None
    body: bytes

    def member(self, name: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return a member of the JSON object that the body is; None where there is none."""
        try:
            return json.loads(self.body)[name]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


class _Http(requests.Session):
    """Follows no redirect, and does not even look where one leads: the key would go with it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none."""


class _Part(io.FileIO):
    """A file while it is sent, whose failures are not taken for the network's."""

    def read(self, size: int | None = -1) -> bytes:
        """Read some of it.

        Raises:
            SpoolError: The disk does not give it.
        """
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as cause:
            raise SpoolError("read", self.name, cause) from cause


class Client:
    """Segment's Objects Bulk API with one write key. Threads may share it.

    As a context manager it closes its connections.
    """

    def __init__(
        self,
        write_key: str,
        *,
        api_url: str = DEFAULT_API_URL,
        timeout_seconds: float = DEFAULT_REQUEST_TIMEOUT_SECONDS,
        max_retries: int = DEFAULT_MAX_RETRIES,
        max_wait_seconds: float = MAX_RETRY_AFTER_SECONDS,
        user_agent: str | None = None,
    ) -> None:
        """Keep what every call needs; nothing is sent yet.

        Args:
            write_key: The source's write key.
            api_url: The API's base address.
            timeout_seconds: For one answer.
            max_retries: Further tries of a call, after the first.
            max_wait_seconds: Longest wait between two tries, whatever an answer asks for.
            user_agent: How to present ourselves; None for the HTTP library's way.

        Raises:
            InvalidUrlError: `api_url` is malformed, or plain `http://` to another machine.
        """
        validate_api_url(api_url)
        self.api_url = api_url.rstrip("/")
        self._timeout = timeout_seconds
        self._max_retries = max_retries
        self._max_wait = max_wait_seconds
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        # What is shorter is no secret, and may be a word of the answer's.
        self._secrets = tuple(
            text for text in (write_key, token) if len(text) >= _SECRET_CHARACTERS
        )
        self._http = _Http()
        self._http.auth = (write_key, "")
        if self.api_url.lower().startswith("http://"):
            # Only this machine is spoken to in clear. A proxy of the environment's would get the
            # key, and could not reach us anyway.
            self._http.trust_env = False
        if user_agent is not None:
            self._http.headers["User-Agent"] = user_agent
        adapter = requests.adapters.HTTPAdapter(
            pool_connections=1, pool_maxsize=limits.MAX_CONCURRENT_REQUESTS
        )
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)
        self._places = threading.BoundedSemaphore(limits.MAX_CONCURRENT_REQUESTS - 1)
        self._kept_place = threading.Lock()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def start(self) -> str:
        """Begin a bulk session.

        Returns:
            Its `sync_id`.
        """
        call = _Call("Start", "/v0/start", 201)
        return _identifier(call, self._patiently(call), "sync_id")

    def upload(self, sync_id: str, file: Path) -> str:
        """Send a file of a session, whole, as often as it takes.

        Args:
            sync_id: The session.
            file: Gzip of JSON lines.

        Returns:
            Its `part_id`.

        Raises:
            SpoolError: The file cannot be read.
        """
        call = _Call(
            "Upload",
            f"/v0/upload/{_quoted(sync_id)}",
            201,
            sync_id,
            headers=(("Content-Type", "binary/octet-stream"), ("Content-Encoding", "gzip")),
            file=file,
        )
        return _identifier(call, self._patiently(call), "part_id")

    def keep_alive(self, sync_id: str) -> None:
        """Tell Segment that a session is still in use; tried once, the next one comes soon."""
        call = _Call("Keep Alive", f"/v0/keep-alive/{_quoted(sync_id)}", 200, sync_id)
        self._at_once(call, KEEP_ALIVE_SECONDS)

    def finish(self, sync_id: str, error: str = "") -> None:
        """End a session: its objects count now, or never.

        Args:
            sync_id: The session.
            error: Blank when all went well, else what failed.
        """
        self._patiently(_finish(sync_id, error))

    def abort_session(self, sync_id: str, error: str) -> None:
        """End a session that failed with one short try, on the way out."""
        self._at_once(_finish(sync_id, error), ABORT_TIMEOUT_SECONDS)

    def _patiently(self, call: _Call) -> _Answer:
        """Send a call until there is an answer that trying again would not better."""
        retrying = backoff.on_exception(
            _waits,
            TransientApiError,
            max_tries=self._max_retries + 1,
            longest=self._max_wait,
            jitter=None,  # _waits has it already, but not on what Retry-After asks for
            on_backoff=[_log_wait],
            logger=None,
        )
        try:
            return retrying(self._in_turn)(call)
        except TransientApiError as error:
            tries = self._max_retries + 1
            again = f", {tries} times" if tries > 1 else ""
            msg = (
                f"{error}{again}. Check the network and Segment's status page, then run again: "
                "the last STATE says where to go on."
            )
            raise TransientApiError(msg, status=error.status) from error

    def _in_turn(self, call: _Call) -> _Answer:
        with self._places:
            return self._send(call, self._timeout)

    def _at_once(self, call: _Call, seconds: float) -> None:
        """Send a call once, in a free place or in the one that is kept."""
        seconds = min(seconds, self._timeout)
        free = self._places.acquire(blocking=False)
        if not free and not self._kept_place.acquire(timeout=seconds):
            msg = f"{call}: not sent, {limits.MAX_CONCURRENT_REQUESTS} requests are under way"
            raise TransientApiError(msg)
        try:
            self._send(call, seconds)
        finally:
            (self._places if free else self._kept_place).release()

    def _send(self, call: _Call, timeout: float) -> _Answer:
        with _opened(call.file) as data, _answer_expected(call, self.api_url):
            response = self._http.post(
                f"{self.api_url}{call.path}",
                headers=dict(call.headers),
                json=call.json,
                data=data,
                timeout=(min(timeout, CONNECT_TIMEOUT_SECONDS), timeout),
                stream=True,
            )
            answer = _read(response)
        if answer.status != call.answer:
            raise _error(call, answer, _shown(call, answer, self._secrets), self.api_url)
        return answer


def _finish(sync_id: str, error: str) -> _Call:
    path = f"/v0/finish/{_quoted(sync_id)}"
    return _Call("Finish", path, 202, sync_id, json={"error": error})


def _quoted(sync_id: str) -> str:
    """Write an id so that it stays one step of a path, whatever it is."""
    return quote(sync_id, safe="")


@contextmanager
def _opened(file: Path | None) -> Iterator[Any]:
    """Open a file to be sent; nothing to send is an empty body."""
    if file is None:
        yield None
        return
    try:
        opened = _Part(file)
    except OSError as cause:
        raise SpoolError("read", file, cause) from cause
    with opened:
        yield opened


@contextmanager
def _answer_expected(call: _Call, api_url: str) -> Iterator[None]:
    """Turn what `requests` raises, when no answer came, into our own."""
    try:
        yield
    except _CANNOT_BE_SENT as cause:
        msg = f"{call}: cannot be sent to {api_url}. Check api_url and write_key, and the proxy."
        raise PermanentApiError(msg) from cause
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as cause:
        msg = f"{call}: no answer from {api_url} ({_why(cause)})"
        if isinstance(_innermost(cause), ssl.SSLCertVerificationError):
            msg = f"{msg}. Check api_url, and which certificates this machine trusts."
            raise PermanentApiError(msg) from cause
        raise TransientApiError(msg) from cause


def _read(response: requests.Response) -> _Answer:
    """Read an answer, of an endless one the beginning."""
    body = bytearray()
    with response:
        for piece in response.iter_content(_ANSWER_BYTES):
            body += piece
            if len(body) >= _ANSWER_BYTES:
                break
    return _Answer(response.status_code, response.headers.get("Retry-After"), bytes(body))


def _why(cause: BaseException) -> str:
    """Say in a few words why there was no answer, without what is private in an address."""
    reason = _innermost(cause)
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(cause, requests.exceptions.Timeout) or isinstance(
        reason, (TimeoutError, urllib3.exceptions.TimeoutError)
    ):
        return "nothing came in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__


def _innermost(cause: BaseException) -> BaseException:
    """Follow what `requests` and `urllib3` wrap around each other down to the reason."""
    for inner in (getattr(cause, "reason", None), *cause.args, cause.__cause__):
        if isinstance(inner, BaseException) and inner is not cause:
            return _innermost(inner)
    return cause


def _error(call: _Call, answer: _Answer, shown: str, api_url: str) -> ApiError:
    """Return the error that an answer other than the documented one is."""
    status = answer.status
    said = f"{call}: Segment answered {status}{shown}"
    if status in _TRY_AGAIN or status in _SERVER_FAULTS:
        return TransientApiError(said, status=status, retry_after=_retry_after(answer.retry_after))
    if status in _KEY_REFUSED:
        msg = f"{said}: the write key is not accepted. Check write_key."
        return AuthenticationError(msg, status=status)
    if call.sync_id is not None and status in _SESSION_UNKNOWN:
        return SessionExpiredError(said, status=status)
    if status == _TOO_LARGE:
        msg = f"{said}: the file is too large for it. Make max_file_bytes smaller."
        return PermanentApiError(msg, status=status)
    msg = f"{said}, where {call.answer} was expected. Check that {api_url} is the right api_url."
    return PermanentApiError(msg, status=status)


def _shown(call: _Call, answer: _Answer, secrets: tuple[str, ...]) -> str:
    """Return what of an answer's body may be shown.

    The answer to an upload may quote what was uploaded, and so may that to the Finish which has it
    processed. Of these only the fields are shown in which the sandbox says where and why, and
    never a value.
    """
    error = answer.member("error")
    reason = error.get("reason") if isinstance(error, dict) else None
    if isinstance(error, dict) and isinstance(reason, str):
        line = error.get("line")
        said = f"line {line}: {reason}" if isinstance(line, int) else reason
    elif call.file is not None or call.json is not None or answer.body[:1] == b"<":  # HTML
        said = ""
    else:
        said = answer.body.decode(errors="replace")
    for secret in secrets:
        said = said.replace(secret, "***")
    said = "".join(one if one.isprintable() else " " for one in said)
    said = " ".join(said.split())[:_SHOWN_CHARACTERS]
    return f" ({said})" if said else ""


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that an answer asks to wait, from either form of `Retry-After`.

    What asks for no wait at all, as a date that is past, says nothing: our own waits are shorter
    than a minute, and tries that follow at once would soon be used up.
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
    if until.tzinfo is None:  # "-0000", which is UTC without saying where
        until = until.replace(tzinfo=datetime.timezone.utc)
    return (until - datetime.datetime.now(tz=datetime.timezone.utc)).total_seconds()


def _identifier(call: _Call, answer: _Answer, name: str) -> str:
    identifier = answer.member(name)
    if not isinstance(identifier, str) or not identifier or not identifier.isprintable():
        msg = f"{call}: the answer has no {name}. Check that api_url is Segment's."
        raise PermanentApiError(msg, status=answer.status)
    return identifier


def _waits(longest: float) -> Generator[Any, Any, None]:
    """Yield the seconds to wait before each further try, as `backoff` asks for them."""
    steps = backoff.expo(max_value=MAX_BACKOFF_SECONDS)
    next(steps)
    error = yield
    while True:
        asked = error.retry_after
        wait = backoff.full_jitter(next(steps)) if asked is None else asked
        error = yield min(wait, longest)


def _log_wait(details: Any) -> None:  # noqa: ANN401 - backoff has no public type for it
    logger.warning(
        "%s. Trying again in %.1f s (try %d).",
        details["exception"],
        details["wait"],
        details["tries"] + 1,
    )
