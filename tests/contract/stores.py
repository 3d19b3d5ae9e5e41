"""A job table in one store, and what the contract's tests do with it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from jobclaim.infra.tables import ensure_table, table_specs
from jobclaim.jobs import Job, JobRepo
from jobclaim.settings import QueueSpec, Settings
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.endpoints import unique_name

QUEUES = (QueueSpec(name="default"), QueueSpec(name="ai"), QueueSpec(name="email"))
Answer = Callable[[], Any]
LEDGER = unique_name("ledger")
"""A caller's own table; its key is ``id``."""
BATCH = 25
"""Items of one request at most."""
WRITES = ("put_item", "update_item", "transact_write_items")


def entry(table: str = LEDGER, name: str = "") -> dict[str, Any]:
    """An effect that can be made once: a new item of the caller's table."""
    item = {"id": name or unique_name("entry"), "amount": 9.5}
    return {"Put": {"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(id)"}}


def contract_settings(**changes: Any) -> Settings:
    """Settings with three queues and a table of their own."""
    return Settings(**{"job_table": unique_name("jobs"), "queues": QUEUES, **changes})


def complete_as_planned(repo: JobRepo, claim: Job, result: Any = (1,)) -> Job:
    """Complete a job as a worker does: what its child has planned goes through a pipe and is written."""
    planned = repo.plan_completion(claim.job_id, claim.claim_token, list(result))
    repo.write_planned(pickle.loads(pickle.dumps(planned)))  # noqa: S301 - our own
    return repo.get_job(claim.job_id)


@dataclass
class Store:
    """One job table.

    Attributes
    ----------
    client : boto3 client
        For a look at the table itself. Thread-safe.
    line : optional
        The client of the repos, where that is not the plain one.
    endpoint_url : str
        Where another process finds the store; empty for one that lives in this process.
    """

    name: str
    client: Any
    clock: ManualClock
    endpoint_url: str = ""
    line: Any = None
    settings: Settings = field(default_factory=contract_settings)
    sent: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = self.line or self.client
        if isinstance(self.client, ModelClient):
            self.client.make_tables(self.settings.job_table, self.settings.fleet_table)
            self.client.make_table(LEDGER, "id")
        else:
            list(ensure_table(self.client, table_specs(self.settings)[0], 30))
            with suppress(self.client.exceptions.ResourceInUseException):  # another store of this endpoint made it
                self.client.create_table(
                    TableName=LEDGER,
                    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                    BillingMode="PAY_PER_REQUEST",
                )

    def empty(self) -> None:
        """Delete all items, and forget what was sent."""
        self.sent.clear()
        gone = [(self.settings.job_table, {"job_id": {"S": job_id}}) for job_id in self.items()]
        gone += [(LEDGER, {"id": {"S": name}}) for name in self.ledger()]
        for first in range(0, len(gone), BATCH):
            request: dict[str, list[Any]] = {}
            for table, key in gone[first : first + BATCH]:
                request.setdefault(table, []).append({"DeleteRequest": {"Key": key}})
            assert not self.client.batch_write_item(RequestItems=request)["UnprocessedItems"]

    def repo(self, client: Any = None, settings: Settings | None = None) -> JobRepo:
        """Give a repo with its own memory of claims, as another process has; its waits move the clock, not the test.

        What it sends is kept in ``sent``.
        """
        made = JobRepo(
            client or self.line, settings=settings or self.settings, clock=self.clock, sleep=self.clock.advance
        )
        made.sender = self.sent.append
        return made

    def item(self, job_id: str) -> dict[str, Any] | None:
        """Read the stored item as it is."""
        answer = self.client.get_item(
            TableName=self.settings.job_table, Key={"job_id": {"S": job_id}}, ConsistentRead=True
        )
        item: dict[str, Any] | None = answer.get("Item")
        return item

    def items(self) -> dict[str, dict[str, Any]]:
        """Read the whole table."""
        return self._read(self.settings.job_table, "job_id")

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Read the caller's own table, by id."""
        return self._read(LEDGER, "id")

    def _read(self, table: str, key: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        start: dict[str, Any] = {}
        while True:
            page = self.line.scan(TableName=table, ConsistentRead=True, **start)
            found |= {item[key]["S"]: item for item in page["Items"]}
            if "LastEvaluatedKey" not in page:
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def pending(self, **options: Any) -> Job:
        """Submit a job, as somebody else."""
        return self.repo().create_job("tasks.work", {"n": 1}, **options)

    def claimed(self, **options: Any) -> tuple[JobRepo, Job]:
        """Submit a job and claim it; the repo that holds the claim comes with it."""
        owner = self.repo()
        job = owner.claim_job(self.pending(**options).job_id, worker_id="w1", celery_task_id="c1")
        assert job is not None
        return owner, job

    def failed(self, **options: Any) -> Job:
        """Submit a job, claim it and let it fail."""
        owner, job = self.claimed(**options)
        return owner.update_status(job.job_id, "FAILED", error=ValueError("no"))

    def completed(self, result: Any = None, **options: Any) -> Job:
        """Submit a job, claim it and complete it."""
        owner, job = self.claimed(**options)
        return owner.update_status(job.job_id, "COMPLETED", result=result)


class LossyClient:
    """A client on a bad line: the first write gets lost, or its answer does.

    Parameters
    ----------
    arrives : bool
        Whether the write was applied; its answer is lost in any case.
    times : int
        Writes to which this happens.
    meanwhile : callable, optional
        What others do before the request is made again.
    error : callable
        Makes the exception that the caller sees.
    """

    def __init__(
        self,
        client: Any,
        *,
        arrives: bool = True,
        times: int = 1,
        meanwhile: Callable[[], object] | None = None,
        error: Callable[[], Exception] | None = None,
    ) -> None:
        self._client = client
        self._arrives = arrives
        self._spared = 0
        self._left = times
        self._meanwhile = meanwhile
        self._error = error or (lambda: ReadTimeoutError(endpoint_url="http://dynamodb"))
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return self._lossy(call) if name in WRITES else call

    def lose_after(self, spared: int, *, times: int = 1, arrives: bool = True) -> None:
        """Let that many further writes through before the line gets bad for ``times`` writes."""
        self._spared, self._left, self._arrives = spared, times, arrives

    def _lossy(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def request(**parameters: Any) -> Any:
            self.writes += 1
            if self._spared > 0 or self._left <= 0:
                self._spared -= 1
                return call(**parameters)
            self._left -= 1
            if self._arrives:
                with suppress(ClientError):  # a refusal is an answer too
                    call(**parameters)
            if self._meanwhile:
                self._meanwhile()
            raise self._error()

        return request


class TwiceClient:
    """A client that makes every write twice and gives the second answer, as boto3's own retry does when one is lost."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in WRITES:
            return call

        def request(**parameters: Any) -> Any:
            call(**parameters)
            try:
                return call(**parameters)
            except ClientError as error:
                answer: Any = error.response
                answer.setdefault("ResponseMetadata", {})["RetryAttempts"] = 1  # as boto3 tells
                raise

        return request
