"""What a prefork pool keeps when it drops the jobs that wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import CLOSE, RUN

from jobclaim.workers.process import children
from jobclaim.workers.process.children import Children, keep_unconfirmed

WAITING, HALF_WRITTEN, GIVEN, CONFIRMED = range(4)


class Job:
    """A job of the pool, at one of these points."""

    def __init__(self, pool: Any, point: int, child: Any) -> None:
        self.pool, self.point, self._accepted = pool, point, point == CONFIRMED
        self._write_to = None if point == WAITING else child
        self.writer = SimpleNamespace(gi_frame="a frame" if point == HALF_WRITTEN else None)

    _accept_callback = None

    def _writer(self) -> Any:
        return self.writer

    def discard(self) -> None:
        del self.pool._cache[self.point]

    def ready(self) -> bool:
        return False


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def inner(pipe: tuple[int, int]) -> Any:
    """A pool with a job at each point; its only child confirms, by a byte, the job that it has."""
    made = SimpleNamespace(_cache={}, _state=CLOSE, _busy_workers=set(), _fileno_to_outq={})
    child = SimpleNamespace(outqR_fd=pipe[0], inqW_fd=7, dead=False, alive=True)
    child._is_alive = lambda: child.alive

    def read(number: int, *_: Any) -> None:
        os.read(number, 1)
        made._cache[GIVEN]._accepted = True

    def drop() -> None:
        for job in list(made._cache.values()):
            if not job._accepted:
                job.discard()

    made.child, made.flush = child, drop
    made._result_handler = SimpleNamespace(_flush_outqueue=read, on_state_change=None)
    made.process_flush_queues = lambda ended: read(ended.outqR_fd) if made.has_answered else None
    made._cache |= {point: Job(made, point, child) for point in range(4)}
    return made


@pytest.mark.parametrize(
    ("state", "kept"), [(CLOSE, {GIVEN, CONFIRMED}), (RUN, {HALF_WRITTEN, GIVEN, CONFIRMED})], ids=["closing", "open"]
)
def test_a_job_that_a_child_has_is_kept(
    inner: Any, state: int, kept: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "CONFIRM_SECONDS", 0.01)
    inner._state, pool = state, SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool)
    pool.flush()
    assert (set(inner._cache), inner._busy_workers) == (kept, {7})
    assert Children(pool).are_starting()


def test_what_a_child_has_said_is_read_first(inner: Any, pipe: tuple[int, int]) -> None:
    pool = SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool)
    os.write(pipe[1], b"!")
    pool.flush()
    assert set(inner._cache) == {GIVEN, CONFIRMED}
    assert not Children(pool).are_starting()


@pytest.mark.parametrize(("has_answered", "kept"), [(True, {GIVEN, CONFIRMED}), (False, {CONFIRMED})])
def test_a_job_whose_child_has_ended_is_kept_if_it_was_confirmed(
    inner: Any, pipe: tuple[int, int], has_answered: bool, kept: set[int]
) -> None:
    """Else the pool would give it to another child, and its body could run a second time in one attempt."""
    inner.child.alive, inner.has_answered, pool = False, has_answered, SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool)
    os.write(pipe[1], b"!")
    pool.flush()
    assert (set(inner._cache), inner._busy_workers) == (kept, set())


def test_a_pool_that_drops_nothing_is_left_as_it_is() -> None:
    pool = SimpleNamespace(_pool=SimpleNamespace())
    keep_unconfirmed(pool)
    assert not hasattr(pool, "flush")
    assert not Children(pool).are_starting()
