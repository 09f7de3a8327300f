"""The transport: every error of the HTTP library is translated."""

from __future__ import annotations

import pytest
import requests
import urllib3.exceptions

from target_segment_objects.exceptions import (
    PermanentApiError,
    SegmentObjectsError,
    TransientApiError,
    UnreachableError,
)
from target_segment_objects.segment.client import Client

KEY = "write-key-to-be-kept-secret"


def _find_subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    found = {kind}
    for subclass in kind.__subclasses__():
        found |= _find_subclasses(subclass)
    return found


REQUESTS_ERRORS = sorted(
    (
        kind
        for kind in _find_subclasses(requests.RequestException)
        if kind.__module__.startswith("req")
    ),
    key=lambda kind: kind.__name__,
)
FINAL_ERRORS = {
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.JSONDecodeError,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
}


CONNECTION_ERRORS = {
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.SSLError,
}


class _FailingAdapter(requests.adapters.HTTPAdapter):
    """Raises an error instead of sending."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def send(self, *_: object, **__: object) -> requests.Response:
        raise self.error


@pytest.mark.parametrize("kind", REQUESTS_ERRORS)
def test_every_error_of_requests_is_translated(kind: type[BaseException]) -> None:
    """None is raised as it is; those that a retry would not change are permanent."""
    error = kind(f"about {KEY}", "", 0) if "Decode" in kind.__name__ else kind(f"about {KEY}")
    client = Client(KEY, max_retries=0)
    client._transport._http.mount("https://", _FailingAdapter(error))  # noqa: SLF001 - as with any session of `requests`
    expected: type[SegmentObjectsError] = TransientApiError
    if kind in FINAL_ERRORS:
        expected = PermanentApiError
    elif kind in CONNECTION_ERRORS:
        expected = UnreachableError
    with pytest.raises(SegmentObjectsError) as raised:
        client.start()
    client.close()
    if kind is requests.exceptions.ContentDecodingError:
        assert isinstance(error, urllib3.exceptions.HTTPError)
    assert type(raised.value) is expected
    assert KEY not in str(raised.value)
