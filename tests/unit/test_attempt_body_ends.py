"""The claims that a body makes itself: what ends those that it left open."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from jobclaim.jobs import ClaimLost, StoreUnavailable
from jobclaim.jobs.repo import delivery as place
from jobclaim.workers.attempt import body as module
from jobclaim.workers.attempt import coroutines, ending, leaving, outcome
from jobclaim.workers.attempt.body import BodyDelivery
from jobclaim.workers.messages.message import DELIVERY, TOKEN
from tests.unit.test_attempt_body import BROKEN, Request, World, addressed, claim, make

__all__ = ["make"]  # a fixture


def test_open_claims_begin_with_the_messages_own_job(make: Any) -> None:
    world = make(**addressed("own"))
    world.claimed(claim("a"), claim("own"), claim("b"))
    assert [one.job_id for _, one in world.body.open_claims()] == ["own", "a", "b"]
    nobodys = make()
    nobodys.claimed(claim("a"), claim("b"))
    assert [one.job_id for _, one in nobodys.body.open_claims()] == ["a", "b"]


def test_a_body_knows_its_own_task_under_any_of_its_objects(make: Any) -> None:
    world = make()
    others = [SimpleNamespace(name="t"), SimpleNamespace(name="other")]
    assert [world.body.is_of(task) for task in (world.task, *others)] == [True, True, False]


def test_a_retry_makes_all_open_jobs_pending_and_sends_those_that_are_not_its_own(make: Any) -> None:
    world = make()
    own, other, second = claim("own"), claim("other", task="another"), claim("second")
    world.claimed(other, own, second)
    world.repo.reschedule.side_effect = lambda job_id, **how: f"{job_id} again"
    with patch.object(module, "publish_if_due") as publish, patch.object(outcome, "kind_of", return_value="a kind"):
        with world.body.retrying(BROKEN):
            assert world.body.is_retrying
            assert world.body.retry(7) == "own again"
        assert not world.body.is_retrying
        assert world.body.retry(None) == "own again"
    calls = [(one.args[0], one.kwargs) for one in world.repo.reschedule.call_args_list]
    how = {"available_at": 7, "error": BROKEN, "kind": "a kind"}
    assert calls[:3] == [(one.job_id, {**how, "token": one.claim_token}) for one in (other, own, second)]
    assert [(given["error"], given["available_at"]) for _, given in calls[3:]] == [(None, None)] * 3
    assert [one.args for one in publish.call_args_list] == [
        ("the app", f"{name} again") for name in ("other", "second")
    ] * 2


@pytest.mark.parametrize("error", [ClaimLost("gone"), StoreUnavailable("away")])
def test_a_retry_of_the_own_job_that_is_not_written_is_raised_and_of_another_one_logged(
    make: Any, error: Exception
) -> None:
    world = make()
    world.claimed(claim("other", task="another"), claim("own"))
    refused = {"other"}

    def reschedule(job_id: str, **_: Any) -> str:
        if job_id in refused:
            raise error
        return "again"

    world.repo.reschedule.side_effect = reschedule
    with patch.object(module, "publish_if_due") as publish:
        with capture_logs() as lines:
            assert world.body.retry(None) == "again"
        assert [line["event"] for line in lines] == ["job.retry_dropped"]
        refused.add("own")
        with pytest.raises(type(error)):
            world.body.retry(None)
    assert not publish.called


# --- the end of the body
def close(world: World, state: str | None, value: Any, *, is_ending: bool = False, fails: bool = False) -> Any:
    with (
        patch.object(leaving, "process_is_ending", return_value=is_ending),
        patch.object(ending, "end_claim", side_effect=RuntimeError if fails else None) as claims,
        patch.object(ending, "end_unclaimed") as unclaimed,
    ):
        world.body.close(state, value)
    return [one.args for one in claims.call_args_list], [one.args for one in unclaimed.call_args_list]


@pytest.mark.parametrize(
    ("plain", "state", "ended"), [(True, "SUCCESS", 1), (True, "FAILURE", 0), (True, None, 0), (False, "SUCCESS", 0)]
)
def test_a_plain_body_that_returned_without_a_claim_leaves_its_job_unclaimed(
    make: Any, plain: bool, state: str | None, ended: int
) -> None:
    world = make(**addressed(), **({DELIVERY: "key"} if plain else {}))
    claims, unclaimed = close(world, state, None)
    assert (claims, len(unclaimed)) == ([], ended)
    assert [(task, named.job_id) for task, named in unclaimed] == [(world.task, "j")] * ended
    world.body.asks("j", "token")
    assert close(world, state, None) == ([], []), "it did claim, and has ended what it claimed"


@pytest.mark.parametrize(
    ("state", "value", "raised"), [("SUCCESS", BROKEN, None), ("FAILURE", BROKEN, BROKEN), ("FAILURE", "text", None)]
)
@pytest.mark.parametrize("fails", [False, True])
def test_what_a_body_left_open_is_ended_by_what_it_raised(
    make: Any, state: str, value: Any, raised: Any, fails: bool
) -> None:
    world = make(final_state=("PROGRESS", 1))
    world.claimed(claim("a"), claim("b"))
    world.worker.claims_of.return_value = [SimpleNamespace(token="unanswered")]
    claims, _ = close(world, state, value, fails=fails)
    assert claims == [(world.task, world.repo, claim(job_id), raised, ("PROGRESS", 1)) for job_id in ("a", "b")]
    assert world.dropped() == ["token-a", "token-b", "unanswered"]
    assert world.worker.claims_of.call_args.args == ("key",)
    assert close(world, state, value) == ([], [])


def test_an_exception_that_is_still_being_raised_ended_the_body(make: Any) -> None:
    world, out = make(), SystemExit(1)
    world.claimed(claim())
    try:
        raise out
    except SystemExit:
        [(*_, raised, final_state)], _ = close(world, None, None)
    assert (raised, final_state) == (out, None)


def test_a_process_that_is_being_ended_leaves_all_to_its_worker(make: Any) -> None:
    world = make(**addressed(), **{DELIVERY: "key"})
    assert close(world, "SUCCESS", None, is_ending=True) == ([], [])
    world.claimed(claim())
    assert close(world, "FAILURE", BROKEN, is_ending=True) == ([], [])
    assert len(world.body.open_claims()) == 1


# --- Celery's signals
@pytest.mark.parametrize(
    ("request_of", "installed", "is_delivery"),
    [
        ({}, True, True),
        ({"called_directly": True}, True, False),
        ({"is_eager": True}, True, False),
        ({}, False, False),
    ],
)
def test_a_body_that_a_worker_runs_is_a_delivery_from_its_beginning_to_its_end(
    make: Any, request_of: dict[str, Any], installed: bool, is_delivery: bool
) -> None:
    world = make()
    world.task.request = Request(id="c", called_directly=False, is_eager=False, **{TOKEN: "key"}) | request_of
    world.task.request = Request(world.task.request)

    def run() -> list[Any]:
        with (
            patch.object(module, "installed_on", return_value="a handle" if installed else None),
            patch.object(coroutines, "prepare_instance") as prepare,
            patch.object(BodyDelivery, "close") as closed,
        ):
            module.begin(world.task, signal="x")
            inside = place.current()
            module.end(world.task, "SUCCESS", 7, signal="x")
            return [inside, place.current(), [one.args for one in closed.call_args_list], prepare.call_args_list]

    inside, after, closed, prepared = contextvars.copy_context().run(run)
    assert isinstance(inside, BodyDelivery) is is_delivery
    assert (after is place.NOWHERE, closed) == (True, [("SUCCESS", 7)] * is_delivery)
    assert [one.args for one in prepared] == [(world.task,)] * bool(request_of.get("is_eager"))


def test_the_end_of_a_body_whose_beginning_failed_is_no_error(make: Any) -> None:
    world = make()
    world.task.request = Request(called_directly=False, is_eager=False, **{TOKEN: "key"})
    with patch.object(module, "installed_on", return_value="a handle"):
        contextvars.copy_context().run(module.end, world.task, "SUCCESS", 7)


def test_a_task_that_a_body_calls_does_not_end_its_callers_delivery(make: Any) -> None:
    world = make()
    eager = SimpleNamespace(app="app", request=Request(called_directly=False, is_eager=True))

    def run() -> tuple[Any, bool]:
        place.enter(world.body)
        with patch.object(coroutines, "prepare_instance"), patch.object(BodyDelivery, "close") as closed:
            module.end(eager, "SUCCESS", 7)
        return place.current(), closed.called

    assert contextvars.copy_context().run(run) == (world.body, False)
    assert module._key(eager, eager.request) == ""
