"""Clients: bounded in time, and one per process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.jobs.storage import inherited
from jobclaim.jobs.storage.connect import PerProcess, client, fake_credentials
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


class Thing:
    """What a process must not share."""


def test_each_process_makes_its_own_and_leaves_what_it_inherited_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    per_process, pid = PerProcess(Thing), 1  # a container's first process
    monkeypatch.setattr(os, "getpid", lambda: pid)
    known = [per_process.is_made]
    parents = weakref.ref(per_process.get())
    known.append(per_process.is_made)
    assert per_process.get() is parents()
    pid = 2
    known.append(per_process.is_made)
    assert known == [False, True, False]
    assert isinstance(per_process.get(), Thing)
    assert per_process.get() is not parents() is not None


def test_a_child_keeps_each_connection_of_its_parent_open_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """libcurl ends TLS over the socket that both share when the last reference is dropped."""
    after_fork: list[Callable[[], None]] = []
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: after_fork.append(after_in_child))
    monkeypatch.setattr(inherited, "_open", weakref.WeakSet())
    inherited._watch_forks.cache_clear()
    try:
        first, second = Thing(), Thing()
        assert inherited.leave_to_parent(first) is first
        assert inherited.leave_to_parent(second) is second
        (in_child,) = after_fork
        before = sys.getrefcount(first), sys.getrefcount(second)
        in_child()
        assert (sys.getrefcount(first), sys.getrefcount(second)) == (before[0] + 1, before[1] + 1)
        in_child()  # in the child's own child, which has the same reference
        assert (sys.getrefcount(first), sys.getrefcount(second)) == (before[0] + 1, before[1] + 1)
    finally:
        inherited._watch_forks.cache_clear()


@pytest.mark.parametrize("local", [True, False])
def test_a_client_is_made_for_many_threads_and_reaches_this_machine_without_a_proxy(local: bool) -> None:
    made = client(Settings(endpoint_url="http://localhost:4566") if local else Settings(), "sqs", attempts=5)
    config = made.meta.config

    assert (made.meta.endpoint_url == "http://localhost:4566") is local
    assert config.user_agent.startswith("jobclaim/0.1")
    assert (config.tcp_keepalive, config.max_pool_connections) == (True, 512)
    assert (config.proxies == {}) is local
    assert config.retries == {"total_max_attempts": 5, "mode": "standard"}


@pytest.mark.parametrize("named", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", ""])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://localhost", "http://[::1]:8", "https://a.b", None])
def test_credentials_are_made_up_for_this_machine_where_the_environment_names_none(
    endpoint: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    if named:
        monkeypatch.setenv(named, "theirs")
    found = fake_credentials(endpoint)
    local = endpoint is not None and endpoint != "https://a.b"
    assert (found is not None) is (local and not named)
    assert found is None or (found.access_key, found.secret_key) == ("local", "local")


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
