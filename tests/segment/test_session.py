"""One bulk session over real sockets: order of calls, table of states, Keep Alive, last words."""

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
)
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
    """A server that answers as documented, until told otherwise."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """A client that tries each call once."""
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
def _no_thread_is_left() -> Iterator[None]:
    """Whatever happened to a session, its Keep Alive has ended."""
    yield
    deadline = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith("keep-alive")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to be so."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Order


def test_calls_in_order(server: ScriptedServer, client: Client, part: Path) -> None:
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


def test_nothing_is_sent_before_it_is_opened(server: ScriptedServer, client: Client) -> None:
    """To make a session sends nothing, starts no thread, and knows no sync_id."""
    assert Session(client).sync_id == ""
    assert server.requests == []


def test_a_session_may_be_empty(server: ScriptedServer, client: Client) -> None:
    """A session without uploads is finished like any other."""
    with Session(client):
        pass
    assert server.calls() == ["start", "finish"]


def test_start_that_fails(server: ScriptedServer, client: Client) -> None:
    """A session that could not be started has nothing to finish, and raises what failed."""
    server.script("start", Reply(500))
    with pytest.raises(TransientApiError, match=r"Start: Segment answered 500"), Session(client):
        pytest.fail("the block must not be entered")
    assert server.calls() == ["start"]


# The table of states

STEPS: dict[str, Callable[[Session, Path], None]] = {
    "open": lambda session, _: session.open(),
    "upload": lambda session, part: session.upload(part),
    "finish": lambda session, _: session.finish(),
    "abandon": lambda session, _: session.abort("why not"),
}
NAMES = {"open": "open", "upload": "upload to", "finish": "finish"}
PATHS = {"new": [], "open": ["open"], "ended": ["open", "finish"]}
LEGAL = {
    ("new", "open"),
    ("new", "abandon"),
    ("open", "upload"),
    ("open", "finish"),
    ("open", "abandon"),
    ("ended", "abandon"),
}


@pytest.mark.parametrize("state", PATHS)
@pytest.mark.parametrize("step", STEPS)
def test_table_of_states(
    server: ScriptedServer, client: Client, part: Path, state: str, step: str
) -> None:
    """Each step that the table does not have is refused by its name, and sends nothing."""
    session = Session(client)
    for before in PATHS[state]:
        STEPS[before](session, part)
    sent = len(server.requests)
    if (state, step) in LEGAL:
        STEPS[step](session, part)
    else:
        with pytest.raises(SessionStateError, match=f"cannot {NAMES[step]} a session that is"):
            STEPS[step](session, part)
        assert len(server.requests) == sent
    session.abort("the test is over")


@pytest.mark.parametrize("end", [["abandon"], ["open", "abandon"], ["open", "finish"]])
@pytest.mark.parametrize("step", ["open", "upload", "finish"])
def test_nothing_goes_on_after_the_end(
    client: Client, part: Path, end: list[str], step: str
) -> None:
    """Ended, by whichever way, is ended."""
    session = Session(client)
    for each in end:
        STEPS[each](session, part)
    with pytest.raises(SessionStateError, match=r"a session that is ended"):
        STEPS[step](session, part)


def test_a_finish_that_failed_is_the_end(server: ScriptedServer, client: Client) -> None:
    """After a Finish that failed there is no other one, and a further abandon says nothing."""
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
    ("error", "said"),
    [
        (RuntimeError("disk full"), "disk full"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError("  "), "failed"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (RuntimeError("x" * 1000), "x" * 200),
    ],
)
def test_a_block_that_fails(
    server: ScriptedServer, client: Client, error: BaseException, said: str
) -> None:
    """What fails in the block comes out, and Finish says it in short; never with a blank error."""
    with pytest.raises(type(error)) as raised, Session(client):
        raise error
    assert raised.value is error
    assert [request.json for request in server.requests_to("finish")] == [{"error": said}]


@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(400), Reply(401), Reply(202, cut=Cut.IN_ANSWER)]
)
def test_last_words_that_fail(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    """A Finish that fails after a failure hides nothing: the first is raised, the second logged."""
    caplog.set_level(logging.DEBUG, session_module.__name__)
    server.script("finish", reply)
    with pytest.raises(RuntimeError, match=r"the first"), Session(client):
        raise RuntimeError("the first")
    assert len(server.requests_to("finish")) == 1
    (record,) = (record for record in caplog.records if record.name == session_module.__name__)
    gone = reply.status == 400
    assert record.levelno == (logging.DEBUG if gone else logging.WARNING)
    assert SYNC_ID in record.message


def test_an_upload_that_is_refused(server: ScriptedServer, client: Client, part: Path) -> None:
    """A part that is too large ends the session with an error that says so."""
    server.script("upload", Reply(413))
    with pytest.raises(PermanentApiError, match=r"413"), Session(client) as session:
        session.upload(part)
    assert server.calls() == ["start", "upload", "finish"]
    assert "413" in server.requests[-1].json["error"]


def test_a_file_that_is_gone(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    """A file that cannot be read ends the session with an error."""
    with pytest.raises(SpoolError), Session(client) as session:
        session.upload(tmp_path / "gone")
    assert "gone" in server.requests[-1].json["error"]


# Lost, or wrong


def test_an_upload_to_a_lost_session(server: ScriptedServer, client: Client, part: Path) -> None:
    """400 while Keep Alive is not answered 200 either: the session is lost."""
    server.script("upload", Reply(400))
    server.always("keep-alive", Reply(500))
    server.always("finish", Reply(400))
    with pytest.raises(SessionExpiredError), Session(client) as session:
        session.upload(part)
    assert server.calls() == ["start", "upload", "keep-alive", "finish"]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_an_upload_that_is_wrong(
    server: ScriptedServer, client: Client, part: Path, status: int
) -> None:
    """400 while Keep Alive is answered 200: the file is at fault, and no new session helps."""
    server.script("upload", Reply(status, b'{"error": {"line": 3, "reason": "no id"}}'))
    with (
        pytest.raises(PermanentApiError, match=r"line 3: no id") as raised,
        Session(client) as session,
    ):
        session.upload(part)
    assert type(raised.value) is PermanentApiError
    assert raised.value.status == status
    assert server.calls() == ["start", "upload", "keep-alive", "finish"]
    assert "line 3: no id" in server.requests[-1].json["error"]


def test_a_finish_of_a_lost_session(server: ScriptedServer, client: Client) -> None:
    """A Finish that the session is not known for is a lost session: it may be repeated."""
    server.always("finish", Reply(400))
    server.always("keep-alive", Reply(404))
    with pytest.raises(SessionExpiredError), Session(client):
        pass
    assert server.calls()[:3] == ["start", "finish", "keep-alive"]


def test_a_finish_that_is_wrong(server: ScriptedServer, client: Client) -> None:
    """A Finish that is refused while the session lives is an error, and ends it with one."""
    server.script("finish", Reply(400))
    with pytest.raises(PermanentApiError) as raised, Session(client):
        pass
    assert type(raised.value) is PermanentApiError
    assert server.calls() == ["start", "finish", "keep-alive", "finish"]
    assert server.requests[-1].json["error"] != ""


@pytest.mark.parametrize(
    "reply", [Reply(200), Reply(500), Reply(401), Reply(202, cut=Cut.AFTER_BODY)]
)
def test_only_202_is_believed(server: ScriptedServer, client: Client, reply: Reply) -> None:
    """Whatever else Finish is answered, the session counts as failed, and is ended as such."""
    server.script("finish", reply)
    session = Session(client)
    session.open()
    with pytest.raises((PermanentApiError, TransientApiError)):
        session.finish()
    assert [request.json["error"] == "" for request in server.requests_to("finish")] == [
        True,
        False,
    ]


# Keep Alive


def test_keep_alive_while_idle(server: ScriptedServer, client: Client) -> None:
    """An open session that nothing is sent in is kept alive, again and again."""
    with Session(client, keep_alive_seconds=0.05):
        server.wait_for("keep-alive", 3)
    ats = [request.at for request in server.requests_to("keep-alive")]
    assert all(later - before >= 0.04 for before, later in itertools.pairwise(ats))


def test_no_keep_alive_without_silence(server: ScriptedServer, client: Client, part: Path) -> None:
    """While calls come often enough, none of them is a Keep Alive."""
    with Session(client, keep_alive_seconds=1) as session:
        for _ in range(15):
            session.upload(part)
            time.sleep(0.1)
    assert server.requests_to("keep-alive") == []


def test_keep_alive_during_a_slow_upload(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """An upload that takes long does not let its session expire."""
    release = threading.Event()
    server.script("upload", Reply(201, b'{"part_id": "p"}', until=release))
    with ThreadPoolExecutor(1) as pool, Session(client, keep_alive_seconds=0.05) as session:
        upload = pool.submit(session.upload, part)
        server.wait_for("keep-alive", 2)
        assert not upload.done()
        release.set()
        upload.result()
    assert session.part_ids == ["p"]


def test_keep_alive_between_tries(server: ScriptedServer, part: Path) -> None:
    """While a further try of an upload is waited for, the session is kept alive."""
    server.script("upload", Reply(429, headers={"Retry-After": "0.5"}))
    client = Client("key", api_url=server.url, max_retries=1)
    with Session(client, keep_alive_seconds=0.1) as session:
        session.upload(part)
    client.close()
    first, second = (request.at for request in server.requests_to("upload"))
    assert sum(first < request.at < second for request in server.requests_to("keep-alive")) >= 2


def test_keep_alive_ends_before_finish(server: ScriptedServer, client: Client) -> None:
    """Finish waits for a Keep Alive under way, and none comes after it, however long it takes."""
    server.script("keep-alive", Reply(200, seconds=0.3))
    server.script("finish", Reply(202, seconds=0.3))
    with Session(client, keep_alive_seconds=0.05):
        server.wait_for("keep-alive")
    time.sleep(0.2)
    assert server.calls() == ["start", "keep-alive", "finish"]
    assert server.requests[2].at - server.requests[1].at >= 0.29
    assert server.most_at_once == 1


@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(404), Reply(401), Reply(200, cut=Cut.AFTER_BODY)]
)
def test_a_keep_alive_that_fails(
    server: ScriptedServer,
    client: Client,
    part: Path,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
) -> None:
    """A Keep Alive that fails is logged; the session goes on, and so do the Keep Alives."""
    server.script("keep-alive", reply)
    with Session(client, keep_alive_seconds=0.05) as session:
        server.wait_for("keep-alive", 2)
        session.upload(part)
    assert server.calls(CALLS) == ["start", "upload", "finish"]
    assert f"Keep Alive of session {SYNC_ID}" in caplog.text
    assert "The session goes on." in caplog.text


def test_a_keep_alive_that_fails_is_followed_soon(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure the next Keep Alive does not wait for the whole interval."""
    monkeypatch.setattr(session_module, "KEEP_ALIVE_RETRY_SECONDS", 0.1)
    server.script("keep-alive", Reply(500))
    with Session(client, keep_alive_seconds=1.5):
        server.wait_for("keep-alive", 2)
    first, second = (request.at for request in server.requests_to("keep-alive"))
    assert 0.09 <= second - first < 1


# Abandoned by another thread


def test_abandoned_during_an_upload(server: ScriptedServer, client: Client, part: Path) -> None:
    """The session is finished with an error at once, and can end well no more."""
    release = threading.Event()
    server.script("upload", Reply(201, b'{"part_id": "p"}', until=release))

    def work() -> None:
        with Session(client) as session:
            sessions.append(session)
            session.upload(part)

    sessions: list[Session] = []
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(work)
        server.wait_for("upload")
        sessions[0].abort("stopped by the user", wait_seconds=1)
        assert server.requests[-1].json == {"error": "stopped by the user"}
        release.set()
        with pytest.raises(SessionStateError):
            worker.result()
    assert len(server.requests_to("finish")) == 1


def test_abandoned_during_finish(server: ScriptedServer, client: Client) -> None:
    """A Finish under way is waited for; what it was answered stands."""
    server.script("finish", Reply(202, seconds=0.3))
    session = Session(client)
    session.open()
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(session.finish)
        server.wait_for("finish")
        session.abort("too late")
        finishing.result()
    assert [request.json["error"] for request in server.requests_to("finish")] == [""]


def test_abandon_does_not_wait_for_ever(server: ScriptedServer, client: Client) -> None:
    """A Finish that takes longer than `wait_seconds` is left alone, and so is a Keep Alive."""
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


def test_abandon_during_a_keep_alive_that_hangs(server: ScriptedServer, client: Client) -> None:
    """The last words do not wait for a Keep Alive longer than `wait_seconds`."""
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


def test_abandoned_while_it_is_opened(server: ScriptedServer, client: Client) -> None:
    """A session that comes to be after it was given up is finished with an error."""
    release = threading.Event()
    server.script("start", Reply(201, b'{"sync_id": "late"}', until=release))
    session = Session(client)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(session.open)
        server.wait_for("start")
        session.abort("stopped")
        release.set()
        with pytest.raises(SessionStateError, match=r"cannot open a session that is ended"):
            opening.result()
    (finish,) = server.requests_to("finish")
    assert finish.path == "/v0/finish/late"
    assert finish.json["error"] != ""


def test_abandoned_by_many(server: ScriptedServer, client: Client) -> None:
    """However many give a session up at once, it is finished once."""
    session = Session(client)
    session.open()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session.abort, [f"reason {n}" for n in range(8)]))
    assert len(server.requests_to("finish")) == 1


def test_many_sessions_leave_nothing(server: ScriptedServer, client: Client, part: Path) -> None:
    """Sessions one after the other, and side by side, leave no thread behind."""

    def work(number: int) -> None:
        if number % 3:
            with Session(client, keep_alive_seconds=0.02) as session:
                session.upload(part)
            return
        with pytest.raises(RuntimeError), Session(client):
            raise RuntimeError

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(30)))
    wait_until(lambda: not any(t.name.startswith("keep-alive") for t in threading.enumerate()))
    assert len(server.requests_to("finish")) == 30
