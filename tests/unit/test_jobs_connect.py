"""Clients: bounded in time, and one per process."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.jobs.storage.connect import PerProcess, client
from jobclaim.settings import Settings


def test_threads_that_ask_at_once_get_the_same_thing_made_once() -> None:
    made: list[int] = []
    start = threading.Barrier(8)

    def make() -> object:
        made.append(1)
        return object()

    per_process = PerProcess(make)

    def ask(_: int) -> int:
        start.wait(10)
        return id(per_process.get())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert made == [1]


@pytest.mark.parametrize("held", [False, True])
def test_a_forked_child_makes_its_own_even_when_a_thread_was_making_one_at_the_fork(held: bool) -> None:
    per_process = PerProcess(os.getpid)
    making, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        making.set()
        assert go_on.wait(30)
        return os.getpid()

    thread = threading.Thread(target=per_process.get)
    if held:
        per_process._make = slow
        thread.start()
        assert making.wait(30)
        per_process._make = os.getpid
    else:
        assert per_process.get() == os.getpid()

    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # a child that waits for a lock of its parent ends by this
        os._exit(0 if per_process.get() == os.getpid() else 1)
    _, status = os.waitpid(child, 0)
    go_on.set()
    if held:
        thread.join(30)
    assert os.waitstatus_to_exitcode(status) == 0
    assert per_process.get() == os.getpid()


def test_a_client_waits_seconds_and_not_minutes() -> None:
    config = client(Settings(connect_timeout_seconds=1.5, read_timeout_seconds=4), "dynamodb").meta.config

    assert (config.connect_timeout, config.read_timeout) == (1.5, 4)
    assert config.retries["total_max_attempts"] == 2


def test_a_loopback_endpoint_needs_no_credentials_and_aws_is_not_given_fake_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)

    local = client(Settings(endpoint_url="http://127.0.0.1:4566"), "dynamodb")
    aws = client(Settings(), "dynamodb")

    assert local._request_signer._credentials.access_key == "local"
    assert aws._request_signer._credentials is None
