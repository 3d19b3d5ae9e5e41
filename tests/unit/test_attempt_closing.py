"""What happens around Celery's tracer: an attempt that the body left open is ended, whatever the body did."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore, Reject
from structlog.testing import capture_logs

from jobclaim.jobs import FailureKind
from jobclaim.jobs.model import Failure
from jobclaim.jobs.transitions import Move
from jobclaim.workers.attempt import leaving
from jobclaim.workers.attempt.closing import closing, opened
from jobclaim.workers.attempt.leaving import End

BROKEN = ValueError("it broke")


class World:
    """A task whose claimed attempt runs, and what its closing did.

    Attributes
    ----------
    did : list
        Names and arguments of what was done, in order.
    """

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.holds = True
        self.request = SimpleNamespace(job="the job", takes_place="")
        self.task = MagicMock()
        self.task.request_stack.push = self._note("push")
        self.task.request_stack.pop = self._note("pop")
        self.task._make_room = self._note("room")
        self.task.app.backend.cancel_job = self._note("cancel")
        self.task.jobclaim.repo.holds = lambda job: self.holds and job == "the job"

    def _note(self, name: str) -> Callable[..., None]:
        return lambda *given: self.did.append((name, *given))

    def run(self, tracer: Any, *, claimed: bool = True) -> Any:
        """Run a tracer inside the closing one, in a context of its own."""

        def traced() -> Any:
            if claimed:
                opened(self.request)
            return closing(tracer, self.task)("an argument", of="a keyword")

        return contextvars.copy_context().run(traced)

    def failed(self, info: Any, task: Any, request: Any) -> None:
        assert (info.state, task, request) == ("FAILURE", self.task, self.request)
        self.did.append(("fail", info.retval))

    @property
    def inside(self) -> list[Any]:
        """What was done while the request was the task's own."""
        assert (self.did[0], self.did[-1]) == (("push", self.request), ("pop",))
        return self.did[1:-1]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with (
        patch.object(TraceInfo, "handle_error_state", lambda *given: made.failed(*given)),  # noqa: PLW0108
        patch.object(leaving, "record", lambda app, repo, job, end: made.did.append(("record", job, end))),
    ):
        yield made


def ending(left: BaseException | None) -> tuple[Any, Any]:
    """Give a tracer whose body left like that, and what it gives back."""
    result = SimpleNamespace(exception=left)
    traced = trace_ok_t(result, TraceInfo("IGNORED", left) if left else None, 0.0, "")
    return (lambda *_, **__: traced), traced


def test_a_body_that_returned_is_completed_by_the_tracer_alone(world: World) -> None:
    tracer, traced = ending(None)
    assert world.run(tracer) is traced
    assert world.did == []


def test_the_slot_of_a_body_that_returned_is_given_back(world: World) -> None:
    world.request.takes_place = "mail"
    world.run(ending(None)[0])
    assert world.inside == [("room",)]


def test_without_a_claimed_job_nothing_is_ended_and_a_rejection_stays_one(world: World) -> None:
    left = Reject("no")
    tracer, traced = ending(left)
    world.run(tracer, claimed=False)
    assert (world.did, traced.retval.exception) == ([], left)


def test_a_rejection_of_a_claimed_job_is_not_recorded_twice(world: World) -> None:
    tracer, traced = ending(Reject("no", requeue=True))
    world.run(tracer)
    assert isinstance(traced.retval.exception, Ignore)
    assert [step[0] for step in world.inside] == ["record", "room"]
    other = Ignore("x")
    tracer, traced = ending(other)
    world.run(tracer)
    assert traced.retval.exception is other


@pytest.mark.parametrize(
    ("left", "more", "step"),
    [
        (Ignore("x"), {}, ("cancel", "its task raised Ignore: x")),
        (Ignore("x"), {"final_state": ("SUCCESS", 7)}, ("record", End(Move.COMPLETE, 7))),
        (Ignore("x"), {"final_state": ("SUCCESS", 7), "cancel_seen": True}, ("cancel", 7)),
        (Ignore("x"), {"final_state": ("FAILURE", BROKEN)}, ("fail", BROKEN)),
        (Reject(BROKEN), {}, ("fail", BROKEN)),
    ],
)
def test_what_a_tracer_ignores_ends_its_job_as_the_table_of_ends_says(
    world: World, left: BaseException, more: dict[str, Any], step: tuple[str, Any]
) -> None:
    vars(world.request).update(more)
    world.run(ending(left)[0])
    done, made_room = world.inside
    assert (done[0], done[-1]) == step
    assert made_room == ("room",)
    if done[0] == "cancel":
        assert done[1] is world.request
    if done[0] == "record":
        assert done[1] == "the job"


def test_what_a_tracer_does_not_catch_fails_the_job_and_leaves(world: World) -> None:
    asked: list[Any] = []

    def tracer(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        world.run(tracer)
    assert asked == [(("an argument",), {"of": "a keyword"})]
    assert world.inside == [("fail", caught.value), ("room",)]
    assert world.request.failed_by is caught.value
    assert caught.traceback[-1].name == "tracer"


def test_a_job_whose_claim_is_over_is_left_alone_and_its_slot_is_given_back(world: World) -> None:
    world.holds = False
    world.run(ending(Ignore("x"))[0])
    assert world.inside == [("room",)]


def test_a_process_that_is_being_ended_leaves_it_to_its_worker(world: World) -> None:
    world.request.takes_place = "mail"
    with patch.object(leaving, "process_is_ending", return_value=True):
        world.run(ending(Ignore("x"))[0])
    assert world.did == []


def test_an_error_while_it_is_ended_is_logged_and_hides_nothing(world: World) -> None:
    world.task._make_room = MagicMock(side_effect=RuntimeError)
    tracer, traced = ending(Ignore("x"))
    with capture_logs() as lines:
        assert world.run(tracer) is traced
    assert [line["event"] for line in lines] == ["worker.outcomes_not_recorded"]
    assert world.did[-1] == ("pop",)


@pytest.mark.parametrize("raised", [True, False])
def test_an_error_keeps_its_traceback_and_one_that_was_never_raised_gets_one(world: World, raised: bool) -> None:
    error = KeyError("x")
    if raised:
        try:
            raise error
        except KeyError:
            pass
    before = error.__traceback__
    world.run(ending(Reject(error))[0])
    assert error.__traceback__ is not None
    assert (error.__traceback__ is before) is raised


def test_a_reported_failure_is_shown_to_celery_as_an_exception_and_kept_as_it_is(world: World) -> None:
    failure = Failure(kind=FailureKind.PERMANENT, exception="builtins.KeyError", message="sku 4")
    with patch.object(leaving, "end_of", return_value=End(Move.FAIL, failure)):
        world.run(ending(Ignore("x"))[0])
    (_, shown), _ = world.inside
    assert (type(shown), shown.args) == (KeyError, ("sku 4",))
    assert world.request.failed_by is failure
