"""What recovery raises the alarm about, how often, and who hears it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobclaim.fleet.alerts import PublishedAlert
from jobclaim.fleet.tally import Counts, Tally
from jobclaim.jobs import FailureKind, Job
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.failures.hooks import call_hooks, forget, on_dead, on_failure
from jobclaim.recovery.alerts import AlertMessage, Facts, evaluate, firing, without_flapping
from jobclaim.settings import QueueSpec, Settings
from tests.support.clock import ManualClock
from tests.support.recovery import REAL, Bench, bench_settings, store

SETTINGS = Settings()
NOW = 1_750_000_000_000
DAY = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(system_clock())


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        queues = (QueueSpec(name="default", sla_seconds=60),)
        yield Bench(client, bench_settings(alert_waiting=3, queues=queues), clock)


def failed(bench: Bench, job_id: str, kind: str = "PERMANENT") -> Job:
    worker = bench.new_repo()
    worker.create_job("shop.charge", job_id=job_id)
    worker.claim_job(job_id)
    return worker.update_status(job_id, "FAILED", error="x", kind=FailureKind(kind))


@pytest.mark.parametrize(
    ("facts", "alerts"),
    [
        (Facts(), set()),
        (Facts(counts=Counts(submitted=100, duplicates=5)), set()),
        (Facts(counts=Counts(submitted=100, duplicates=6)), {"duplicates"}),
        (Facts(counts=Counts(submitted=10, duplicates=10)), set()),
        (Facts(waiting=50), set()),
        (Facts(waiting=51), {"waiting"}),
        (Facts(counts=Counts(critical=1, last_task="shop.charge", last_job="j")), {"critical"}),
        (Facts(late={"default": 61_000}), {"sla:default"}),
        (Facts(silent_ms=601_000), {"silence"}),
    ],
)
def test_a_rule_fires_beyond_its_limit(facts: Facts, alerts: set[str]) -> None:
    assert set(firing(facts, SETTINGS)) == alerts


def test_an_alert_that_flaps_is_said_once_and_cleared_once() -> None:
    said: dict[str, PublishedAlert] = {}
    heard: list[tuple[int, str]] = []
    for minute in range(180):
        fires = {"waiting": "many"} if minute % 4 < 2 and minute < 90 else {}
        now = NOW + minute * 60_000
        said, messages = without_flapping(said, fires, now, SETTINGS)
        for message in messages:
            heard.append((minute, message.state))
            if message.state == "cleared":
                del said[message.alert]
            else:
                one = said[message.alert]
                said[message.alert] = PublishedAlert(since=one.since, fired_at=one.fired_at, said_at=now, text=one.text)
    assert heard == [(0, "raised"), (60, "continues"), (94, "cleared")]


def test_too_many_that_wait_are_told_of_once_an_interval_and_cleared_when_they_are_gone(bench: Bench) -> None:
    heard: list[AlertMessage] = []
    for n in range(4):
        failed(bench, f"j{n}")
    evaluate(bench.repo, publish=heard.append)
    evaluate(bench.new_repo(), publish=heard.append)
    bench.clock.advance(60)
    evaluate(bench.repo, publish=heard.append)
    assert [(message.alert, message.state) for message in heard] == [("waiting", "raised")]
    for n in range(4):
        bench.repo.retry_job(f"j{n}")
        worker = bench.new_repo()
        worker.claim_job(f"j{n}")
        worker.update_status(f"j{n}", "COMPLETED")
    for _ in range(6):
        bench.clock.advance(60)
        evaluate(bench.repo, publish=heard.append)
    assert [(message.alert, message.state) for message in heard] == [("waiting", "raised"), ("waiting", "cleared")]


def test_an_alert_that_nobody_heard_is_said_again(bench: Bench) -> None:
    def deaf(_: AlertMessage) -> None:
        raise ConnectionError

    heard: list[AlertMessage] = []
    Tally.of(bench.repo).add({"critical": 1}, {"last_task": "t", "last_job": failed(bench, "j").job_id})
    evaluate(bench.repo, publish=deaf)
    bench.clock.advance(60)
    evaluate(bench.repo, publish=heard.append)
    assert [(message.alert, message.state) for message in heard] == [("critical", "raised")]
    assert "jobclaim show j" in heard[0].text


def test_a_job_that_waits_beyond_the_sla_is_found_behind_those_that_run(bench: Bench) -> None:
    heard: list[AlertMessage] = []
    for n in range(5):
        bench.claimed(f"r{n}")
    bench.repo.create_job("shop.charge", job_id="waits")
    bench.clock.advance(59)
    evaluate(bench.repo, publish=heard.append)
    bench.clock.advance(61)
    evaluate(bench.repo, publish=heard.append)
    assert [message.alert for message in heard] == ["sla:default"]


def test_a_recovery_that_was_away_is_told_of_by_the_next_pass(bench: Bench) -> None:
    heard: list[AlertMessage] = []
    evaluate(bench.repo, publish=heard.append)
    bench.clock.advance(3600)
    evaluate(bench.repo, publish=heard.append)
    assert [message.alert for message in heard] == ["silence"]


def test_counts_of_several_processes_add_up(bench: Bench) -> None:
    tallies = [Tally.of(bench.new_repo()) for _ in range(3)]
    for tally in tallies:
        tally.count("submitted", 40)
        tally.count("duplicates", 4)
        tally.flush()
    assert Tally.of(bench.repo).read() == Counts(submitted=120, duplicates=12)


def test_hooks_hear_of_failures_and_of_those_that_wait_for_a_person(bench: Bench) -> None:
    failures, dead = list[str](), list[str]()

    @on_failure
    def hear(job: Job) -> None:
        failures.append(job.job_id)
        raise RuntimeError("the channel is down")

    @on_dead
    def hear_dead(job: Job) -> None:
        dead.append(job.job_id)

    try:
        failed(bench, "waits")  # whoever records the failure tells the hooks
        failed(bench, "scheduled", "TRANSIENT")
        call_hooks(bench.repo.create_job("shop.charge"))
    finally:
        forget(hear)
        forget(hear_dead)
    assert (failures, dead) == (["waits", "scheduled"], ["waits"])


def test_a_topic_hears_of_an_alert(clock: ManualClock) -> None:
    import json

    import boto3
    from moto import mock_aws

    with mock_aws():
        sns = boto3.client("sns", region_name="us-east-1")
        sqs = boto3.client("sqs", region_name="us-east-1")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        queue = sqs.create_queue(QueueName="heard")["QueueUrl"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:heard")
        settings = bench_settings(alert_topic_arn=topic, alert_waiting=1)
        bench = Bench(boto3.client("dynamodb", region_name="us-east-1"), settings, clock)
        for n in range(2):
            failed(bench, f"j{n}")
        evaluate(bench.repo)
        (heard,) = sqs.receive_message(QueueUrl=queue)["Messages"]
        told = json.loads(json.loads(heard["Body"])["Message"])
        assert (told["alert"], told["state"]) == ("waiting", "raised")


def said(bench: Bench) -> list[str]:
    """Evaluate the alerts; return what was said of those that wait."""
    heard: list[AlertMessage] = []
    evaluate(bench.repo, publish=heard.append)
    return [message.state for message in heard if message.alert == "waiting"]


def test_alerts_that_a_clock_a_day_ahead_has_evaluated_are_evaluated_now(bench: Bench, clock: ManualClock) -> None:
    clock.advance(DAY)
    assert said(bench) == []
    clock.put_back(DAY)
    for number in range(4):
        failed(bench, f"j{number}")

    assert said(bench) == ["raised"]
    assert said(bench) == []


def test_an_alert_that_a_clock_a_day_ahead_has_raised_is_repeated_and_cleared_in_time(
    bench: Bench, clock: ManualClock
) -> None:
    for number in range(4):
        failed(bench, f"j{number}")
    clock.advance(DAY)
    assert said(bench) == ["raised"]
    clock.put_back(DAY)

    assert said(bench) == []
    clock.advance(SETTINGS.alert_repeat_seconds)
    assert said(bench) == ["continues"]
    bench.repo.retry_job("j0")
    clock.advance(SETTINGS.alert_clear_seconds)
    assert said(bench) == ["cleared"]
