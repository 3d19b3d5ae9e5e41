"""The submitters of `jobclaim verify` end with the run, whatever ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobclaim.jobs import StoreUnavailable
from jobclaim.verify.plan import Call
from jobclaim.verify.submitters import Submitters
from tests.support.waiting import wait_until


def unavailable(**_: Any) -> None:
    raise StoreUnavailable("DynamoDB does not answer")


def break_run(submitters: Submitters) -> None:
    with submitters:
        wait_until(lambda: submitters.refused >= 6, 60, "every thread has a call that is refused")
        raise RuntimeError("the run broke")


def test_a_run_that_breaks_leaves_no_thread_that_submits_on() -> None:
    app = SimpleNamespace(tasks={"verify.quick": SimpleNamespace(apply_async=unavailable)})
    submitters = Submitters(app, [Call(0.0, "quick", number) for number in range(6)], "c7", "secret")
    with pytest.raises(RuntimeError, match="the run broke"):
        break_run(submitters)
    wait_until(lambda: not any(thread.is_alive() for thread in submitters._threads), 60, "the threads end")
    assert (submitters.accepted, submitters.errors) == ([], [])


def test_calls_that_are_refused_forever_do_not_hold_up_the_verdict() -> None:
    app = SimpleNamespace(tasks={"verify.quick": SimpleNamespace(apply_async=unavailable)})
    with Submitters(app, [Call(0.0, "quick", 1)], "c7", "secret") as submitters:
        assert not submitters.join(timeout=0.0)
