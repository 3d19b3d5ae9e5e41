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


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def inner(pipe: tuple[int, int]) -> Any:
    """A pool with a job in each state; its only child confirms, by a byte, the job that it has."""
    child = SimpleNamespace(outqR_fd=pipe[0], _is_alive=lambda: True)
    jobs = {
        WAITING: SimpleNamespace(_accepted=False, _write_to=None),
        HALF_WRITTEN: SimpleNamespace(_accepted=False, _write_to=child, _writer=lambda: "generator"),
        GIVEN: SimpleNamespace(_accepted=False, _write_to=child, _writer=lambda: None),
        CONFIRMED: SimpleNamespace(_accepted=True, _write_to=child, _writer=lambda: None),
    }

    def read(number: int, *_: Any) -> None:
        os.read(number, 1)
        jobs[GIVEN]._accepted = True

    def drop() -> None:
        for number in [number for number, job in jobs.items() if not job._accepted]:
            del made._cache[number]

    handler = SimpleNamespace(_flush_outqueue=read, on_state_change=None)
    made = SimpleNamespace(_cache=dict(jobs), _state=CLOSE, flush=drop, _result_handler=handler, _fileno_to_outq={})
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
    assert set(inner._cache) == kept
    assert Children(pool).are_starting()


def test_what_a_child_has_said_is_read_first(inner: Any, pipe: tuple[int, int]) -> None:
    pool = SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool)
    os.write(pipe[1], b"!")
    pool.flush()
    assert set(inner._cache) == {GIVEN, CONFIRMED}
    assert not Children(pool).are_starting()


def test_a_pool_that_drops_nothing_is_left_as_it_is() -> None:
    pool = SimpleNamespace(_pool=SimpleNamespace())
    keep_unconfirmed(pool)
    assert not hasattr(pool, "flush")
    assert not Children(pool).are_starting()
