"""What a user reads if there was no response: which setting to correct, and the key nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.exceptions import ApiError, PermanentApiError, UnreachableError
from target_segment_objects.segment.client import Client
from tests.support.scripted_server import Reply, ScriptedServer
from tests.support.tls_server import CERTIFICATES, serve_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "write-key-to-be-kept-secret"
VARIABLES = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(
        name
        for proxy in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (proxy, proxy.lower())
    ),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies and certificates of its own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def tls_url() -> Iterator[str]:
    """The address of a server whose certificate is of no authority."""
    with serve_tls("localhost") as port:
        yield f"https://localhost:{port}"


def start(url: str) -> ApiError:
    """Return the error of a Start without retries."""
    with (
        Client(KEY, api_url=url, max_retries=0, timeout_seconds=10) as client,
        pytest.raises(ApiError) as raised,
    ):
        client.start()
    assert KEY not in str(raised.value)
    return raised.value


# Certificates


def test_untrusted_certificate_names_the_variable_that_works(tls_url: str) -> None:
    """It is final, and says with which variable an authority of one's own is trusted."""
    error = start(tls_url)
    assert type(error) is PermanentApiError
    assert f"the certificate of {tls_url} is not trusted (self-signed certificate)" in str(error)
    assert "set REQUESTS_CA_BUNDLE to a PEM file" in str(error)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_named_variables_do_work(
    tls_url: str, environment: pytest.MonkeyPatch, name: str
) -> None:
    """The certificate in the file of the variable is trusted."""
    environment.setenv(name, str(CERTIFICATES / "localhost.pem"))
    with Client(KEY, api_url=tls_url) as client:
        assert client.start() == "s1"


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_is_not_read_is_named(
    tls_url: str, environment: pytest.MonkeyPatch, name: str
) -> None:
    """OpenSSL's own variables have no effect on `requests`, and the message says so."""
    environment.setenv(name, str(CERTIFICATES / "localhost.pem"))
    assert f"{name} is not read." in str(start(tls_url))


def test_a_bundle_without_the_authority_is_named(
    tls_url: str, environment: pytest.MonkeyPatch
) -> None:
    """If the variable is set already, its file is what has to be checked."""
    bundle = CERTIFICATES / "other.pem"
    environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert f"Check that REQUESTS_CA_BUNDLE, which is {bundle}, has" in str(start(tls_url))


@pytest.mark.parametrize(
    ("certificate", "advice"),
    [
        pytest.param("other", "Check the host in api_url.", id="of another host"),
        pytest.param("expired", "Check the clock of this machine", id="expired"),
    ],
)
def test_certificate_that_no_authority_would_mend(
    environment: pytest.MonkeyPatch, certificate: str, advice: str
) -> None:
    """It is trusted, but not for this host, or not today: the advice is another one."""
    environment.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATES / f"{certificate}.pem"))
    with serve_tls(certificate) as port:
        error = start(f"https://localhost:{port}")
    assert type(error) is PermanentApiError
    assert advice in str(error)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        pytest.param("missing", "cannot be read: No such file or directory", id="missing"),
        pytest.param("text", "has no certificate in the PEM format", id="text"),
        pytest.param("empty", "has no certificate in the PEM format", id="empty"),
        pytest.param("broken", "has no certificate in the PEM format", id="broken PEM"),
        pytest.param("folder", "names that `openssl rehash` gives them", id="folder"),
    ],
)
def test_unusable_bundle_is_final(
    tmp_path: Path,
    tls_url: str,
    environment: pytest.MonkeyPatch,
    name: str,
    kind: str,
    problem: str,
) -> None:
    """A file of certificates that cannot be used is named with its variable, and not retried."""
    path = tmp_path / "certificates"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        marks = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        path.write_text({"text": "hello", "empty": "", "broken": marks}[kind])
    environment.setenv(name, str(path))
    error = start(tls_url)
    assert type(error) is PermanentApiError
    assert f"{name} is {path}, which" in str(error)
    assert problem in str(error)


@pytest.mark.skipif(not shutil.which("openssl"), reason="the folder is made by openssl")
def test_rehashed_folder_is_trusted(
    tmp_path: Path, tls_url: str, environment: pytest.MonkeyPatch
) -> None:
    """A folder may be given, too, once `openssl rehash` has been run on it."""
    shutil.copy(CERTIFICATES / "localhost.pem", tmp_path / "own.pem")
    subprocess.run(["openssl", "rehash", tmp_path], check=True, capture_output=True)  # noqa: S607 - of the system
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with Client(KEY, api_url=tls_url) as client:
        assert client.start() == "s1"


def test_plain_http_reads_no_bundle(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without TLS there is no certificate, so a wrong file does no harm."""
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
    with ScriptedServer() as server, Client(KEY, api_url=server.url) as client:
        client.start()


def test_missing_bundle_is_one_line_of_the_command(tmp_path: Path, tls_url: str) -> None:
    """The command has no traceback for it, and exits with 1."""
    done = subprocess.run(
        [sys.executable, "-m", "target_segment_objects", "--config=ENV", "--check"],
        env=os.environ
        | {
            "TARGET_SEGMENT_OBJECTS_WRITE_KEY": KEY,
            "TARGET_SEGMENT_OBJECTS_API_URL": tls_url,
            "REQUESTS_CA_BUNDLE": str(tmp_path / "missing"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "REQUESTS_CA_BUNDLE is" in done.stdout + done.stderr


# Addresses without TLS


def test_https_to_a_plain_port_asks_for_http() -> None:
    """On this machine, where `http://` is accepted; it is final."""
    with serve_tls(None) as port:
        error = start(f"https://localhost:{port}")
    assert type(error) is PermanentApiError
    assert str(error).endswith(f"no TLS at https://localhost:{port}. Is it http://?")


# Proxies


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        pytest.param(407, PermanentApiError, "answered 407: it does not accept", id="407"),
        pytest.param(403, PermanentApiError, "answered 403 and did not connect", id="403"),
        pytest.param(503, UnreachableError, "answered 503 and did not connect", id="503"),
    ],
)
def test_proxy_that_refuses_is_named(
    tls_url: str,
    environment: pytest.MonkeyPatch,
    variable: str,
    status: int,
    kind: type[ApiError],
    message: str,
) -> None:
    """With its address, its status and its variable, and without its password."""
    with serve_tls(None, connect_status=status) as port:
        environment.setenv(variable, f"http://ada:proxy-password@127.0.0.1:{port}")
        error = start(tls_url)
    assert type(error) is kind
    assert f"the proxy http://127.0.0.1:{port} {message}" in str(error)
    assert kind is UnreachableError or variable in str(error)
    assert "proxy-password" not in str(error)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        pytest.param(
            "http://127.0.0.1:9", "no connection to the proxy http://127.0.0.1:9 (", id="refused"
        ),
        pytest.param(
            "http://ada:proxy-password@no-such-proxy.invalid:3128",
            "no connection to the proxy http://no-such-proxy.invalid:3128 (",
            id="unknown host",
        ),
        pytest.param("http://", "Check api_url and HTTPS_PROXY.", id="no host"),
        pytest.param("http://127.0.0.1:999999", "Check api_url and HTTPS_PROXY.", id="no port"),
    ],
)
def test_proxy_that_cannot_be_reached_is_named(
    tls_url: str, environment: pytest.MonkeyPatch, proxy: str, message: str
) -> None:
    """It is the proxy that is unreachable, not Segment."""
    environment.setenv("HTTPS_PROXY", proxy)
    error = start(tls_url)
    assert message in str(error)
    assert "proxy-password" not in str(error)


def test_https_proxy_with_an_untrusted_certificate_is_named(
    tls_url: str, environment: pytest.MonkeyPatch
) -> None:
    """It is the certificate of the proxy that is not trusted."""
    environment.setenv("HTTPS_PROXY", tls_url)
    assert f"the certificate of the proxy {tls_url} is not trusted" in str(start(tls_url))


def test_https_proxy_on_a_plain_port_is_named(
    tls_url: str, environment: pytest.MonkeyPatch
) -> None:
    """It is the proxy that speaks no TLS."""
    with serve_tls(None) as port:
        environment.setenv("HTTPS_PROXY", f"https://127.0.0.1:{port}")
        error = start(tls_url)
    assert f"no TLS at the proxy https://127.0.0.1:{port}. Is it http:// in HTTPS_PROXY?" in str(
        error
    )


# Addresses that are not Segment's


@pytest.mark.parametrize("status", [200, 204, 302, 404, 405, 410, 501])
@pytest.mark.parametrize("body", [b"", b" <!doctype html><title>Hello</title>"], ids=["", "HTML"])
def test_start_asks_whether_the_address_is_segments(status: int, body: bytes) -> None:
    """What Segment does not answer to Start is final, and names the address that answered."""
    body = b"" if status == 204 else body
    with ScriptedServer() as server:
        server.always("start", Reply(status, body))
        error = start(server.url)
    assert type(error) is PermanentApiError
    assert error.status == status
    page = " (an HTML page)" if body else ""
    assert str(error) == (
        f"Start: {server.url} answered {status}{page}, but 201 was expected. Is this api_url that "
        "of Segment's Objects Bulk API?"
    )


def test_html_with_the_expected_status_is_named() -> None:
    """A web server that answers 201 to everything is not Segment either."""
    with ScriptedServer() as server:
        server.always("start", Reply(201, b"<html>"))
        error = start(server.url)
    assert str(error) == (
        "Start: the response (an HTML page) has no sync_id. Is api_url that of Segment's Objects "
        "Bulk API?"
    )
