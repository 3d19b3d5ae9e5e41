"""What a main process does with the outcomes that its children hand over."""

from __future__ import annotations

import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pycurl
import pytest
from botocore.exceptions import NoCredentialsError
from kombu.asynchronous import Hub

from jobclaim.jobs import ClaimLost, JobUnreadable, StoreUnavailable
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.lean import LeanClient, client_of
from jobclaim.settings import Settings
from jobclaim.workers.process import loop_requests
from jobclaim.workers.process.loop_requests import Alarm
from jobclaim.workers.process.outcomes import Outcomes
from jobclaim.workers.state import worker

MADE, CLOSED, HANGS, CUT_OFF = (200, b"{}"), "closed", "hangs", (200, b"{}", 1)
LONGEST_SECONDS = 30.0


class Server(ThreadingHTTPServer):
    """DynamoDB, which answers each request as the test has laid out."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self.asked: list[bytes] = []
        self.lines = set[Any]()
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One kept connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.server.lines.add(self.client_address)
        self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.answers.get(timeout=LONGEST_SECONDS)
        if answer in (HANGS, CLOSED):
            if answer == HANGS:
                self.server.ended.wait()
            self.close_connection = True
            return
        status, body, *missing = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + sum(missing)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = bool(missing)

    def log_message(self, *_: Any) -> None:
        pass


class Repo:
    """What the outcomes use of a repo; its second way to write is scripted."""

    def __init__(self, client: Any) -> None:
        self.table = SimpleNamespace(client=lambda: client)
        self.announced: list[str] = []
        self.written: list[str] = []
        self.errors: list[Exception] = []

    def announce_planned(self, planned: PlannedCompletion) -> None:
        self.announced.append(planned.token)
        if planned.token == "bad":
            raise OSError("the disk of the exporter is full")

    def write_planned(self, planned: PlannedCompletion) -> None:
        self.written.append(planned.token)
        if self.errors:
            raise self.errors.pop(0)


class Recorder:
    """Keeps what it is to do until the test does it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.is_full = False

    def submit(self, record: Callable[[], None]) -> bool:
        if not self.is_full:
            self.waiting.append(record)
        return not self.is_full

    def flush(self, timeout: float) -> bool:
        self.run()
        return timeout > 0

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            record()


class World:
    """A main process with two children."""

    def __init__(self, server: Server, client: Any, hub: Any) -> None:
        self.server, self.hub = server, hub
        self.repo, self.recorder = Repo(client), Recorder()
        handle: Any = SimpleNamespace(repo=self.repo, name="app")
        recorder: Any = self.recorder
        self.outcomes = Outcomes(handle, hub, recorder, processes=2)
        self.loop: Any = hub.create_loop() if hub else None

    def takes(self) -> bool:
        """Accept a job, and return whether children hand outcomes over then."""
        self.outcomes.open()
        return self.is_open()

    def is_open(self) -> bool:
        """Return whether children hand outcomes over now."""
        board = worker.current()._board
        assert board is not None
        return worker.now() < board.takes_until

    def turn_until(self, condition: Callable[[], Any]) -> None:
        """Turn the event loop."""
        deadline = time.monotonic() + LONGEST_SECONDS
        self.hub.call_repeatedly(0.02, lambda: None)
        while not condition():
            assert time.monotonic() < deadline
            next(self.loop)

    def record(self, *tokens: str) -> None:
        """Turn the loop once, and get outcomes."""
        if self.loop:
            self.hub.call_soon(lambda: None)
            next(self.loop)
        for token in tokens:
            self.outcomes.record(planned(token))


def is_announced(world: World, token: str) -> bool:
    return token in world.repo.announced


def planned(token: str) -> PlannedCompletion:
    return PlannedCompletion(f"job of {token}", token, f'{{"of": "{token}"}}'.encode(), 2_000_000, 5, {"task": "t"}, {})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.ended.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.close()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> LeanClient:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    made = client_of(Settings(_env_file=None, endpoint_url=f"http://127.0.0.1:{server.server_port}"), "dynamodb")
    assert isinstance(made, LeanClient)
    return made


@pytest.fixture
def world(server: Server, client: LeanClient, hub: Hub) -> Iterator[World]:
    worker.begin()
    yield World(server, client, hub)
    worker.end()


def test_an_outcome_is_written_by_the_event_loop_and_announced(world: World) -> None:
    assert world.takes()
    for token in ("a", "b", "c"):
        world.server.answers.put(MADE)
        world.record(token)
        world.turn_until(partial(is_announced, world, token))

    assert world.server.asked == [planned(token).request for token in ("a", "b", "c")]
    assert (world.repo.announced, world.recorder.waiting) == (["a", "b", "c"], [])
    requests = world.outcomes._requests
    assert requests is not None
    assert (len(world.server.lines), len(requests._idle)) == (1, 1)
    assert (world.hub.readers, world.hub.writers) == ({}, {})
    assert world.takes()


def test_before_the_loop_turns_outcomes_go_to_the_recorder(world: World) -> None:
    world.outcomes.record(planned("a"))
    assert len(world.recorder.waiting) == 1


def test_an_announcement_that_fails_does_not_end_the_loop(world: World) -> None:
    for token in ("bad", "good"):
        world.server.answers.put(MADE)
        world.record(token)
        world.turn_until(partial(is_announced, world, token))
    assert world.recorder.waiting == []


def test_outcomes_of_several_children_are_under_way_together(world: World) -> None:
    world.record("a", "b")
    world.turn_until(lambda: len(world.server.asked) == 2 <= len(world.hub.readers))
    assert world.outcomes.job_ids() == {"job of a", "job of b"}
    for _ in range(2):
        world.server.answers.put(MADE)
    world.turn_until(lambda: set(world.repo.announced) == {"a", "b"})
    assert world.outcomes.job_ids() == set()


@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"__type": "ConditionalCheckFailedException"}'),
        (500, b"{}"),
        (200, b"<html>a captive portal</html>"),
        (200, b"[]"),
        (200, b""),
        CUT_OFF,
        CLOSED,
    ],
)
def test_what_was_not_written_at_once_goes_to_the_recorder(world: World, answer: Any) -> None:
    assert world.takes()
    for _ in range(3):  # libcurl may repeat a request whose connection is closed
        world.server.answers.put(answer)
    world.record("a")
    world.turn_until(lambda: world.recorder.waiting)

    assert not world.is_open()
    assert not world.takes()
    world.recorder.run()
    assert world.repo.written == ["a"]
    assert world.repo.announced == []
    assert world.takes()


def test_an_answer_that_does_not_come_in_time_is_none(world: World, client: LeanClient) -> None:
    client.longest_ms = 50
    world.server.answers.put(HANGS)
    world.record("a")
    world.turn_until(lambda: world.recorder.waiting)


def test_a_request_that_cannot_be_made_goes_to_the_recorder(
    world: World, client: LeanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise NoCredentialsError

    monkeypatch.setattr(client, "signed", refuse)
    world.record("a")
    assert len(world.recorder.waiting) == 1


@pytest.mark.parametrize("error", [StoreUnavailable("its lease is over"), JobUnreadable("j", "odd", ValueError())])
def test_an_outcome_that_cannot_be_written_does_not_close_the_way_for_others(world: World, error: Exception) -> None:
    world.outcomes._requests, requests = None, world.outcomes._requests
    world.record("a", "b")
    world.outcomes._requests = requests
    world.repo.errors = [error]
    assert not world.takes()
    assert world.outcomes.job_ids() == {"job of a", "job of b"}
    with suppress(JobUnreadable):  # the recorder logs it
        world.recorder.waiting.pop(0)()
    assert world.outcomes.job_ids() == {"job of b"}
    world.recorder.run()
    assert world.takes()


def test_a_claim_that_has_ended_drops_its_outcome(world: World) -> None:
    world.outcomes._requests = None
    world.record("a")
    world.repo.errors = [ClaimLost("ended")]
    world.recorder.run()
    assert (world.recorder.waiting, world.outcomes.job_ids()) == ([], set())


def test_outcomes_that_no_thread_can_write_do_not_close_the_way_for_others(world: World) -> None:
    world.recorder.is_full = True
    world.outcomes._requests, requests = None, world.outcomes._requests
    world.record("a")
    world.outcomes._requests = requests
    assert world.takes()
    assert not world.outcomes.flush(1), "recovery finds them by the worker's record"


def test_no_more_are_taken_than_two_for_each_child(world: World) -> None:
    world.record("a", "b", "c")
    assert world.takes()
    world.record("d")
    assert not world.takes()
    for _ in range(4):
        world.server.answers.put(MADE)
    world.turn_until(lambda: len(world.repo.announced) == 4)
    assert world.takes()


ENDS: dict[str, Callable[[World], None]] = {
    "closed": lambda world: world.hub.reset(),
    "left": lambda world: world.outcomes.leave_loop(),
    "a cold stop": lambda world: world.outcomes.end(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_when_the_loop_ends_the_last_answers_are_waited_for(
    world: World, end: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_requests, "LAST_SECONDS", LONGEST_SECONDS)
    world.record("a")
    world.server.answers.put(MADE)
    end(world)
    assert (world.repo.announced, world.recorder.waiting) == (["a"], [])
    assert world.outcomes.flush(1)
    assert not world.outcomes.flush(0)

    world.outcomes.record(planned("b"))  # by the pool, which closes
    assert len(world.recorder.waiting) == 1


def test_when_the_loop_ends_an_answer_is_not_waited_for_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_requests, "LAST_SECONDS", 0.0)
    world.record("a")
    world.server.answers.put(MADE)
    world.hub.reset()
    assert len(world.recorder.waiting) == 1

    world.recorder.run()
    world.loop = world.hub.create_loop()
    world.server.answers.put(MADE)
    world.server.answers.put(MADE)
    world.record("b")
    world.turn_until(lambda: world.repo.announced == ["b"])


def test_without_an_event_loop_children_record_their_outcomes(server: Server, client: LeanClient) -> None:
    worker.begin()
    try:
        world = World(server, client, None)
        assert not world.takes()
        world.record("a")
        assert len(world.recorder.waiting) == 1
    finally:
        worker.end()


def test_boto3s_client_records_no_outcome_in_the_loop(server: Server, client: LeanClient, hub: Hub) -> None:
    worker.begin()
    try:
        assert not World(server, client.boto3s, hub).takes()
    finally:
        worker.end()


@pytest.mark.parametrize("stop", [Outcomes.close, Outcomes.end])
def test_nothing_is_taken_after_a_stop_was_requested(
    world: World, stop: Callable[[Outcomes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.takes()
    stop(world.outcomes)
    assert not world.is_open()
    given: list[float] = []
    monkeypatch.setattr(worker.current(), "take_outcomes", given.append)
    world.outcomes.open()
    assert set(given) == {0.0}


def test_a_stop_that_is_requested_while_outcomes_are_let_in_closes_the_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = worker.now()

    def interrupted() -> float:
        world.outcomes.close()  # by the handler of a signal
        return now

    with monkeypatch.context() as during:
        during.setattr(worker, "now", interrupted)
        world.outcomes.open()
    assert not world.is_open()


@pytest.mark.parametrize("refused", ["prepare", "add_handle"])
def test_a_request_that_libcurl_does_not_take_is_recorded_once(
    world: World, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: Any) -> None:
        raise pycurl.error(43, "as the test says")

    if refused == "prepare":
        monkeypatch.setattr(loop_requests, "prepare", refuse)
    else:
        multi = Mock(**{"add_handle.side_effect": refuse, "info_read.return_value": (0, [], [])})
        monkeypatch.setattr(world.outcomes._requests, "_multi", multi)
    world.record("a")
    assert (len(world.recorder.waiting), world.outcomes.job_ids()) == (1, {"job of a"})
    assert world.outcomes._requests is not None
    assert world.outcomes._requests.under_way() == []


class TestLoopRequests:
    @pytest.fixture
    def requests(self, world: World) -> Any:
        world.record()
        return world.outcomes._requests

    def test_a_socket_is_watched_as_libcurl_asks_and_never_left_behind(self, world: World, requests: Any) -> None:
        one, other = socket.socketpair()
        number, seen = one.fileno(), []
        for event in (pycurl.POLL_OUT, pycurl.POLL_IN, pycurl.POLL_INOUT, pycurl.POLL_REMOVE):
            requests._watch(event, number)
            seen.append((number in world.hub.readers, number in world.hub.writers))
        assert seen == [(False, True), (True, False), (True, True), (False, False)]
        for end in (one, other):
            end.close()

    def test_libcurl_is_called_when_it_wants_to_be(self, requests: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop_requests, "time", SimpleNamespace(monotonic=lambda: 100.0))
        due = []
        for milliseconds in (2000, 0, -1):
            requests._wake(milliseconds)
            due.append(requests._alarm.due)
        assert due == [102.0, 100.0, math.inf]

    def test_a_loop_that_ends_without_requests_waits_for_nothing(
        self, world: World, requests: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests._wake(60_000)
        requests._alarm.keep()
        monkeypatch.setattr(requests, "_multi", Mock(**{"select.side_effect": AssertionError}))
        world.outcomes.leave_loop()
        assert requests._alarm._timer is None


class Timers:
    """A loop that has timers only."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        self.set.append((seconds, call))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class TestAlarm:
    @pytest.fixture
    def now(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        made = [100.0]
        monkeypatch.setattr(loop_requests, "time", SimpleNamespace(monotonic=lambda: made[0]))
        return made

    def test_it_is_set_for_what_is_due_first(self, now: list[float]) -> None:
        timers, rung = Timers(), list[float]()
        alarm = Alarm(timers, lambda: rung.append(now[0]))
        for due in (103.0, 104.0, 103.0, 102.0, 99.0, math.inf):
            alarm.due = due
            alarm.keep()
        assert ([seconds for seconds, _ in timers.set], timers.cancelled, rung) == ([3.0, 2.0, 0.0], 2, [])

    def test_one_that_rings_too_early_is_set_again(self, now: list[float]) -> None:
        timers, rung = Timers(), list[float]()
        alarm = Alarm(timers, lambda: rung.append(now[0]))
        alarm.due = 103.0
        alarm.keep()
        alarm.due = 105.0
        for now[0] in (103.0, 105.0):
            timers.set[-1][1]()
        assert ([seconds for seconds, _ in timers.set], timers.cancelled, rung) == ([3.0, 2.0], 0, [105.0])
        alarm.due = 107.0
        alarm.keep()
        assert timers.set[-1][0] == 2.0

    def test_it_rings_for_nothing_that_is_not_due_any_more(self, now: list[float]) -> None:
        timers = Timers()
        alarm = Alarm(timers, lambda: pytest.fail("rings"))
        alarm.due = 103.0
        alarm.keep()
        now[0], alarm.due = 103.0, math.inf
        timers.set[0][1]()
        assert len(timers.set) == 1

    def test_after_a_cancel_it_is_set_anew(self, now: list[float]) -> None:
        timers = Timers()
        alarm = Alarm(timers, lambda: None)
        alarm.cancel()
        alarm.due = 103.0
        alarm.keep()
        alarm.cancel()
        alarm.keep()
        assert ([seconds for seconds, _ in timers.set], timers.cancelled) == ([3.0, 3.0], 1)
