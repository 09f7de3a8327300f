"""Why there was no response: what `requests` raises, as errors that name what to correct.

A part of `transport`. The two are the only modules that import `requests`. The rules for others:

- What a retry cannot change is permanent: a certificate, a file of certificates, a proxy that
  refuses, an address without TLS.
- A message shows the proxy's address without its user name and password.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.utils import get_environ_proxies, select_proxy

from target_segment_objects.exceptions import (
    ApiError,
    PermanentApiError,
    TransientApiError,
    UnreachableError,
)
from target_segment_objects.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.segment.responses import Call

_UNSENDABLE: Final = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
    urllib3.exceptions.LocationValueError,  # `requests` lets it through
)
"""The request itself is at fault, so that another attempt would fail, too."""

_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order of `requests`
_UNREAD_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # of OpenSSL, not of `requests`
_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL finds a certificate in a folder: `openssl rehash` makes these names."""

_HOST_MISMATCH: Final = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, …_IP_…
_NOT_VALID_NOW: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, …_HAS_EXPIRED
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
)
"""OpenSSL's reasons, of several versions, if the answer to its greeting is no TLS."""

_TUNNEL_STATUS: Final = re.compile(r"Tunnel connection failed: (\d{3})")  # http.client's message
_AUTHENTICATION_REQUIRED: Final = 407
_TRANSIENT_TUNNEL: Final = frozenset({408, 429, *range(500, 600)})


class _Proxy(NamedTuple):
    """The proxy of an address, from the environment or the system's settings."""

    name: str
    setting: str


@contextmanager
def translate_errors(call: Call, api_url: str) -> Iterator[None]:
    """Turn the errors of `requests` into ours."""
    try:
        yield
    except _UNSENDABLE as cause:
        proxy = _find_proxy(api_url)
        suspects = "api_url and write_key" if proxy is None else f"api_url and {proxy.setting}"
        msg = f"{call}: cannot be sent to {api_url}. Check {suspects}."
        raise PermanentApiError(msg) from cause
    except (OSError, urllib3.exceptions.HTTPError) as cause:  # RequestException is an OSError
        raise _build_error(call, api_url, cause) from cause


def _build_error(call: Call, api_url: str, cause: BaseException) -> ApiError:
    causes = list(_list_causes(cause))
    root = causes[-1]
    # `requests` raises an OSError of its own if there is no such file.
    may_be_bundle = isinstance(root, ssl.SSLError) or type(cause) is OSError
    if may_be_bundle and (problem := _find_bundle_problem()) is not None:
        return PermanentApiError(f"{call}: not sent to {api_url}. {problem}")
    proxy = None
    if any(isinstance(inner, urllib3.exceptions.ProxyError) for inner in causes):
        proxy = _find_proxy(api_url) or _Proxy("the proxy", "its setting")
    if isinstance(root, ssl.SSLCertVerificationError):
        return _build_certificate_error(call, api_url, proxy, root)
    if isinstance(root, ssl.SSLError) and root.reason in _NO_TLS:
        return _build_no_tls_error(call, api_url, proxy)
    if proxy is not None:
        return _build_proxy_error(call, api_url, proxy, _describe_cause(cause, root), root)
    msg = f"{call}: no response from {api_url} ({_describe_cause(cause, root)})"
    if _is_unreachable(cause):
        # A TLS failure may also come later, instead of the response.
        is_sent = isinstance(cause, requests.exceptions.SSLError)
        return UnreachableError(msg, is_response_lost=is_sent)
    return TransientApiError(msg, is_response_lost=True)


def _build_no_tls_error(call: Call, api_url: str, proxy: _Proxy | None) -> PermanentApiError:
    if proxy is not None:
        msg = f"{call}: no TLS at {proxy.name}. Is it http:// in {proxy.setting}?"
    elif is_loopback(urlsplit(api_url).hostname or ""):
        msg = f"{call}: no TLS at {api_url}. Is it http://?"
    else:  # where http:// is not accepted
        msg = f"{call}: no TLS at {api_url}. Check the host and the port in api_url."
    return PermanentApiError(msg)


def _is_unreachable(cause: BaseException) -> bool:
    """Return whether no connection was established, so that no request was sent."""
    connection_failures = (
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.NameResolutionError,
        urllib3.exceptions.ProxyError,
        urllib3.exceptions.SSLError,
    )
    reason = cause.args[0] if cause.args else None  # urllib3's MaxRetryError
    return isinstance(
        cause,
        (
            requests.exceptions.ConnectTimeout,
            requests.exceptions.ProxyError,
            requests.exceptions.SSLError,
        ),
    ) or isinstance(getattr(reason, "reason", reason), connection_failures)


def _describe_cause(cause: BaseException, root: BaseException) -> str:
    """Say in a few words why there was no response, without the private parts of an address."""
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return "connection timed out"
    if isinstance(cause, requests.exceptions.Timeout) or isinstance(
        root, (TimeoutError, urllib3.exceptions.TimeoutError)
    ):
        return "timed out"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return type(root).__name__


def _list_causes(cause: BaseException) -> Iterator[BaseException]:
    """Yield an error and what `requests` and `urllib3` have wrapped in it, the root last."""
    yield cause
    for inner in (getattr(cause, "reason", None), *cause.args, cause.__cause__):
        if isinstance(inner, BaseException) and inner is not cause:
            yield from _list_causes(inner)
            return


# Certificates


def _find_bundle() -> tuple[str, Path] | None:
    """Return the variable that names the trusted certificates, and their file or folder."""
    for name in _BUNDLE_VARIABLES:
        if value := os.environ.get(name):
            return name, Path(value)
    return None


def _find_bundle_problem() -> str | None:
    """Say why the trusted certificates cannot be used, if they cannot."""
    bundle = _find_bundle()
    if bundle is None:
        return None
    name, path = bundle
    try:
        if path.is_dir():
            is_usable = any(_HASHED_NAME.fullmatch(entry.name) for entry in path.iterdir())
            problem = "has no certificates with the names that `openssl rehash` gives them"
        else:
            is_usable, problem = True, "has no certificate in the PEM format"
            path.open("rb").close()
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        is_usable = False
    except OSError as cause:
        is_usable, problem = False, f"cannot be read: {cause.strerror}"
    if is_usable:
        return None
    return f"{name} is {path}, which {problem}. Correct {name}, or unset it."


def _build_certificate_error(
    call: Call, api_url: str, proxy: _Proxy | None, refused: ssl.SSLCertVerificationError
) -> PermanentApiError:
    where, setting = (api_url, "api_url") if proxy is None else proxy
    bundle = _find_bundle()
    if refused.verify_code in _HOST_MISMATCH:
        advice = f"Check the host in {setting}."
    elif refused.verify_code in _NOT_VALID_NOW:
        advice = "Check the clock of this machine, or have the certificate renewed."
    elif bundle is not None:
        advice = f"Check that {bundle[0]}, which is {bundle[1]}, has its authority."
    else:
        advice = (
            f"Check {setting}. If the certificate is of an authority of your own, set "
            "REQUESTS_CA_BUNDLE to a PEM file with the certificate of the authority."
        )
        unread = [name for name in _UNREAD_VARIABLES if os.environ.get(name)]
        advice += f" {unread[0]} is not read." if unread else ""
    reason = refused.verify_message.rstrip(".")
    msg = f"{call}: the certificate of {where} is not trusted ({reason}). {advice}"
    return PermanentApiError(msg)


# Proxies


def _find_proxy(api_url: str) -> _Proxy | None:
    """Return the proxy of an address, if it has one; plain `http://` has none."""
    if not api_url.lower().startswith("https://"):
        return None
    url = select_proxy(api_url, get_environ_proxies(api_url))
    if url is None:
        return None
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    setting = next((name for name in names if os.environ.get(name) == url), "its setting")
    return _Proxy(_describe_proxy(url), setting)


def _describe_proxy(url: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the proxy"
    return f"the proxy {parts.scheme}://{parts.hostname}{port}" if parts.hostname else "the proxy"


def _build_proxy_error(
    call: Call, api_url: str, proxy: _Proxy, reason: str, root: BaseException
) -> ApiError:
    answered = _TUNNEL_STATUS.match(str(root))
    if answered is None:
        return UnreachableError(f"{call}: no connection to {proxy.name} ({reason})")
    status = int(answered[1])
    if status == _AUTHENTICATION_REQUIRED:
        msg = (
            f"{call}: {proxy.name} answered {status}: it does not accept the user name and the "
            f"password, or there are none. Put them into {proxy.setting}, as in "
            "http://user:password@host:port."
        )
        return PermanentApiError(msg)
    msg = f"{call}: {proxy.name} answered {status} and did not connect to {api_url}"
    if status in _TRANSIENT_TUNNEL:
        return UnreachableError(msg)
    return PermanentApiError(f"{msg}. Check {proxy.setting}, or add the host to NO_PROXY.")
