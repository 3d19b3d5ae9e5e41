"""The deployment of a run: temporary tables and queues behind two proxies, and the processes that use them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import boto3
from botocore.exceptions import ClientError

from jobclaim import JobRepo, QueueSpec, ScheduleSpec, Settings, provision
from jobclaim.verify.plan import Scale
from jobclaim.verify.processes import ManagedProcess
from jobclaim.verify.proxy import FaultyProxy, proxied
from jobclaim.verify.values import EVIDENCE

READY: Final = r"celery@\S+ ready"
TICK_SECONDS: Final = 5
"""Between two ticks of the run's schedule."""
QUEUES: Final = ("default", "recovery")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of DynamoDB and SQS, plain HTTP: a request that is signed for AWS's host cannot go through a proxy."""

    dynamodb: str
    sqs: str


@dataclass
class Deployment:
    """A temporary deployment.

    Attributes
    ----------
    settings, environment
        Settings and environment variables whose requests go through the proxies.
    direct : JobRepo
        A repo that bypasses the proxies, as ``sqs`` and ``dynamodb`` do.
    notes_table : str
        A table for the caller's own writes, with the key ``name``.
    evidence : Path
        File to which bodies append their lines.
    """

    settings: Settings
    environment: dict[str, str]
    folder: Path
    evidence: Path
    table: FaultyProxy
    queue: FaultyProxy
    direct: JobRepo
    sqs: Any
    dynamodb: Any
    notes_table: str
    exits: ExitStack = field(default_factory=ExitStack)

    def celery(self, name: str, *arguments: str, env: Mapping[str, str]) -> ManagedProcess:
        """Start a ``celery -A jobclaim`` command; it is killed at the end of the run, whatever it is doing."""
        argv = [sys.executable, "-m", "celery", "-A", "jobclaim", *arguments]
        own = {**self.environment, **env}
        process = ManagedProcess(name, argv, log_dir=self.folder, env=own, cwd=self.folder, stop_seconds=0)
        return self.exits.enter_context(process)

    def jobclaim(self, name: str, *arguments: str, timeout: float = 120.0) -> tuple[int, str]:
        """Run a command of ``jobclaim`` to its end; return its exit code and its output."""
        argv = [sys.executable, "-m", "jobclaim", *arguments]
        with ManagedProcess(name, argv, log_dir=self.folder, env=self.environment, cwd=self.folder) as process:
            return process.wait_for_exit(timeout), process.log()


@contextmanager
def temporary_deployment(
    endpoints: Endpoints, folder: Path, scale: Scale, *, environment: Mapping[str, str], modules: Sequence[str] = ()
) -> Iterator[Deployment]:
    """Create the deployment behind two proxies, with limits that fit the scale; delete tables and queues at the end.

    Parameters
    ----------
    environment : mapping
        Environment variables that processes need to access the endpoints.
    modules : sequence of str
        Further modules that workers import, besides the bodies.
    """
    prefix = f"verify-{secrets.token_hex(3)}-"
    with proxied(endpoints.dynamodb) as (table, table_url), proxied(endpoints.sqs) as (queue, queue_url):
        direct_settings = Settings(
            dynamodb_endpoint_url=endpoints.dynamodb,
            sqs_endpoint_url=endpoints.sqs,
            job_table=f"{prefix}jobs",
            fleet_table=f"{prefix}fleet",
            queue_prefix=prefix,
            **limits(scale, modules),
            run_dir=str(folder),
        )
        provision(direct_settings)
        client = boto3.client("sqs", endpoint_url=endpoints.sqs, region_name=direct_settings.region)
        notes, dynamodb = f"{prefix}notes", _dynamodb(direct_settings)
        dynamodb.create_table(
            TableName=notes,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        )
        queue.discard_url = client.create_queue(QueueName=f"{prefix}discarded")["QueueUrl"]
        urls = {
            name: client.get_queue_url(QueueName=direct_settings.physical_name(name))["QueueUrl"] for name in QUEUES
        }
        proxied_urls = {name: _proxied_url(url, queue) for name, url in urls.items()}
        settings = direct_settings.model_copy(
            update={"dynamodb_endpoint_url": table_url, "sqs_endpoint_url": queue_url, "queue_urls": proxied_urls}
        )
        evidence = folder / "evidence.txt"
        own = {**environment, **variables(settings), EVIDENCE: str(evidence)}
        with ExitStack() as exits:
            exits.callback(_delete, direct_settings, client, [*urls.values(), queue.discard_url], notes)
            direct = JobRepo.from_settings(direct_settings)
            yield Deployment(settings, own, folder, evidence, table, queue, direct, client, dynamodb, notes, exits)


def limits(scale: Scale, modules: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `Settings` that make a run faster than a normal deployment."""
    soft, hard = scale.hard_limit - 1, scale.hard_limit
    return {
        "queues": (
            QueueSpec(name="default", soft_limit=soft, hard_limit=hard, sla_seconds=1, max_receive_count=50),
            QueueSpec(name="recovery", priority=10, soft_limit=20, hard_limit=25, sla_seconds=1, max_receive_count=50),
        ),
        "task_modules": ("jobclaim.verify.tasks", *modules),
        "schedules": {"verify-tick": ScheduleSpec(task="verify.tick", every=TICK_SECONDS)},
        "wait_time_seconds": 1,
        "lease_grace_seconds": scale.grace,
        "stop_timeout_seconds": 8,
        "cancel_grace_seconds": 2,
        "visibility_slack_seconds": 2,
        "heartbeat_seconds": scale.heartbeat,
        "worker_dead_after_seconds": scale.dead_after,
        "recovery_interval_seconds": 2,
        "redispatch_min_seconds": scale.redispatch,
        "read_timeout_seconds": 2.0,
        "connect_timeout_seconds": 1.0,
        "max_attempts": 6,
        "dead_letters": {"TRANSIENT": {"retries": 0}},  # a retry would hide a failure that the body did not cause
    }


def variables(settings: Settings) -> dict[str, str]:
    """Return the settings as environment variables of a child process."""
    fields = settings.model_dump(mode="json", exclude_unset=True)
    return {
        f"JOBCLAIM_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
        if value is not None
    }


def environment_without_settings() -> dict[str, str]:
    """Return this process's environment without settings of jobclaim: a run has its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("JOBCLAIM_")}


def _dynamodb(settings: Settings) -> Any:
    return boto3.client("dynamodb", endpoint_url=settings.dynamodb_endpoint_url, region_name=settings.region)


def _delete(settings: Settings, sqs: Any, urls: Sequence[str], notes: str) -> None:
    dynamodb = _dynamodb(settings)
    for table in (settings.job_table, settings.fleet_table, notes):
        with contextlib.suppress(ClientError):
            dynamodb.delete_table(TableName=table)
    found = sqs.list_queues(QueueNamePrefix=settings.queue_prefix).get("QueueUrls", [])
    for url in {*urls, *found}:
        if url.rsplit("/", 1)[-1].startswith(settings.queue_prefix):
            with contextlib.suppress(ClientError):
                sqs.delete_queue(QueueUrl=url)


def _proxied_url(url: str, proxy: FaultyProxy) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{proxy.port}"))
