"""A worker makes sure that its queues hide a message for as long as a job may run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from jobclaim.settings import QueueSpec, Settings
from jobclaim.testing import Harness
from jobclaim.workers import plain, signals
from jobclaim.workers.process import startup
from jobclaim.workers.process.startup import live_visibility, low_visibility

SETTINGS = Settings(queues=(QueueSpec(name="default", soft_limit=250, hard_limit=300), QueueSpec(name="email")))


class Sqs:
    """Answers with a number, or fails."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def get_queue_attributes(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        answer = self._answers[QueueUrl]
        if isinstance(answer, Exception):
            raise answer
        return {"Attributes": {"VisibilityTimeout": str(answer)}}


def test_a_queue_with_the_derived_timeout_or_more_is_no_problem() -> None:
    assert low_visibility({"default": 600, "email": 7200}, SETTINGS) == []


def test_one_second_less_is_a_problem_with_both_values_and_two_remedies() -> None:
    (problem,) = low_visibility({"default": 599, "email": 3600}, SETTINGS)
    for words in ("'default'", "599 s", "600 s", "jobclaim up", "template.yaml", "JOBCLAIM_ALLOW_LOW_VISIBILITY=true"):
        assert words in problem


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "InternalFailure"}}, "GetQueueAttributes"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
    ids=["SQS fails", "SQS is away"],
)
def test_a_queue_that_does_not_answer_keeps_no_worker_from_starting(failure: Exception) -> None:
    found = live_visibility(Sqs({"u1": failure, "u2": 5}), {"default": "u1", "email": "u2"}, ["default", "email"])
    assert found == {"email": 5}


@pytest.fixture
def thawed() -> Iterator[None]:
    """Whatever the test freezes is collected again."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_a_worker_freezes_what_its_children_are_to_share(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "refuse_low_visibility", lambda *_: None)
    monkeypatch.setattr(plain, "prepare_tasks", lambda _: None)
    signals._refuse_wrong_tasks(SimpleNamespace(app=jobclaim.app))
    assert gc.get_freeze_count() > 0
