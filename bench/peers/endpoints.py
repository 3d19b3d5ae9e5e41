"""The peers' environment: addresses, tables, queues, Redis, and the processes of one peer."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from bench.peers.catalog import APPS, Peer, queue_of
from bench.peers.venvs import python_of
from bench.stub import ROOT
from jobclaim.infra import provision
from jobclaim.settings import Settings
from tests.support.artifacts import cache_dir
from tests.support.processes import ManagedProcess

FAKE = {
    "AWS_ACCESS_KEY_ID": "stub",
    "AWS_SECRET_ACCESS_KEY": "stub",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
}
"""The last is what Powertools' records are named after."""
COMPILED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache_dir() / "bytecode")}
"""Modules are compiled once, as an installation does: else each start of ours would compile a checkout anew."""
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where SQS or another broker, DynamoDB and Redis listen, the folder for logs and evidence, and whom to trust."""

    sqs: str
    dynamodb: str
    redis: str
    folder: Path
    certificate: Path | None = None

    def client(self, service: str) -> Any:
        """Build a boto3 client."""
        url = self.sqs if service == "sqs" else self.dynamodb
        session: Any = boto3.session.Session  # typed per service name; here the name is a variable
        keys = {name.lower(): FAKE[name] for name in KEYS}
        config = Config(retries={"total_max_attempts": 3})
        made = session(**keys, region_name="us-east-1")
        trusted = str(self.certificate) if self.certificate else None
        return made.client(service, endpoint_url=url, config=config, verify=trusted)

    def environment(self, peer: Peer, **more: str) -> dict[str, str]:
        """Return the environment of a peer's process."""
        ours = {
            "JOBCLAIM_SQS_ENDPOINT_URL": self.sqs,
            "JOBCLAIM_DYNAMODB_ENDPOINT_URL": self.dynamodb,
            "JOBCLAIM_RUN_DIR": str(self.folder / "run"),
            "JOBCLAIM_TASK_MODULES": json.dumps(["jobclaim_app"]),
        }
        path = os.pathsep.join([str(APPS), str(ROOT / "src")] if peer.is_ours else [str(APPS)])
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("JOBCLAIM_", "AWS_"))},
            **FAKE,
            **(ours if peer.is_ours else {}),
            **COMPILED,
            "PYTHONPATH": path,
            "BENCH_PEER": peer.key,
            "BENCH_QUEUE": queue_of(peer)[0],
            "BENCH_BROKER": self.sqs,
            "BENCH_DYNAMODB": self.dynamodb,
            "BENCH_REDIS": self.redis,
            "BENCH_EVIDENCE": str(self.evidence(peer)),
            **({"AWS_CA_BUNDLE": str(self.certificate)} if peer.tls else {}),
            **peer.settings,
            **more,
        }

    def evidence(self, peer: Peer) -> Path:
        """Return the file to which a peer's bodies write."""
        return self.folder / f"evidence-{peer.key}"

    def prepare(self, peer: Peer, *, visibility: int = 3600, **settings: Any) -> None:
        """Create a peer's queue and table."""
        if peer.is_ours:
            settings = {**settings, "dynamodb_endpoint_url": self.dynamodb, "sqs_endpoint_url": self.sqs}
            if peer.tls:
                os.environ["AWS_CA_BUNDLE"] = str(self.certificate)
            try:
                provision(Settings(**settings))
            finally:
                os.environ.pop("AWS_CA_BUNDLE", None)
            return
        if peer.broker != "sqs":
            self._set_up(peer)
            return
        name = queue_of(peer)[1]
        self.client("sqs").create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(visibility)})
        if peer.table is None:
            return
        table, key = peer.table
        try:
            self.client("dynamodb").create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise

    def _set_up(self, peer: Peer) -> None:
        if peer.setup:
            argv = [python_of(peer), *(part.format(url=self.sqs) for part in peer.setup)]
            self._run(peer, argv)

    def worker(self, peer: Peer, processes: int, name: str = "worker", **more: str) -> ManagedProcess:
        """Start a peer's worker and wait until it listens."""
        pool, (queue, _) = min(2, processes), queue_of(peer)
        shares = {"processes": processes, "pool": pool, "each": processes // pool, "queue": queue}
        argv = [python_of(peer), *(_argument(part, shares) for part in peer.worker)]
        environment = self.environment(peer, JOBCLAIM_WORKER_NAME=name, **more)
        started = ManagedProcess(
            f"{peer.key}-{name}", argv, log_dir=self.folder, env=environment, cwd=self.folder
        ).start()
        try:
            started.wait_for_line(peer.ready, READY_SECONDS)
        except BaseException:
            started.stop()
            raise
        return started

    def submit(self, peer: Peer, *arguments: str, **more: str) -> Any:
        """Run a peer's submitter; return its result."""
        argv = [python_of(peer), str(APPS / "submit.py"), peer.module, *arguments]
        return json.loads(self._run(peer, argv, **more).splitlines()[-1])

    def _run(self, peer: Peer, argv: list[str], **more: str) -> str:
        ran = subprocess.run(
            argv, env=self.environment(peer, **more), cwd=self.folder, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"{argv[1:4]} of {peer.key} failed:\n{ran.stderr[-3000:]}")
        return ran.stdout


def _argument(part: str, shares: dict[str, Any]) -> str:
    """Fill the placeholders of an argument; a program is one of `APPS`."""
    return str(APPS / part) if part.endswith(".py") else part.format(**shares)
