"""One HTTP request and its response: authentication, redirects, proxies.

With `connection_errors`, the only module that imports `requests`. Every error of `requests`, and of
what lies below it, is raised as one of ours. The write key goes to the base address alone: no
redirect is followed, and no proxy is used for plain `http://`.
"""

from __future__ import annotations

import functools
import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import requests
import requests.adapters

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    AuthenticationError,
    SpoolError,
    TransientApiError,
)
from target_segment_objects.segment.authentication import AuthForm, WriteKeyAuth
from target_segment_objects.segment.connection_errors import translate_errors
from target_segment_objects.segment.responses import Call, Response, build_error
from target_segment_objects.segment.urls import validate_api_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONNECT_TIMEOUT_SECONDS: Final = 30.0
"""Longest wait for a connection; one that takes longer will not be established."""

_MIN_SECRET_CHARACTERS: Final = 8  # a shorter key is no secret, and may be an ordinary word
_UNAUTHORIZED: Final = 401
_MAX_RESPONSE_BYTES: Final = 64 * 1024  # a response holds an identifier, or a reason


class _NoRedirectSession(requests.Session):
    """Follows no redirect: the write key would go with it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find no redirect."""


class _PartFile(io.FileIO):
    """A file while it is sent, whose failures are not mistaken for the network's.

    Attributes:
        is_sent: Whether all of it was handed to the network; else the request is incomplete, and
            nobody can carry it out.
    """

    is_sent = False

    def read(self, size: int | None = -1) -> bytes:
        """Read some of it.

        Raises:
            SpoolError: The disk fails.
        """
        try:
            chunk = super().read(-1 if size is None else size) or b""
        except OSError as cause:
            raise SpoolError("read", self.name, cause) from cause
        self.is_sent = not chunk  # the next chunk is read when the last one is written
        return chunk


class HttpTransport:
    """Sends calls to one base address with one write key. Threads may share it.

    Raises:
        InvalidUrlError: `api_url` is malformed, or plain `http://` to another machine.
    """

    def __init__(self, write_key: str, api_url: str, *, user_agent: str | None) -> None:
        validate_api_url(api_url)
        self._api_url = api_url.rstrip("/")
        self.auth = WriteKeyAuth(write_key)
        self._secrets = _compile_secrets(write_key, *self.auth.tokens)
        self._http = _NoRedirectSession()
        if self._api_url.lower().startswith("http://"):
            # This is loopback. A proxy from the environment would get the key unencrypted, and
            # could not reach this machine anyway.
            self._http.trust_env = False
        if user_agent is not None:
            self._http.headers["User-Agent"] = user_agent
        adapter = requests.adapters.HTTPAdapter(
            pool_connections=1, pool_maxsize=limits.MAX_CONCURRENT_REQUESTS
        )
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send_call(self, call: Call, timeout_seconds: float) -> Response:
        """Send a call once, and return its successful response.

        A Start that is answered 401 before any call has succeeded is sent again with each other
        form of the credentials.

        Raises:
            ApiError: There was no response, or it was not the documented success.
            SpoolError: The file cannot be read.
        """
        is_first_start = call.sync_id is None and not self.auth.is_accepted
        forms = list(AuthForm) if is_first_start else [self.auth.form]
        while True:
            form = forms.pop(0)
            try:
                response = self._send_request(call, timeout_seconds, form)
            except AuthenticationError as refused:
                if refused.status != _UNAUTHORIZED or not forms:
                    raise
            else:
                self.auth.accept(form)
                return response

    def _send_request(self, call: Call, timeout_seconds: float, form: AuthForm) -> Response:
        with (
            _open_part(call.file) as part,
            _check_completeness(part),
            translate_errors(call, self._api_url),
        ):
            response = self._http.post(
                f"{self._api_url}{call.path}",
                headers=dict(call.headers),
                json=call.json,
                data=part,
                auth=functools.partial(self.auth.add_to, form=form),
                timeout=(min(timeout_seconds, CONNECT_TIMEOUT_SECONDS), timeout_seconds),
                stream=True,
            )
            received = _read_response(response)
            if received.status != call.success:
                raise build_error(call, received, api_url=self._api_url, secrets=self._secrets)
        return received


def _compile_secrets(*secrets: str) -> re.Pattern[str]:
    """Return a pattern of what a message must not show, in each form that a response may repeat."""
    long = sorted((text for text in secrets if len(text) >= _MIN_SECRET_CHARACTERS), key=len)
    forms = ("".join(map(_match_character, text)) for text in reversed(long))
    return re.compile("|".join(forms) or "(?!)")


def _match_character(character: str) -> str:
    """Match a character as it is, escaped as in JSON, and escaped as in an address."""
    code, escaped = ord(character), re.escape(character)
    return rf"(?:(?i:\\u{code:04x}|%{code:02x})|\\?{escaped})"


@contextmanager
def _open_part(file: Path | None) -> Iterator[_PartFile | None]:
    """Open the file to send; without one, the body is empty."""
    if file is None:
        yield None
        return
    try:
        part = _PartFile(file)
    except OSError as cause:
        raise SpoolError("read", file, cause) from cause
    with part:
        yield part


@contextmanager
def _check_completeness(part: _PartFile | None) -> Iterator[None]:
    """Correct an error that says that the request may be carried out, if it is incomplete."""
    try:
        yield
    except TransientApiError as error:
        error.is_response_lost &= part is None or part.is_sent
        raise


def _read_response(response: requests.Response) -> Response:
    """Read a response, and only the beginning of one that does not end."""
    body = bytearray()
    with response:
        for chunk in response.iter_content(_MAX_RESPONSE_BYTES):
            body += chunk
            if len(body) >= _MAX_RESPONSE_BYTES:
                break
    return Response(response.status_code, response.headers.get("Retry-After"), bytes(body))
