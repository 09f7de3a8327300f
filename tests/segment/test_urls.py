"""Which base addresses are accepted: https, or http to this machine."""

from __future__ import annotations

import pytest

from target_segment_objects.exceptions import InvalidUrlError, SegmentObjectsError
from target_segment_objects.loopback import is_loopback
from target_segment_objects.segment.client import Client
from target_segment_objects.segment.urls import validate_api_url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("localhost", True, id="localhost"),
        pytest.param("127.0.0.1", True, id="IPv4 loopback"),
        pytest.param("127.9.9.9", True, id="all of 127/8"),
        pytest.param("::1", True, id="IPv6 loopback"),
        pytest.param("10.0.0.1", False, id="private network"),
        pytest.param("0.0.0.0", False, id="unspecified"),  # noqa: S104 - nothing is bound
        pytest.param("a", False, id="name"),
    ],
)
def test_loopback_is_only_what_is_certainly_this_machine(
    host: str,
    expected: bool,  # noqa: FBT001 - the expectation
) -> None:
    """A name that merely could resolve to this machine is not loopback."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "url",
    ["https://host", "https://host/path", "http://localhost:8080", "http://[::1]:1", "HTTPS://A.B"],
)
def test_usable_addresses_are_accepted(url: str) -> None:
    """HTTPS to any host, http to loopback, with or without port and path."""
    validate_api_url(url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://example.com", id="name"),
        pytest.param("HTTP://example.com", id="scheme in capitals"),
        pytest.param("http://10.0.0.1:8080/path", id="private address"),
        pytest.param("http://localhost.example.com", id="name that begins like loopback"),
        pytest.param("http://127.0.0.1.example.com", id="name that begins like an address"),
    ],
)
def test_client_refuses_plain_http_to_another_machine(url: str) -> None:
    """The write key never leaves this machine unencrypted; the error says to use https."""
    with pytest.raises(InvalidUrlError, match=r"unencrypted.*Use https://") as raised:
        Client("key-that-stays-here", api_url=url)
    assert isinstance(raised.value, SegmentObjectsError)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("nope://host", id="other scheme"),
        pytest.param("//host", id="no scheme"),
        pytest.param("http://[::1", id="unclosed bracket"),
        pytest.param("https://host:port", id="port that is not a number"),
        pytest.param("https://host/?a=b", id="query"),
        pytest.param("http://127.0.0.1\\@example.com", id="two parsers, two hosts"),
        pytest.param("https://me:secret@host", id="user and password"),
        pytest.param("", id="empty"),
    ],
)
def test_client_refuses_a_malformed_address(url: str) -> None:
    """The error names `api_url`, and never shows a password."""
    with pytest.raises(InvalidUrlError, match=r"api_url .*must be a URL like") as raised:
        Client("key", api_url=url)
    assert "secret" not in str(raised.value)
