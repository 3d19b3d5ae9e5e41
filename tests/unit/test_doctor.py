"""The doctor's checks: what is deployed, what the settings say, and the finding with its remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from jobclaim.fleet.registered import RegisteredTasks, digest_of, tasks_of
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.infra.attributes import TLS_ONLY
from jobclaim.infra.doctor import Finding, Level, Snapshot, TaskView, diagnose, gathering
from jobclaim.infra.doctor.snapshot import DeployedQueue, DeployedTable, Permission
from jobclaim.infra.tables import table_specs
from jobclaim.jobs import JobRepo
from jobclaim.recovery.sweeping import AwayFromHome, sweep
from jobclaim.settings import QueueSpec, Settings, TaskSpec
from jobclaim.testing import Harness
from jobclaim.workers.process.startup import refuse_away_from_home

SETTINGS = Settings(queues=(QueueSpec(name="default", soft_limit=250, hard_limit=300),))
JOBS = DeployedTable(
    key=("job_id",),
    index_key=("state_key", "state_at"),
    projection="KEYS_ONLY",
    index_status="ACTIVE",
    ttl="expires_at",
    backed_up=True,
    protected=True,
)
FLEET = DeployedTable(key=("worker_id",), ttl="expires_at", backed_up=True, protected=True)


def queue_attributes(**changes: str) -> dict[str, str]:
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:jobclaim-default-dlq", "maxReceiveCount": 5}
    return {
        "VisibilityTimeout": "600",
        "RedrivePolicy": json.dumps(redrive),
        "SqsManagedSseEnabled": "true",
        "Policy": TLS_ONLY,
        **changes,
    }


WELL = Snapshot(
    tables={"jobclaim-jobs": JOBS, "jobclaim-fleet": FLEET},
    queues={"default": DeployedQueue(queue_attributes(), {"MessageRetentionPeriod": "1209600"})},
    skew_seconds=0.2,
    tasks=(TaskView("tests.note", "default", 300),),
    permissions=(Permission("sqs:SendMessage", "jobclaim-default", True),),
)


def worst(snapshot: Snapshot, settings: Settings = SETTINGS) -> Finding:
    """The one finding that is not OK."""
    (found,) = [each for each in diagnose(snapshot, settings) if each.level is not Level.OK]
    assert found.fix
    return found


def table(**changes: Any) -> Snapshot:
    return replace(WELL, tables={"jobclaim-jobs": replace(JOBS, **changes), "jobclaim-fleet": FLEET})


def queue(**changes: str) -> Snapshot:
    return replace(WELL, queues={"default": replace(WELL.queues["default"], attributes=queue_attributes(**changes))})


def test_nothing_is_wrong_where_everything_is_as_the_settings_say() -> None:
    assert {each.level for each in diagnose(WELL, SETTINGS)} == {Level.OK}


def test_what_live_workers_have_registered_is_compared_with_schedules_and_routes() -> None:
    routes = Settings(tasks={"shop.*": TaskSpec(queue="default")})
    seen = replace(WELL, schedules={"nightly": "shop.close", "hourly": "mail.send"}, living=frozenset({"mail.send"}))
    found = [(each.subject, each.problem) for each in diagnose(seen, routes) if each.level is Level.WARN]
    assert (
        "schedule nightly",
        "no live worker has registered its task 'shop.close', so its ticks are not run",
    ) in found
    assert ("tasks of live workers", "tasks['shop.*'] routes no task that a live worker has registered") in found
    assert not any(subject == "schedule hourly" for subject, _ in found)
    well = diagnose(replace(seen, living=frozenset({"mail.send", "shop.close"})), routes)
    assert [each.level for each in well if each.subject == "tasks of live workers"] == [Level.OK]


def test_the_tasks_of_live_workers_are_known_only_if_each_has_published_them(jobclaim: Harness) -> None:
    repo = jobclaim.repo
    RegisteredTasks.of(repo).write(["mail.send", "shop.close"])
    worker = WorkerRecord(worker_id="w", seen_at=0, tasks=digest_of(["mail.send", "shop.close"]))
    assert tasks_of(repo, [worker, worker]) == frozenset({"mail.send", "shop.close"})
    assert tasks_of(repo, [worker, WorkerRecord(worker_id="older release", seen_at=0)]) is None
    assert tasks_of(repo, []) is None


FAILS = [
    ("nobody answers", replace(WELL, unreachable={"SQS at x": "refused"}), "refused"),
    ("a clock that leases do not bear", replace(WELL, skew_seconds=-31.0), "31.0 s behind"),
    ("no job table", replace(WELL, tables={"jobclaim-jobs": None}), "does not exist"),
    ("another key", table(key=("id",)), "has the key id, not job_id"),
    ("no index", table(index_key=(), index_status="", projection=""), "recovery finds nothing"),
    ("another index", table(index_key=("status", "created_at")), "has the key status + created_at"),
    ("an index in the making", table(index_status="CREATING"), "is CREATING"),
    ("no queue", replace(WELL, queues={"default": DeployedQueue(None, None)}), "jobclaim-default does not exist"),
    (
        "a low visibility timeout",
        queue(VisibilityTimeout="599"),
        "visibility timeout is 599 s, but the time limits need 600 s",
    ),
    ("no redrive policy", queue(RedrivePolicy=""), "is redelivered forever"),
    (
        "a stranger's dead-letter queue",
        queue(RedrivePolicy='{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:other","maxReceiveCount":5}'),
        "arn:aws:sqs:us-east-1:1:other, not to jobclaim-default-dlq",
    ),
    ("a task module that cannot be imported", replace(WELL, task_problems=("cannot be imported: x",)), "cannot be"),
    ("a task of no queue", replace(WELL, tasks=(TaskView("a", "emial", 1),)), "is routed to 'emial'"),
    (
        "a right that is missing",
        replace(WELL, permissions=(Permission("sqs:SendMessage", "q", False),)),
        "denied on q",
    ),
]
EVERYWHERE = {"replicas": ("eu-west-1", "us-east-1"), "consistency": "EVENTUAL"}
FAILS += [
    ("a global table without a home", table(**EVERYWHERE), "a job could run twice"),
    ("strong consistency", table(**{**EVERYWHERE, "consistency": "STRONG"}), "neither expiry nor transactions"),
]
WARNS = [
    ("a clock that is off", replace(WELL, skew_seconds=3.0), "3.0 s ahead"),
    ("an index that costs", table(projection="ALL"), "projects ALL"),
    ("no expiry", table(ttl=None), "indefinitely"),
    ("another expiry", table(ttl="ttl"), "by 'ttl', not 'expires_at'"),
    ("no backup", table(backed_up=False), "point-in-time"),
    ("no protection", table(protected=False), "not protected"),
    ("a high visibility timeout", queue(VisibilityTimeout="900"), "600 s is enough"),
    ("no encryption", queue(SqsManagedSseEnabled="false"), "not encrypted"),
    ("plain HTTP", queue(Policy=""), "plain HTTP"),
    (
        "short-lived dead letters",
        replace(WELL, queues={"default": DeployedQueue(queue_attributes(), {"MessageRetentionPeriod": "345600"})}),
        "kept for 4 days",
    ),
    (
        "what an actor may not look at",
        replace(WELL, refused={"table jobclaim-jobs": "refused DescribeTable: AccessDeniedException: no"}),
        "not checked: refused DescribeTable",
    ),
    (
        "a queue without a URL to try",
        replace(WELL, permissions=(Permission("sqs:GetQueueUrl", "q", False),)),
        "denied on q, so nothing else was tried on it",
    ),
    ("a right that cannot be told", replace(WELL, permissions=(Permission("a", "q", None),)), "could not be checked"),
]


@pytest.mark.parametrize(("snapshot", "what"), [row[1:] for row in FAILS], ids=[row[0] for row in FAILS])
def test_a_broken_promise_fails(snapshot: Snapshot, what: str) -> None:
    found = worst(snapshot)
    assert found.level is Level.FAIL
    assert what in found.problem


@pytest.mark.parametrize(("snapshot", "what"), [row[1:] for row in WARNS], ids=[row[0] for row in WARNS])
def test_what_works_but_costs_is_a_warning(snapshot: Snapshot, what: str) -> None:
    found = worst(snapshot)
    assert found.level is Level.WARN
    assert what in found.problem


def test_a_route_to_no_task_is_a_warning() -> None:
    routed = SETTINGS.model_copy(update={"tasks": {"tests.nite": TaskSpec()}})
    assert "tasks['tests.nite'] routes no registered task" in worst(WELL, routed).problem


def test_a_longer_time_limit_in_the_settings_alone_fails_against_what_is_deployed() -> None:
    longer = Settings(queues=(QueueSpec(name="default", soft_limit=550, hard_limit=600),))
    assert "the time limits need 1200 s" in worst(WELL, longer).problem


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"stop_timeout_seconds": 200}, "Fargate kills after 120"),
        ({"allow_low_visibility": True}, "deliver running jobs twice"),
        ({"max_payload_bytes": 700_000}, "SQS's 1 MiB"),
    ],
)
def test_limits_that_aws_does_not_share_are_warnings(changes: dict[str, Any], what: str) -> None:
    assert what in worst(WELL, SETTINGS.model_copy(update=changes)).problem


def test_a_schedule_of_a_task_that_is_not_registered_fails() -> None:
    names = frozenset({"shop.pay", "shop.night"})
    snapshot = replace(WELL, registered=names, schedules={"daily": "shop.night", "hourly": "shop.pya"}, tasks=())
    found = {one.subject: one for one in diagnose(snapshot, SETTINGS) if one.check.startswith("schedule")}
    assert [(one.level, one.fix) for one in found.values()] == [(Level.FAIL, "did you mean 'shop.pay'?")]
    assert "'shop.pya' is not registered" in found["schedule hourly"].problem
    whole = replace(snapshot, schedules={"daily": "shop.night"})
    assert "1, each with a registered task" in [one.problem for one in diagnose(whole, SETTINGS)]


@pytest.mark.parametrize(
    ("home", "level", "says"),
    [("us-east-1", Level.OK, "claimed in us-east-1 only"), ("eu-west-1", Level.WARN, "jobs are claimed in eu-west-1")],
)
def test_a_global_table_is_claimed_in_one_region(home: str, level: Level, says: str) -> None:
    settings = SETTINGS.model_copy(update={"home_region": home})
    (found,) = [one for one in diagnose(table(**EVERYWHERE), settings) if one.subject.endswith("replication")]
    assert found.level is level
    assert says in found.problem


@pytest.mark.parametrize(
    ("described", "wanted"),
    [
        ({}, ((), "")),
        (
            {
                "GlobalTableVersion": "2019.11.21",
                "Replicas": [{"RegionName": "us-west-2"}, {"RegionName": "eu-west-1"}],
            },
            (("eu-west-1", "us-west-2"), "EVENTUAL"),
        ),
        (
            {"Replicas": [{"RegionName": "us-west-2"}], "MultiRegionConsistency": "STRONG"},
            (("us-west-2",), "STRONG"),
        ),
    ],
    ids=["of one region", "eventual", "strong"],
)
def test_replicas_are_read_from_the_tables_description(
    described: dict[str, Any], wanted: tuple[tuple[str, ...], str]
) -> None:
    client = boto3.client("dynamodb", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as answers:
        keys = [{"AttributeName": "job_id", "KeyType": "HASH"}]
        answers.add_response("describe_table", {"Table": {"KeySchema": keys, **described}})
        answers.add_response("describe_time_to_live", {"TimeToLiveDescription": {}})
        answers.add_client_error("describe_continuous_backups", "AccessDenied")
        found = gathering._table(client, table_specs(SETTINGS)[0])
    assert found is not None
    assert (found.replicas, found.consistency) == wanted


def test_workers_and_recovery_refuse_to_act_away_from_home() -> None:
    away = Settings(region="eu-west-1", home_region="us-east-1")
    with pytest.raises(SystemExit, match=r"region='eu-west-1' is not home_region='us-east-1'.*JOBCLAIM_HOME_REGION=eu"):
        refuse_away_from_home(away)
    with pytest.raises(AwayFromHome, match="recovery does not run: region='eu-west-1'"):
        sweep(JobRepo.from_settings(away))
    for here in (Settings(region="eu-west-1"), Settings(region="eu-west-1", home_region="eu-west-1")):
        refuse_away_from_home(here)
