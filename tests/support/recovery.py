"""What the tests of recovery share: a job table, a fleet table, a hand-moved clock and a list of what was sent."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from botocore.exceptions import ClientError

from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.encoding.item import attribute, place, to_attributes
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.recovery import RecoveryFleet, SweepReport, sweep
from jobclaim.settings import Settings
from tests.mutation.scope import IN_MODEL
from tests.simulation.client import ModelClient
from tests.support import quick_stack
from tests.support.clock import ManualClock
from tests.support.endpoints import LOOPBACK, unique_name


def no_wait(_: float) -> None:
    """Stand in for `time.sleep` between two tries of a request."""


@dataclass
class Sent:
    """Records messages instead of sending them; thread-safe.

    Attributes
    ----------
    messages : list
        Job id, attempt and delay in seconds of each.
    broken : bool
        Whether sends fail.
    tried : int
        Sends, failed ones included.
    """

    messages: list[tuple[str, int, float]] = field(default_factory=list)
    broken: bool = False
    tried: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def __call__(self, job: Job, delay_seconds: float) -> None:
        with self.lock:
            self.tried += 1
            if self.broken:
                raise ConnectionError("SQS is away")
            self.messages.append((job.job_id, job.attempt, delay_seconds))

    def of(self, job_id: str) -> list[tuple[str, int, float]]:
        """Messages of one job."""
        return [message for message in self.messages if message[0] == job_id]


@dataclass
class Bench:
    """One store with everything that a pass needs.

    Attributes
    ----------
    line
        What repos ask: of a boto3 client, the lean one, as deployed ones do.
    repo : JobRepo
        Recovery's own.
    waiting : dict
        Messages that wait in a queue; 0 where nothing is said.
    """

    client: Any
    settings: Settings
    clock: ManualClock
    line: Any = field(init=False)
    repo: JobRepo = field(init=False)
    sent: Sent = field(default_factory=Sent)
    waiting: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.line = self.client
        if isinstance(self.client, ModelClient):
            self.client.make_tables(self.settings.job_table, self.settings.fleet_table)
        else:
            if LOOPBACK in self.client.meta.endpoint_url:  # moto would not see it
                self.line = Line(self.client)
            quick_stack.make_tables(self.client, self.settings)
        self.repo = self.new_repo()

    def new_repo(self, client: Any = None) -> JobRepo:
        """Give a repo of its own memory of claims, as another process has."""
        return JobRepo(client or self.line, settings=self.settings, clock=self.clock, sleep=no_wait)

    @property
    def fleet(self) -> RecoveryFleet:
        """The fleet table as recovery sees it."""
        return RecoveryFleet.of(self.repo)

    def sweep(self, repo: JobRepo | None = None, **options: Any) -> SweepReport:
        """Run one pass."""
        options = {"send": self.sent, "backlog": self.backlog, **options}
        return sweep(repo or self.repo, **options)

    def backlog(self, queue: str) -> int:
        return self.waiting.get(queue, 0)

    def claimed(self, job_id: str, *, worker_id: str = "w1", **options: Any) -> tuple[JobRepo, Job]:
        """Create a job and claim it; the repo that holds the claim comes with it."""
        worker = self.new_repo()
        worker.create_job("tasks.work", {"n": 1}, job_id=job_id, **options)
        job = worker.claim_job(job_id, worker_id=worker_id)
        assert job is not None
        return worker, job

    def beat(
        self,
        worker_id: str,
        *,
        queues: list[str] | None = None,
        job_ids: list[str] | None = None,
        claims: list[str] | None = None,
        commands: dict[str, str] | None = None,
    ) -> None:
        """Write a worker's record as its heartbeat does, with commands that it has not come to."""
        item: dict[str, Any] = {"worker_id": attribute(worker_id), "seen_at": attribute(self.clock())}
        item["queues"] = {"L": [attribute(queue) for queue in queues or ["default"]]}
        item["jobs"] = {"L": [attribute(job_id) for job_id in job_ids or []]}
        if claims is not None:
            item["claims"] = {"L": [attribute(token) for token in claims]}
        item["commands"] = {"M": {job_id: attribute(command) for job_id, command in (commands or {}).items()}}
        self.client.put_item(TableName=self.settings.fleet_table, Item=item)

    def workers(self) -> set[str]:
        """Names in the fleet table."""
        items = self.client.scan(TableName=self.settings.fleet_table)["Items"]
        return {item["worker_id"]["S"] for item in items} - {"#recovery"}

    def cursor_saved(self) -> bool:
        """Whether a cursor is stored."""
        key = {"worker_id": attribute("#recovery")}
        return "Item" in self.client.get_item(TableName=self.settings.fleet_table, Key=key)

    def status(self, job_id: str) -> JobStatus:
        return self.repo.get_job(job_id).status

    def load(self, jobs: list[Job]) -> None:
        """Put jobs as they are, in batches: no history of how they came to be."""
        shards, listed = self.settings.index_shards, self.settings.index_completed
        for start in range(0, len(jobs), 25):
            requests = []
            for job in jobs[start : start + 25]:
                stored = to_attributes(job) | place(job, shards=shards, index_completed=listed)
                item = {name: attribute(value) for name, value in stored.items()}
                requests.append({"PutRequest": {"Item": item}})
            answer = self.client.batch_write_item(RequestItems={self.settings.job_table: requests})
            assert not answer.get("UnprocessedItems")


def bench_settings(**values: Any) -> Settings:
    """Settings on tables of their own, with one shard unless told otherwise."""
    names = {"job_table": unique_name("jobs"), "fleet_table": unique_name("fleet")}
    return Settings(**{"index_shards": 1, **names, **values})


class Line:
    """The lean client in the place of a boto3 client, whose requests cost far more; itself while they are counted."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lean = LeanClient.of(client)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client if self._client in Requests.counting else self._lean, name)


class Requests:
    """Counts a client's requests by operation, and makes chosen ones fail, by botocore's own events."""

    counting: ClassVar[list[Any]] = []

    def __init__(self, client: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.counting.append(client)
        self._client = client
        self._events = client.meta.events
        self._name = unique_name("requests")
        self._events.register("before-parameter-build.dynamodb.*", self._count, unique_id=self._name)

    def _count(self, model: Any, **_: Any) -> None:
        self.counts[model.name] += 1

    def stop(self) -> None:
        self.counting.remove(self._client)
        self._events.unregister("before-parameter-build.dynamodb.*", unique_id=self._name)

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def failing(
    client: Any, operation: str, fails: Callable[[dict[str, Any]], bool], code: str = "ThrottlingException"
) -> Any:
    """Give the client with one operation failing wherever ``fails`` says so of its parameters."""
    return _Failing(client, operation, fails, code)


def before(client: Any, operation: str, act: Callable[[], object]) -> Any:
    """Give the client with something else happening first, whenever an operation is asked for."""

    def pass_through(_: dict[str, Any]) -> bool:
        act()
        return False

    return _Failing(client, operation, pass_through, "")


class _Failing:
    def __init__(self, client: Any, operation: str, fails: Callable[[dict[str, Any]], bool], code: str) -> None:
        self._client = client
        self._operation = operation
        self._fails = fails
        self._code = code

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._operation:
            return real

        def call(**parameters: Any) -> Any:
            if self._fails(parameters):
                answer: Any = {"Error": {"Code": self._code, "Message": "slow down"}, "ResponseMetadata": {}}
                raise ClientError(answer, name)
            return real(**parameters)

        return call


REAL = [pytest.param("dynamodb-local", marks=pytest.mark.real), *(["model"] if os.environ.get(IN_MODEL) else [])]
MODEL_AND_REAL = ["model", REAL[0]]
"""The simulation's model, whose requests cost far less than moto's, and what holds it to the truth."""


@contextmanager
def store(name: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give a DynamoDB client of a store by name; the real one is started only when it is asked for."""
    if name == "dynamodb-local":
        yield request.getfixturevalue("dynamodb_local").client()
        return
    assert name == "model"
    yield ModelClient(system_clock)
