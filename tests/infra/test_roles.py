"""Least privilege, enforced: every actor does its work with its own policy, and nothing else."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobclaim.jobs import JobRepo, JobStatus
from jobclaim.settings import QueueSpec, Settings
from tests.support import warm
from tests.support.endpoints import unique_name
from tests.support.guarded_aws import Guard, guarded_aws
from tests.support.processes import ManagedProcess
from tests.support.stack import EVIDENCE, ROOT
from tests.support.stacks import DeployedStack, deployed_stack
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.filterwarnings("ignore")
BIN = Path(sys.executable).parent
READY = r"worker@\S+ ready"
LIMITS = {"soft_limit": 20, "hard_limit": 30, "sla_seconds": 1}
Keys = dict[str, str]


@dataclass
class Account:
    """A deployed stack behind a guard, and how one becomes each of its actors."""

    stack: DeployedStack
    guard: Guard
    settings: Settings
    folder: Path
    repo: JobRepo

    def role(self, logical_id: str) -> Keys:
        """Keys of somebody who assumed one of the stack's roles."""
        self.stack.attach_managed_policies(self.settings, logical_id)
        arn = self.stack.role_arn(logical_id)
        given = self.stack.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return _keys(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def user(self, *outputs: str) -> Keys:
        """Keys of a user with managed policies that the stack puts out."""
        iam, name = self.stack.client("iam"), unique_name("u")
        iam.create_user(UserName=name)
        for output in outputs:
            iam.attach_user_policy(UserName=name, PolicyArn=self.stack.outputs[output])
        given = iam.create_access_key(UserName=name)["AccessKey"]
        return _keys(given["AccessKeyId"], given["SecretAccessKey"], "")

    def environment(self, family: str, keys: Keys) -> dict[str, str]:
        own = self.stack.environment(
            family, self.folder / family, {EVIDENCE: str(self.folder / "evidence.txt"), **keys}
        )
        return {name: value for name, value in own.items() if value or name != "AWS_SESSION_TOKEN"}

    def run(self, keys: Keys, *argv: str, family: str = "workers", code: int = 0, without: tuple[str, ...] = ()) -> str:
        """Run a program as somebody, with a container's environment but for some variables; gives what it writes."""
        environment = self.environment(family, keys)
        given = {name: value for name, value in environment.items() if name not in without}
        done = warm.run([str(BIN / argv[0]), *argv[1:]], env=given, cwd=ROOT)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.strip()

    def process(self, family: str, keys: Keys) -> ManagedProcess:
        """The command of a deployed container, as somebody; not started yet."""
        program, *arguments = self.stack.container(family)["command"]
        argv = [str(BIN / program), *arguments]
        return WarmProcess(family, argv, log_dir=self.folder, env=self.environment(family, keys), cwd=ROOT)

    def client(self, service: str, keys: Keys) -> Any:
        token = {"aws_session_token": keys["AWS_SESSION_TOKEN"]} if keys["AWS_SESSION_TOKEN"] else {}
        return self.stack.client(
            service,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            **token,
        )

    def url(self, queue: str) -> str:
        return str(self.stack.client("sqs").get_queue_url(QueueName=self.settings.physical_name(queue))["QueueUrl"])

    def wait_for(self, job_id: str, status: JobStatus, timeout: float = 40) -> None:
        wait_until(
            lambda: self.repo.get_job(job_id).status is status,
            timeout,
            lambda: f"{job_id} {status}: {self.guard.denied}",
        )


def _keys(key: str, secret: str, token: str) -> Keys:
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One stack for all tests of this file."""
    name = unique_name("r")
    built = Settings(
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        queues=(QueueSpec(name="default", **LIMITS), QueueSpec(name="email", **LIMITS)),
        worker_groups={"workers": {"queues": ["default"]}, "mail": {"queues": ["email"]}},
        task_modules=("tests.support.tasks",),
        wait_time_seconds=1,
        heartbeat_seconds=1,
        worker_dead_after_seconds=5,
        recovery_interval_seconds=1,
        redispatch_min_seconds=1,
    )
    with guarded_aws() as (url, guard), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with deployed_stack(url, built, RecoveryBy="beat") as stack:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ACCESS_KEY_ID", "jobclaim")
                patch.setenv("AWS_SECRET_ACCESS_KEY", "jobclaim")
                patch.delenv("AWS_SESSION_TOKEN", raising=False)
                repo = JobRepo.from_settings(built.model_copy(update={"endpoint_url": url}))
                repo.list_jobs(JobStatus.FAILED)  # the client is made with these keys
            yield Account(stack, guard, built, tmp_path_factory.mktemp("roles"), repo)


@pytest.fixture
def guard(account: Account) -> Guard:
    account.guard.forget()
    return account.guard


def submit(account: Account, keys: Keys, task: str = "tests.note", *options: str) -> str:
    return account.run(keys, "jobclaim", "submit", task, "-o", "ids", *options)


# --- everything that is needed
def test_submitter_worker_beat_and_recovery_do_their_work_with_their_own_policies(
    account: Account, guard: Guard
) -> None:
    submitter = account.user("SubmitterPolicyArn")
    with account.process("workers", account.role("WorkersTaskRole")) as worker:
        worker.wait_for_line(READY, 120)
        job_id = submit(account, submitter, "tests.note", "--key", "same")
        assert submit(account, submitter, "tests.note", "--key", "same") == job_id
        account.wait_for(job_id, JobStatus.COMPLETED)
    orphan = account.repo.create_job("tests.note", {"args": [1]}, queue="default")  # its message was never sent
    with (
        account.process("recovery", account.role("RecoveryTaskRole")) as recovery,
        account.process("beat", account.role("BeatTaskRole")),
    ):
        recovery.wait_for_line(READY, 120)
        wait_until(
            lambda: account.repo.get_job(orphan.job_id).dispatches > 1, 40, lambda: f"sent again: {guard.denied}"
        )
    assert guard.denied == set()
    used = {action for action, _ in guard.allowed}
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:Scan"} <= used


def test_a_reader_looks_at_everything_and_an_operator_retries_and_cancels(account: Account, guard: Guard) -> None:
    job = account.repo.create_job("tests.note", {"args": [1]}, queue="email")
    reader = account.user("DashboardReadPolicyArn")
    assert job.job_id in account.run(reader, "jobclaim", "list", "--status", "PENDING", "-o", "ids")
    account.run(reader, "jobclaim", "show", job.job_id, "-o", "json")
    account.run(reader, "jobclaim", "worker", "monitor", "-o", "jsonl")
    account.run(reader, "jobclaim", "tasks", "-o", "json")
    operator = account.user("DashboardReadPolicyArn", "DashboardOperatorPolicyArn")
    account.run(operator, "jobclaim", "cancel", job.job_id)
    assert account.repo.get_job(job.job_id).status is JobStatus.CANCELLED
    failed = account.repo.create_job("tests.note", {"args": [1]}, queue="email")
    account.repo.claim_job(failed.job_id)
    account.repo.update_status(failed.job_id, "FAILED", error="no")
    account.run(operator, "jobclaim", "retry", failed.job_id, "--payload", '{"args": [2], "kwargs": {}}')
    account.run(operator, "jobclaim", "cancel", "--queue", "email", "--yes")
    account.run(operator, "jobclaim", "retry", failed.job_id)
    account.run(operator, "jobclaim", "pause", "queue", "email", "--reason", "the provider is down")
    account.run(operator, "jobclaim", "unpause", "queue", "email")
    assert account.repo.get_job(failed.job_id).status is JobStatus.PENDING
    assert guard.denied == set()


def test_a_submitter_counts_for_the_fleet_and_touches_nothing_else_of_it(account: Account, guard: Guard) -> None:
    keys = account.user("SubmitterPolicyArn")
    client = account.client("dynamodb", keys)
    fleet = account.settings.fleet_table
    count: dict[str, Any] = {
        "UpdateExpression": "ADD submitted :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    client.update_item(TableName=fleet, Key={"worker_id": {"S": "#tally#1"}}, **count)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.update_item(TableName=fleet, Key={"worker_id": {"S": "host:1:abc"}}, **count)


ACTORS: dict[str, Callable[[Account], Keys]] = {
    "submitter": lambda account: account.user("SubmitterPolicyArn"),
    "worker": lambda account: account.role("WorkersTaskRole"),
    "recovery": lambda account: account.role("RecoveryTaskRole"),
    "beat": lambda account: account.role("BeatTaskRole"),
    "dashboard": lambda account: account.user("DashboardReadPolicyArn"),
}


@pytest.mark.parametrize("actor", ACTORS)
def test_the_doctor_finds_each_actor_equipped_for_its_own_work(account: Account, actor: str) -> None:
    from jobclaim.infra.doctor import Level, diagnose
    from jobclaim.infra.doctor.permissions import permissions
    from jobclaim.infra.doctor.snapshot import Snapshot

    keys = ACTORS[actor](account)
    here = account.settings.model_copy(
        update={"queue_urls": {name: account.url(name) for name in account.settings.queue_names}}
    )
    found = permissions(
        actor,  # type: ignore[arg-type]
        here,
        account.client("dynamodb", keys),
        account.client("sqs", keys),
        queues=["default"],
    )
    findings = [each for each in diagnose(Snapshot(permissions=tuple(found)), here) if "permission" in each.subject]
    assert findings
    assert {each.level for each in findings} == {Level.OK}, findings


def doctor(
    account: Account, actor: str, role: str, *, code: int = 0, without: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Run `jobclaim doctor` in the container of a role; gives subjects by level."""
    family = actor if actor in ("beat", "recovery") else "workers"
    argv = ("jobclaim", "doctor", "--actor", actor, "-q", "default", "-o", "jsonl")
    out = account.run(ACTORS[role](account), *argv, family=family, code=code, without=without)
    found: dict[str, list[str]] = {"OK": [], "WARN": [], "FAIL": []}
    for row in map(json.loads, out.splitlines()):
        found[row["level"]].append(row["subject"])
    return found


@pytest.mark.parametrize("actor", ACTORS)
def test_the_doctor_run_as_an_actor_tries_its_permissions_though_it_may_not_describe_the_tables(
    account: Account, actor: str
) -> None:
    found = doctor(account, actor, actor)
    assert found["FAIL"] == []
    tried = [subject for subject in found["OK"] if subject.startswith("permission ")]
    assert len(tried) >= 2
    assert not any(subject.startswith("permission ") for subject in found["WARN"]), found
    assert ("table " + account.settings.job_table in found["WARN"]) is (actor != "dashboard")
    assert "clock of this machine" in found["OK"]


def test_the_doctor_tries_what_a_submitter_counts_for_the_fleet(account: Account, guard: Guard) -> None:
    doctor(account, "submitter", "submitter")
    fleet = f"table/{account.settings.fleet_table}"
    assert any(action == "dynamodb:UpdateItem" and arn.endswith(fleet) for action, arn in guard.allowed)


def test_the_doctor_finds_beat_unfit_for_a_workers_work(account: Account) -> None:
    found = doctor(account, "worker", "beat", code=4)
    assert {"permission dynamodb:UpdateItem", "permission sqs:ReceiveMessage"} <= set(found["FAIL"])


def test_the_doctor_says_which_queues_it_could_not_try_without_their_url(account: Account) -> None:
    found = doctor(account, "worker", "worker", without=("JOBCLAIM_QUEUE_URLS",))
    assert found["FAIL"] == []
    assert found["WARN"].count("permission sqs:GetQueueUrl") == len(account.settings.queue_names)


# --- everything else
Try = Callable[[Account, Any, Any], Any]
FORBIDDEN: dict[str, list[tuple[str, Try]]] = {
    "submitter": [
        ("dynamodb:Scan", lambda a, ddb, sqs: ddb.scan(TableName=a.settings.job_table)),
        ("dynamodb:DeleteItem", lambda a, ddb, sqs: _delete(a, ddb)),
        ("dynamodb:DeleteTable", lambda a, ddb, sqs: ddb.delete_table(TableName=a.settings.job_table)),
        ("dynamodb:UpdateItem", lambda a, ddb, sqs: _beat(a, ddb)),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("default"))),
        ("sqs:PurgeQueue", lambda a, ddb, sqs: sqs.purge_queue(QueueUrl=a.url("default"))),
    ],
    "worker": [
        ("dynamodb:Scan", lambda a, ddb, sqs: ddb.scan(TableName=a.settings.job_table)),
        ("dynamodb:Scan", lambda a, ddb, sqs: ddb.scan(TableName=a.settings.fleet_table)),
        ("dynamodb:Query", lambda a, ddb, sqs: _query(a, ddb)),
        ("dynamodb:DeleteTable", lambda a, ddb, sqs: ddb.delete_table(TableName=a.settings.job_table)),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("email"))),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("recovery"))),
        ("sqs:PurgeQueue", lambda a, ddb, sqs: sqs.purge_queue(QueueUrl=a.url("default"))),
        ("sqs:CreateQueue", lambda a, ddb, sqs: sqs.create_queue(QueueName="stray")),
        ("sqs:SetQueueAttributes", lambda a, ddb, sqs: _lower_visibility(a, sqs)),
        ("dynamodb:UpdateItem", lambda a, ddb, sqs: _unpause(a, ddb)),
    ],
    "recovery": [
        ("dynamodb:Scan", lambda a, ddb, sqs: ddb.scan(TableName=a.settings.job_table)),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("default"))),
        ("sqs:PurgeQueue", lambda a, ddb, sqs: sqs.purge_queue(QueueUrl=a.url("recovery"))),
        ("dynamodb:DeleteTable", lambda a, ddb, sqs: ddb.delete_table(TableName=a.settings.fleet_table)),
        ("dynamodb:UpdateItem", lambda a, ddb, sqs: _unpause(a, ddb)),
    ],
    "beat": [
        ("sqs:SendMessage", lambda a, ddb, sqs: sqs.send_message(QueueUrl=a.url("default"), MessageBody="x")),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("recovery"))),
        ("dynamodb:PutItem", lambda a, ddb, sqs: _put(a, ddb)),
        ("dynamodb:GetItem", lambda a, ddb, sqs: _get(a, ddb)),
    ],
    "dashboard": [
        ("dynamodb:PutItem", lambda a, ddb, sqs: _put(a, ddb)),
        ("dynamodb:UpdateItem", lambda a, ddb, sqs: _beat(a, ddb)),
        ("dynamodb:DeleteItem", lambda a, ddb, sqs: _delete(a, ddb)),
        ("dynamodb:Scan", lambda a, ddb, sqs: ddb.scan(TableName=a.settings.job_table)),
        ("sqs:SendMessage", lambda a, ddb, sqs: sqs.send_message(QueueUrl=a.url("default"), MessageBody="x")),
        ("sqs:ReceiveMessage", lambda a, ddb, sqs: sqs.receive_message(QueueUrl=a.url("default"))),
    ],
}


@pytest.mark.parametrize("actor", FORBIDDEN)
def test_what_an_actor_does_not_need_is_denied(account: Account, guard: Guard, actor: str) -> None:
    from botocore.exceptions import ClientError

    keys = ACTORS[actor](account)
    clients = account.client("dynamodb", keys), account.client("sqs", keys)
    for action, attempt in FORBIDDEN[actor]:
        with pytest.raises(ClientError) as refused:
            attempt(account, *clients)
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException", action
    assert {action for action, _ in guard.denied} == {action for action, _ in FORBIDDEN[actor]}


def _key(value: str = "x") -> dict[str, Any]:
    return {"job_id": {"S": value}}


def _put(account: Account, ddb: Any) -> None:
    ddb.put_item(TableName=account.settings.job_table, Item=_key())


def _get(account: Account, ddb: Any) -> None:
    ddb.get_item(TableName=account.settings.job_table, Key=_key())


def _delete(account: Account, ddb: Any) -> None:
    ddb.delete_item(TableName=account.settings.job_table, Key=_key())


def _beat(account: Account, ddb: Any) -> None:
    ddb.update_item(TableName=account.settings.fleet_table, Key={"worker_id": {"S": "x"}})


def _unpause(account: Account, ddb: Any) -> None:
    ddb.update_item(TableName=account.settings.fleet_table, Key={"worker_id": {"S": "#pauses"}})


def _query(account: Account, ddb: Any) -> None:
    ddb.query(
        TableName=account.settings.job_table,
        IndexName="by_state",
        KeyConditionExpression="state_key = :key",
        ExpressionAttributeValues={":key": {"S": "x"}},
    )


def _lower_visibility(account: Account, sqs: Any) -> None:
    sqs.set_queue_attributes(QueueUrl=account.url("default"), Attributes={"VisibilityTimeout": "1"})


# --- the audit trail, and what became of jobs
TRAIL = "jobclaim-audit\x1f{}|1-00"
WRITERS = ("submitter", "worker", "recovery", "operator")


def of(account: Account, actor: str) -> tuple[Any, str]:
    """A DynamoDB client of an actor, and AWS's user id of it."""
    outputs = ("DashboardReadPolicyArn", "DashboardOperatorPolicyArn")
    keys = account.user(*outputs) if actor == "operator" else ACTORS[actor](account)
    return account.client("dynamodb", keys), str(account.client("sts", keys).get_caller_identity()["UserId"])


def denied(request: Callable[[], Any]) -> bool:
    from botocore.exceptions import ClientError

    try:
        request()
    except ClientError as error:
        return str(error.response["Error"]["Code"]) == "AccessDeniedException"
    return False


@pytest.mark.parametrize("actor", WRITERS)
def test_no_actor_forges_rewrites_or_deletes_an_entry_of_the_audit_trail(account: Account, actor: str) -> None:
    client, user = of(account, actor)
    table = account.settings.job_table
    own, theirs = _key(TRAIL.format(user)), _key(TRAIL.format("AIDASOMEBODYELSE"))
    assert not denied(lambda: client.put_item(TableName=table, Item=own))
    assert denied(lambda: client.put_item(TableName=table, Item=theirs))
    longer = _key(TRAIL.format(f"{user}x"))
    assert denied(lambda: client.put_item(TableName=table, Item=longer)), "a user id that begins with one's own"
    for key in (own, theirs):
        assert denied(lambda key=key: client.update_item(TableName=table, Key=key))  # type: ignore[misc]
        assert denied(lambda key=key: client.delete_item(TableName=table, Key=key))  # type: ignore[misc]


OUTCOMES = ("result", "failure", "claim_token", "worker_id", "lease_expires_at", "history", "decisions", "steps")


@pytest.mark.parametrize("actor", WRITERS)
def test_no_actor_puts_a_job_with_an_outcome_in_the_place_of_one(account: Account, actor: str) -> None:
    client, _ = of(account, actor)
    table = account.settings.job_table
    for name in OUTCOMES:
        forged = {**_key(unique_name("j")), "status": {"S": "COMPLETED"}, name: {"S": "forged"}}
        assert denied(lambda item=forged: client.put_item(TableName=table, Item=item)), name  # type: ignore[misc]


@pytest.mark.parametrize("actor", WRITERS)
def test_no_actor_deletes_a_job(account: Account, actor: str) -> None:
    client, _ = of(account, actor)
    job = account.repo.create_job("tests.note", {"args": [1]}, queue="email")
    assert denied(lambda: client.delete_item(TableName=account.settings.job_table, Key=_key(job.job_id)))
    assert account.repo.get_job(job.job_id) == job


def test_an_operators_act_is_in_the_trail_under_the_operators_own_identity(account: Account, guard: Guard) -> None:
    job = account.repo.create_job("tests.note", {"args": [1]}, queue="email")
    keys = account.user("DashboardReadPolicyArn", "DashboardOperatorPolicyArn")
    account.run(keys, "jobclaim", "cancel", job.job_id)
    me = account.client("sts", keys).get_caller_identity()
    (row,) = map(json.loads, account.run(keys, "jobclaim", "trail", "--what", job.job_id, "-o", "jsonl").splitlines())
    assert (row["verb"], row["arn"], row["user_id"]) == ("cancel", me["Arn"], me["UserId"])
    assert guard.denied == set()
