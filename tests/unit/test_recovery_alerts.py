"""When alerts are evaluated, what they say, and what a topic gets, on the simulation's model."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from jobclaim.fleet.alerts import PublishedAlert, PublishedAlerts
from jobclaim.fleet.tally import Counts, Tally
from jobclaim.jobs import JobRepo
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.recovery import alerts as module
from jobclaim.recovery.alerts import AlertMessage, Facts, evaluate, firing, gather, without_future_times
from jobclaim.settings import QueueSpec, Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

LONG_QUEUE = "q" * 80
SETTINGS = Settings(
    _env_file=None,
    index_shards=1,
    alert_waiting=1,
    queues=(QueueSpec(name="default", sla_seconds=60), QueueSpec(name=LONG_QUEUE)),
    queue_urls={LONG_QUEUE: "https://sqs.us-east-1.amazonaws.com/123456789012/long"},
)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def fail(repo: JobRepo) -> None:
    """Make one dead letter more than may wait."""
    for job_id in ("j", "k"):
        repo.create_job("t", job_id=job_id)
        repo.claim_job(job_id)
        repo.update_status(job_id, "FAILED", error="x")


def heard(repo: JobRepo) -> list[tuple[str, str]]:
    """Evaluate, and return what was said."""
    said: list[AlertMessage] = []
    evaluate(repo, publish=said.append)
    return [(message.alert, message.state) for message in said]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(counts=Counts(submitted=20, duplicates=20)), {"duplicates": "100% of 20 submissions"}),
        (Facts(counts=Counts(submitted=19, duplicates=19)), {}),
        (Facts(counts=Counts(submitted=200, duplicates=12)), {"duplicates": "6% of 200 submissions"}),
        (Facts(late={"default": 61_000}), {"sla:default": "waits 61 s, its SLA is 60 s"}),
        (Facts(silent_ms=600_000), {}),
        (Facts(silent_ms=601_000), {"silence": "silent for 601 s"}),
    ],
)
def test_a_rule_says_the_figure_that_it_fires_for(facts: Facts, said: dict[str, str]) -> None:
    found = firing(facts, SETTINGS)

    assert found.keys() == said.keys()
    assert [alert for alert, text in said.items() if text not in found[alert]] == []


def test_what_a_clock_that_was_ahead_has_stored_is_taken_back_to_now_and_earlier_times_stay() -> None:
    ahead, before = (
        PublishedAlert(since=9, fired_at=9, said_at=9, text="t"),
        PublishedAlert(since=1, fired_at=2, said_at=3, text="t"),
    )

    assert without_future_times({"a": ahead, "b": before}, 5) == {
        "a": PublishedAlert(since=5, fired_at=5, said_at=5, text="t"),
        "b": before,
    }


def test_alerts_are_evaluated_once_an_interval(repo: JobRepo, clock: ManualClock) -> None:
    assert heard(repo) == []
    fail(repo)
    clock.advance(SETTINGS.alert_interval_seconds - 0.001)
    assert heard(repo) == []
    clock.advance(0.001)
    assert heard(repo) == [("waiting", "raised")]


def test_an_alert_keeps_the_time_at_which_it_began_to_fire(repo: JobRepo, clock: ManualClock) -> None:
    fail(repo)
    began, said = clock(), list[AlertMessage]()
    for _ in range(SETTINGS.alert_repeat_seconds // 60 + 1):
        evaluate(repo, publish=said.append)
        clock.advance(60)

    assert [(message.state, message.since) for message in said] == [("raised", began), ("continues", began)]


def test_a_job_within_its_sla_is_not_late(repo: JobRepo, clock: ManualClock) -> None:
    repo.create_job("t")
    clock.advance(59)
    assert gather(repo).late == {}
    clock.advance(2)
    assert gather(repo).late == {"default": 61_000}


def test_without_a_topic_an_alert_counts_as_said_when_it_is_logged(repo: JobRepo, clock: ManualClock) -> None:
    fail(repo)
    with capture_logs() as lines:
        for _ in range(2):
            evaluate(repo)
            clock.advance(60)
        repo.retry_job("j")
        repo.claim_job("j")
        repo.update_status("j", "COMPLETED")
        for _ in range(6):
            evaluate(repo)
            clock.advance(60)

    assert [(line["event"], line["log_level"]) for line in lines if line["event"].startswith("alert.")] == [
        ("alert.firing", "error"),
        ("alert.cleared", "info"),
    ]
    assert PublishedAlerts.of(repo).read()[1] == {}


class Sns:
    """A topic that writes down what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def publish(self, **message: Any) -> None:
        self.got.append(message)


def test_a_subject_is_no_longer_than_sns_takes(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, sns = "arn:aws:sns:us-east-1:123456789012:alerts", Sns()
    monkeypatch.setattr(module, "client", lambda settings, service: sns)
    repo = model_repo(SETTINGS.model_copy(update={"alert_topic_arn": topic}), clock)
    repo.create_job("t", queue=LONG_QUEUE)
    fail(repo)
    for _ in range(2):
        clock.advance(7_200)
        evaluate(repo)

    subjects = {message["Subject"] for message in sns.got}
    assert {"jobclaim: waiting raised", "jobclaim: waiting continues"} <= subjects
    assert max(map(len, subjects)) == 100
    assert {message["TopicArn"] for message in sns.got} == {topic}


def test_a_store_that_refuses_ends_no_pass(repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetItem")

    monkeypatch.setattr(Tally, "read", refuse)
    with capture_logs() as lines:
        assert heard(repo) == []
    assert [line["event"] for line in lines] == ["alert.not_evaluated"]


def test_an_evaluation_by_a_clock_a_little_ahead_is_believed_and_one_far_ahead_is_not(
    repo: JobRepo, clock: ManualClock
) -> None:
    heard(repo)
    fail(repo)
    repo.clock = lambda: clock() - BELIEVED_AHEAD_MS
    assert heard(repo) == []
    repo.clock = lambda: clock() - BELIEVED_AHEAD_MS - 1
    assert heard(repo) == [("waiting", "raised")]
