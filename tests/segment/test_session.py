"""One bulk session over real sockets: order of calls, table of states, Keep Alive, abort."""

from __future__ import annotations

import gzip
import itertools
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.exceptions import (
    PermanentApiError,
    SessionExpiredError,
    SessionStateError,
    SpoolError,
    TransientApiError,
    UploadOrderError,
)
from target_segment_objects.segment import client as client_module
from target_segment_objects.segment import session as session_module
from target_segment_objects.segment.client import Client
from target_segment_objects.segment.session import Session
from tests.support.scripted_server import Cut, Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SYNC_ID = "hjWdsur28j49LCQ"
CALLS = ("start", "upload", "finish")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as documented unless scripted."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """A client without retries."""
    made = Client("key", api_url=server.url, timeout_seconds=10, max_retries=0)
    yield made
    made.close()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "part.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n"))
    return path


@pytest.fixture(autouse=True)
def _require_no_thread_left() -> Iterator[None]:
    """Whatever happened to a session, its Keep Alive thread has ended."""
    yield
    deadline = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith("keep-alive")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, and fail when it does not in time."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Order


def test_session_sends_its_calls_in_order(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """A session is Start, each upload, and Finish with a blank error, all with its sync_id."""
    server.script("upload", Reply(201, b'{"part_id": "p1"}'), Reply(201, b'{"part_id": "p2"}'))
    with Session(client) as session:
        assert session.sync_id == SYNC_ID
        session.upload(part)
        session.upload(part)
    assert server.calls() == ["start", "upload", "upload", "finish"]
    assert [request.path.rsplit("/", 1)[1] for request in server.requests[1:]] == [SYNC_ID] * 3
    assert server.requests[-1].json == {"error": ""}
    assert session.part_ids == ["p1", "p2"]


def test_new_session_sends_nothing(server: ScriptedServer, client: Client) -> None:
    """Creating a session sends nothing, starts no thread, and has no sync_id."""
    assert Session(client).sync_id == ""
    assert server.requests == []


def test_session_without_uploads_is_finished(server: ScriptedServer, client: Client) -> None:
    """It is finished like any other."""
    with Session(client):
        pass
    assert server.calls() == ["start", "finish"]


def test_failed_start_raises_and_finishes_nothing(server: ScriptedServer, client: Client) -> None:
    """A session that was not started has nothing to finish."""
    server.script("start", Reply(500))
    with pytest.raises(TransientApiError, match=r"Start: Segment answered 500"), Session(client):
        pytest.fail("the block must not be entered")
    assert server.calls() == ["start"]


# The table of states

STEPS: dict[str, Callable[[Session, Path], None]] = {
    "open": lambda session, _: session.open(),
    "upload": lambda session, part: session.upload(part),
    "finish": lambda session, _: session.finish(),
    "abort": lambda session, _: session.abort("why not"),
}
NAMES = {"open": "open", "upload": "upload to", "finish": "finish"}
PATHS = {"new": [], "open": ["open"], "ended": ["open", "finish"]}
LEGAL = {
    ("new", "open"),
    ("new", "abort"),
    ("open", "upload"),
    ("open", "finish"),
    ("open", "abort"),
    ("ended", "abort"),
}


@pytest.mark.parametrize("state", PATHS)
@pytest.mark.parametrize("step", STEPS)
def test_steps_outside_the_table_of_states_are_refused(
    server: ScriptedServer, client: Client, part: Path, state: str, step: str
) -> None:
    """A step that the table does not have is refused by name, and sends nothing."""
    session = Session(client)
    for before in PATHS[state]:
        STEPS[before](session, part)
    sent = len(server.requests)
    if (state, step) in LEGAL:
        STEPS[step](session, part)
    else:
        with pytest.raises(SessionStateError, match=f"Cannot {NAMES[step]} a session that is"):
            STEPS[step](session, part)
        assert len(server.requests) == sent
    session.abort("the test is over")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(["abort"], id="aborted before open"),
        pytest.param(["open", "abort"], id="aborted"),
        pytest.param(["open", "finish"], id="finished"),
    ],
)
@pytest.mark.parametrize("step", ["open", "upload", "finish"])
def test_ended_session_accepts_no_step(
    client: Client, part: Path, end: list[str], step: str
) -> None:
    """However it ended."""
    session = Session(client)
    for each in end:
        STEPS[each](session, part)
    with pytest.raises(SessionStateError, match=r"a session that is ended"):
        STEPS[step](session, part)


def test_failed_finish_ends_the_session(server: ScriptedServer, client: Client) -> None:
    """It is finished with an error once; a later abort sends nothing."""
    server.script("finish", Reply(500))
    session = Session(client)
    session.open()
    with pytest.raises(TransientApiError):
        session.finish()
    session.abort("again")
    with pytest.raises(SessionStateError):
        session.finish()
    assert [request.json["error"] != "" for request in server.requests_to("finish")] == [
        False,
        True,
    ]


# Failures


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        pytest.param(RuntimeError("disk full"), "disk full", id="message"),
        pytest.param(RuntimeError(), "RuntimeError", id="no message"),
        pytest.param(RuntimeError("  "), "failed", id="blank message"),
        pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", id="not an Exception"),
        pytest.param(RuntimeError("x" * 1000), "x" * 200, id="long message"),
    ],
)
def test_error_in_the_block_is_raised_and_sent_with_finish(
    server: ScriptedServer, client: Client, error: BaseException, sent: str
) -> None:
    """Finish carries its beginning, and never a blank error."""
    with pytest.raises(type(error)) as raised, Session(client):
        raise error
    assert raised.value is error
    assert [request.json for request in server.requests_to("finish")] == [{"error": sent}]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(400), id="400"),
        pytest.param(Reply(401), id="401"),
        pytest.param(Reply(202, cut=Cut.IN_RESPONSE), id="cut response"),
    ],
)
def test_failed_abort_does_not_hide_the_first_error(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    """The first error is raised, the failure of Finish is logged."""
    caplog.set_level(logging.DEBUG, session_module.__name__)
    server.script("finish", reply)
    with pytest.raises(RuntimeError, match=r"the first"), Session(client):
        raise RuntimeError("the first")
    assert len(server.requests_to("finish")) == 1
    (record,) = (record for record in caplog.records if record.name == session_module.__name__)
    is_expired = reply.status == 400
    assert record.levelno == (logging.DEBUG if is_expired else logging.WARNING)
    assert SYNC_ID in record.message


def test_refused_upload_is_sent_with_finish(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """A part that is too large ends the session with that error."""
    server.script("upload", Reply(413))
    with pytest.raises(PermanentApiError, match=r"413"), Session(client) as session:
        session.upload(part)
    assert server.calls() == ["start", "upload", "finish"]
    assert "413" in server.requests[-1].json["error"]


def test_unreadable_file_is_sent_with_finish(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    """A file that cannot be read ends the session with an error."""
    with pytest.raises(SpoolError), Session(client) as session:
        session.upload(tmp_path / "gone")
    assert "gone" in server.requests[-1].json["error"]


# Expired session, or bad request


def test_upload_to_an_expired_session(server: ScriptedServer, client: Client, part: Path) -> None:
    """400, and Keep Alive fails, too: the session has expired."""
    server.script("upload", Reply(400))
    server.always("keep-alive", Reply(500))
    server.always("finish", Reply(400))
    with pytest.raises(SessionExpiredError), Session(client) as session:
        session.upload(part)
    assert server.calls() == ["start", "upload", "keep-alive", "finish"]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_bad_upload_is_permanent(
    server: ScriptedServer, client: Client, part: Path, status: int
) -> None:
    """400, but Keep Alive succeeds: the file is at fault, and no new session would help."""
    server.script("upload", Reply(status, b'{"error": {"line": 3, "reason": "no id"}}'))
    with (
        pytest.raises(PermanentApiError, match=r"line 3: no id") as raised,
        Session(client) as session,
    ):
        session.upload(part)
    assert type(raised.value) is PermanentApiError
    assert raised.value.status == status
    assert "Send the id of the session to Segment's support." in str(raised.value)
    assert server.calls() == ["start", "upload", "keep-alive", "finish"]
    assert "line 3: no id" in server.requests[-1].json["error"]


def test_finish_of_an_expired_session(server: ScriptedServer, client: Client) -> None:
    """400, and Keep Alive fails, too: the batch may be sent in a new session."""
    server.always("finish", Reply(400))
    server.always("keep-alive", Reply(404))
    with pytest.raises(SessionExpiredError), Session(client):
        pass
    assert server.calls()[:3] == ["start", "finish", "keep-alive"]


def test_bad_finish_is_permanent(server: ScriptedServer, client: Client) -> None:
    """400, but Keep Alive succeeds: the session is finished with an error."""
    server.script("finish", Reply(400))
    with pytest.raises(PermanentApiError) as raised, Session(client):
        pass
    assert type(raised.value) is PermanentApiError
    assert server.calls() == ["start", "finish", "keep-alive", "finish"]
    assert server.requests[-1].json["error"] != ""


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(200), id="200"),
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(401), id="401"),
        pytest.param(Reply(202, cut=Cut.AFTER_BODY), id="reset"),
    ],
)
def test_only_202_is_a_successful_finish(
    server: ScriptedServer, client: Client, reply: Reply
) -> None:
    """After any other response, the session is finished with an error."""
    server.script("finish", reply)
    session = Session(client)
    session.open()
    with pytest.raises((PermanentApiError, TransientApiError)):
        session.finish()
    assert [request.json["error"] == "" for request in server.requests_to("finish")] == [
        True,
        False,
    ]


# Lost responses


@pytest.fixture
def retrying_client(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client with retries that follow quickly, as Finish does."""
    monkeypatch.setattr(client_module, "MAX_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(session_module, "MIN_FINISH_INTERVAL_SECONDS", 0.05)
    made = Client("key", api_url=server.url, timeout_seconds=0.5, max_retries=2)
    yield made
    made.close()


def upload_twice(session: Session, part: Path) -> None:
    """Upload a file as the first and as the second part."""
    session.upload(part)
    session.upload(part)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(504), id="504"),
        pytest.param(Reply(201, cut=Cut.AFTER_BODY), id="reset"),
        pytest.param(Reply(201, seconds=0.8), id="timeout"),
    ],
)
def test_nothing_is_uploaded_behind_a_lost_upload(
    server: ScriptedServer, retrying_client: Client, part: Path, reply: Reply
) -> None:
    """It may be carried out late, behind the next one: the session is finished with an error."""
    server.script("upload", reply)
    with (
        pytest.raises(UploadOrderError, match=f"Upload of session {SYNC_ID}: not sent"),
        Session(retrying_client) as session,
    ):
        upload_twice(session, part)
    assert server.calls(CALLS) == ["start", "upload", "upload", "finish"]
    assert "may still be carried out" in server.requests[-1].json["error"]


def test_last_upload_may_be_lost(
    server: ScriptedServer, retrying_client: Client, part: Path
) -> None:
    """Nothing follows it: the session succeeds."""
    server.script("upload", Reply(201, b'{"part_id": "p1"}'), Reply(504))
    with Session(retrying_client) as session:
        session.upload(part)
        session.upload(part)
    assert server.calls(CALLS) == ["start", "upload", "upload", "upload", "finish"]
    assert len(session.part_ids) == 2


def test_finish_is_repeated_while_the_first_one_is_under_way(
    server: ScriptedServer, retrying_client: Client
) -> None:
    """Its response was lost, and Segment refuses others: only 202 ends the wait."""
    server.script("finish", Reply(202, seconds=0.8), Reply(400), Reply(400), Reply(202))
    with Session(retrying_client):
        pass
    assert server.calls() == ["start", "finish"] + ["finish", "keep-alive"] * 2 + ["finish"]
    assert {request.json["error"] for request in server.requests_to("finish")} == {""}


def test_finish_is_repeated_while_a_lost_upload_is_under_way(
    server: ScriptedServer, retrying_client: Client, part: Path
) -> None:
    """Segment refuses to finish a session during an upload."""
    server.script("upload", Reply(504))
    server.script("finish", Reply(400))
    with Session(retrying_client) as session:
        session.upload(part)
    assert server.calls()[-3:] == ["finish", "keep-alive", "finish"]


def test_session_that_is_gone_after_a_lost_finish_has_expired(
    server: ScriptedServer, retrying_client: Client
) -> None:
    """Whether Segment has the objects is unknown, so they are to be sent again."""
    server.script("finish", Reply(504), Reply(400))
    server.always("keep-alive", Reply(400))
    with pytest.raises(SessionExpiredError), Session(retrying_client):
        pass


def test_wait_for_a_lost_finish_is_bounded(
    server: ScriptedServer, retrying_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it does not clear up, the objects are to be sent again in a new session."""
    monkeypatch.setattr(session_module, "FINISH_WAIT_SECONDS", 0.3)
    server.script("finish", Reply(504))
    server.always("finish", Reply(400))
    with pytest.raises(SessionExpiredError), Session(retrying_client):
        pass
    assert server.requests[-1].json["error"] != ""


def test_abort_ends_the_wait_for_a_lost_finish(
    server: ScriptedServer, retrying_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is finished with an error."""
    monkeypatch.setattr(session_module, "MIN_FINISH_INTERVAL_SECONDS", 20)
    server.script("finish", Reply(504), Reply(400))
    session = Session(retrying_client)
    session.open()
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(session.finish)
        server.wait_for("keep-alive")
        session.abort("stopped", wait_seconds=5)
        with pytest.raises(SessionExpiredError):
            finishing.result(5)
    assert [request.json["error"] == "" for request in server.requests_to("finish")] == [
        True,
        True,
        False,
    ]


# Keep Alive


def test_idle_session_is_kept_alive(server: ScriptedServer, client: Client) -> None:
    """Keep Alive is repeated as long as nothing is sent."""
    with Session(client, keep_alive_seconds=0.05):
        server.wait_for("keep-alive", 3)
    ats = [request.at for request in server.requests_to("keep-alive")]
    assert all(later - before >= 0.04 for before, later in itertools.pairwise(ats))


def test_busy_session_sends_no_keep_alive(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """While uploads are frequent enough, Keep Alive is not needed."""
    with Session(client, keep_alive_seconds=1) as session:
        for _ in range(15):
            session.upload(part)
            time.sleep(0.1)
    assert server.requests_to("keep-alive") == []


def test_keep_alive_during_a_slow_upload(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """A long upload does not let its session expire."""
    release = threading.Event()
    server.script("upload", Reply(201, b'{"part_id": "p"}', until=release))
    with ThreadPoolExecutor(1) as pool, Session(client, keep_alive_seconds=0.05) as session:
        upload = pool.submit(session.upload, part)
        server.wait_for("keep-alive", 2)
        assert not upload.done()
        release.set()
        upload.result()
    assert session.part_ids == ["p"]


def test_keep_alive_between_attempts(server: ScriptedServer, part: Path) -> None:
    """The session is kept alive during the wait before a retry."""
    server.script("upload", Reply(429, headers={"Retry-After": "0.5"}))
    client = Client("key", api_url=server.url, max_retries=1)
    with Session(client, keep_alive_seconds=0.1) as session:
        session.upload(part)
    client.close()
    first, second = (request.at for request in server.requests_to("upload"))
    assert sum(first < request.at < second for request in server.requests_to("keep-alive")) >= 2


def test_keep_alive_ends_before_finish(server: ScriptedServer, client: Client) -> None:
    """Finish waits for a Keep Alive under way, and none follows it."""
    server.script("keep-alive", Reply(200, seconds=0.3))
    server.script("finish", Reply(202, seconds=0.3))
    with Session(client, keep_alive_seconds=0.05):
        server.wait_for("keep-alive")
    time.sleep(0.2)
    assert server.calls() == ["start", "keep-alive", "finish"]
    assert server.requests[2].at - server.requests[1].at >= 0.29
    assert server.peak_concurrency == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(500), id="500"),
        pytest.param(Reply(404), id="404"),
        pytest.param(Reply(401), id="401"),
        pytest.param(Reply(200, cut=Cut.AFTER_BODY), id="reset"),
    ],
)
def test_failed_keep_alive_is_logged(
    server: ScriptedServer,
    client: Client,
    part: Path,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
) -> None:
    """The session continues, and so does Keep Alive."""
    server.script("keep-alive", reply)
    with Session(client, keep_alive_seconds=0.05) as session:
        server.wait_for("keep-alive", 2)
        session.upload(part)
    assert server.calls(CALLS) == ["start", "upload", "finish"]
    assert f"Keep Alive of session {SYNC_ID}" in caplog.text
    assert "The session continues." in caplog.text


def test_failed_keep_alive_is_repeated_soon(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next Keep Alive does not wait for the whole interval."""
    monkeypatch.setattr(session_module, "KEEP_ALIVE_RETRY_SECONDS", 0.5)
    server.script("keep-alive", Reply(500))
    with Session(client, keep_alive_seconds=1.5):
        server.wait_for("keep-alive", 2)
    first, second = (request.at for request in server.requests_to("keep-alive"))
    assert 0.25 <= second - first < 1.4


# Abort by another thread


def test_abort_during_an_upload(server: ScriptedServer, client: Client, part: Path) -> None:
    """The session is finished with an error immediately, and can no longer succeed."""
    release = threading.Event()
    server.script("upload", Reply(201, b'{"part_id": "p"}', until=release))

    def run_session() -> None:
        with Session(client) as session:
            sessions.append(session)
            session.upload(part)

    sessions: list[Session] = []
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(run_session)
        server.wait_for("upload")
        sessions[0].abort("stopped by the user", wait_seconds=1)
        assert server.requests[-1].json == {"error": "stopped by the user"}
        release.set()
        with pytest.raises(SessionStateError):
            worker.result()
    assert len(server.requests_to("finish")) == 1


def test_abort_during_finish(server: ScriptedServer, client: Client) -> None:
    """Abort waits for the Finish under way, whose result stands."""
    server.script("finish", Reply(202, seconds=0.3))
    session = Session(client)
    session.open()
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(session.finish)
        server.wait_for("finish")
        session.abort("too late")
        finishing.result()
    assert [request.json["error"] for request in server.requests_to("finish")] == [""]


def test_abort_wait_is_bounded(server: ScriptedServer, client: Client) -> None:
    """A Finish that takes longer than `wait_seconds` is left alone."""
    release = threading.Event()
    server.script("finish", Reply(202, until=release))
    session = Session(client)
    session.open()
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(session.finish)
        server.wait_for("finish")
        began = time.monotonic()
        session.abort("hurry", wait_seconds=0.1)
        assert time.monotonic() - began < 2
        release.set()
        finishing.result()
    assert len(server.requests_to("finish")) == 1


def test_abort_during_a_hanging_keep_alive(server: ScriptedServer, client: Client) -> None:
    """Abort waits for a Keep Alive no longer than `wait_seconds`."""
    release = threading.Event()
    server.script("keep-alive", Reply(200, until=release))
    session = Session(client, keep_alive_seconds=0.05)
    session.open()
    server.wait_for("keep-alive")
    began = time.monotonic()
    session.abort("hurry", wait_seconds=0.1)
    assert time.monotonic() - began < 2
    assert [request.json for request in server.requests_to("finish")] == [{"error": "hurry"}]
    release.set()


def test_abort_while_the_session_is_opened(server: ScriptedServer, client: Client) -> None:
    """A session that opens after it was aborted is finished with an error."""
    release = threading.Event()
    server.script("start", Reply(201, b'{"sync_id": "late"}', until=release))
    session = Session(client)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(session.open)
        server.wait_for("start")
        session.abort("stopped")
        release.set()
        with pytest.raises(SessionStateError, match=r"Cannot open a session that is ended"):
            opening.result()
    (finish,) = server.requests_to("finish")
    assert finish.path == "/v0/finish/late"
    assert finish.json["error"] != ""


def test_abort_waits_for_a_start_that_is_under_way(server: ScriptedServer, client: Client) -> None:
    """When it returns, the session was finished, so that the process may end."""
    release = threading.Event()
    server.script("start", Reply(201, b'{"sync_id": "late"}', until=release))
    session = Session(client)
    with ThreadPoolExecutor(2) as pool:
        opening = pool.submit(session.open)
        server.wait_for("start")
        aborting = pool.submit(session.abort, "stopped", start_wait_seconds=30)
        with pytest.raises(TimeoutError):
            aborting.result(timeout=0.3)
        release.set()
        aborting.result(timeout=30)
        assert [request.path for request in server.requests_to("finish")] == ["/v0/finish/late"]
        with pytest.raises(SessionStateError):
            opening.result()


def test_concurrent_aborts_finish_once(server: ScriptedServer, client: Client) -> None:
    """However many threads abort a session, it is finished once."""
    session = Session(client)
    session.open()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session.abort, [f"reason {n}" for n in range(8)]))
    assert len(server.requests_to("finish")) == 1


def test_many_sessions_leave_no_thread(server: ScriptedServer, client: Client, part: Path) -> None:
    """Neither sessions in sequence nor in parallel do."""

    def run_session(number: int) -> None:
        if number % 3:
            with Session(client, keep_alive_seconds=0.02) as session:
                session.upload(part)
            return
        with pytest.raises(RuntimeError), Session(client):
            raise RuntimeError

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run_session, range(30)))
    wait_until(lambda: not any(t.name.startswith("keep-alive") for t in threading.enumerate()))
    assert len(server.requests_to("finish")) == 30
