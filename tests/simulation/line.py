"""A process and its line to DynamoDB: its own clock, and everything that may happen to it and to its requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from jobclaim.jobs import JobRepo
from jobclaim.jobs.storage.large import Large
from jobclaim.settings import Settings
from tests.simulation.dynamodb import Database, Write, refusal
from tests.simulation.expressions import Item
from tests.simulation.faults import Faults
from tests.simulation.scenario import SKEW_MS, STALLS_MS
from tests.simulation.world import Broken, Crash, World

ENDPOINT: Final = "http://dynamodb"
TIMEOUT_MS: Final = 2_000
PONDERING_MS: Final = (3_000, 8_000, 20_000, 40_000)
CODES: Final = (
    *("ProvisionedThroughputExceededException", "RequestLimitExceeded", "LimitExceededException"),
    *("TransactionConflictException", "TransactionInProgressException", "RequestTimeout", "KMSThrottlingException"),
    *("AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"),
    *("KMSAccessDeniedException", "RequestExpired", "MissingAuthenticationTokenException"),
)
"""Refusals that pass by themselves, as DynamoDB spells them."""
REFUSED: Final = ("ConditionalCheckFailedException", "TransactionCanceledException")
LATENESS_MS: Final = (100, 3_000, 30_000)
"""How late a request may arrive that its sender has given up: a heartbeat of then must not put the clock back."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who makes a request, and what it knew then: its message's attempt, its claim, and the item as it last read it."""

    process: Process
    attempt: int | None
    token: str
    seen: Item | None


class Judge(Protocol):
    """Who looks at every request."""

    def observe(self, write: Write, writer: Writer) -> None:
        """Look at a write that was carried out."""

    def refused(self, request: dict[str, Any], stored: Item | None, writer: Writer) -> None:
        """Look at an update that was refused because its condition did not hold."""


@dataclass
class Shared:
    """What all processes of a run have in common."""

    world: World
    database: Database
    faults: Faults
    settings: Settings
    judge: Judge
    instant: bool = False
    tick: int = 0
    stalls: tuple[int, ...] = STALLS_MS
    objects: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Process:
    """One process, from its start to its crash.

    Attributes
    ----------
    kind : str
        ``submitter``, ``worker``, ``recovery`` or ``person``.
    token, attempt
        Worker: the claim in its hands, and the attempt that its message named.
    seen : dict of str to Item
        Items as it last read them.
    disturbed_at : int
        When something last happened to it that slowed it down or hid it, the true time.
    """

    shared: Shared
    name: str
    kind: str
    random: Random
    token: str = ""
    attempt: int | None = None
    seen: dict[str, Item] = field(default_factory=dict)
    disturbed_at: int = 0
    skew: int = 0

    def __post_init__(self) -> None:
        if self.shared.faults.possible("skew"):
            most = SKEW_MS - self.shared.tick // 2
            self.skew = self.random.randint(-most, most)

    def clock(self) -> int:
        """Read the process's own clock."""
        now, tick = self.shared.world.now + self.skew, self.shared.tick
        return now - now % tick + tick // 2 if tick else now

    def sleep(self, seconds: float) -> None:
        """Wait, as the code under test does between tries."""
        self.pause(round(seconds * 1000))

    def pause(self, milliseconds: int) -> None:
        """Let others run; or die, or stand still for long."""
        if self.shared.faults.strike("crash", self.random) and self.random.random() < 0.3:
            self.disturbed_at = self.shared.world.now
            raise Crash
        if self.shared.faults.strike("stall", self.random) or (
            self.kind != "worker" and self.shared.faults.strike("stall", self.random)
        ):
            stall = self.random.choice(self.shared.stalls)
            self.note(f"stands still for {stall} ms")
            self.disturbed_at = self.shared.world.now
            self.shared.world.pause(milliseconds + stall)
            self.disturbed_at = self.shared.world.now
        else:
            self.shared.world.pause(milliseconds)

    def note(self, what: str) -> None:
        """Write a line of the trace."""
        self.shared.world.note(self.name, what)

    def repo(self) -> JobRepo:
        """Give a repo with its own memory of claims."""
        from tests.simulation.s3 import BucketLine  # which speaks of processes

        settings = self.shared.settings
        repo = JobRepo(Line(self), settings=settings, clock=self.clock, sleep=self.sleep)
        if settings.bucket:
            bucket = BucketLine(self, self.shared.objects)
            repo.large = Large(settings, repo.table.payloads, bucket, clock=self.clock, sleep=self.sleep)
        return repo


class Line:
    """A DynamoDB client as the code under test sees it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._ask, operation)

    def _ask(self, operation: str, **request: Any) -> Any:
        process = self._process
        process.pause(self._latency())
        writer = self._writer(request)
        self._lose_request(operation, request, writer)
        answer, read, error = self._carry_out(operation, request, writer)
        if process.random.random() < 0.3:
            process.pause(self._latency())
        if process.shared.faults.strike("lost-answer", process.random):
            self._disturbed(f"{operation}: answer lost", TIMEOUT_MS)
            raise ReadTimeoutError(endpoint_url=ENDPOINT)
        if error is not None:
            self._rest_on(error.response)
            raise error
        if read is None:
            self._read(answer)
        else:
            self._rest_on({"Item": read})
        return answer

    def _rest_on(self, answer: Any) -> None:
        """Take note of what the answer to a write shows: all but recovery go on from there.

        Recovery lets a refused write be. An index that lags may show a job at two places, and both looks rest on one
        read.
        """
        if self._process.kind != "recovery":
            self._read(answer)

    def _lose_request(self, operation: str, request: dict[str, Any], writer: Writer) -> None:
        process, faults = self._process, self._process.shared.faults
        moves = operation in ("update_item", "transact_write_items")
        if moves and faults.strike("hesitate", process.random):
            self._disturbed("hesitates", process.random.choice(process.shared.stalls))
        if operation == "update_item" and process.kind == "person" and faults.strike("ponder", process.random):
            self._disturbed("ponders", process.random.choice(PONDERING_MS))
        if faults.strike("throttle", process.random):
            self._disturbed(f"{operation}: throttled")
            raise refusal("ThrottlingException", "slow down")
        if faults.strike("refusal", process.random):
            code = process.random.choice(CODES)
            self._disturbed(f"{operation}: {code}")
            raise refusal(code, "not now")
        if faults.strike("unreachable", process.random):
            self._disturbed(f"{operation}: no connection")
            raise EndpointConnectionError(endpoint_url=ENDPOINT)
        beats = operation == "update_item" and process.kind == "worker" and "worker_id" in request["Key"]
        very_late = beats and faults.strike("late-beat", process.random)
        if very_late or faults.strike("late", process.random):
            late = LATENESS_MS[-1] if very_late else process.random.choice(LATENESS_MS)
            process.shared.world.spawn("late", lambda: self._arrive(operation, request, writer), after=late)
            self._disturbed(f"{operation}: under way for {late} ms", min(late, TIMEOUT_MS))
            raise ReadTimeoutError(endpoint_url=ENDPOINT)

    def _arrive(self, operation: str, request: dict[str, Any], writer: Writer) -> None:
        self._process.note(f"{operation}: arrives late")
        self._carry_out(operation, request, writer)

    def _carry_out(
        self, operation: str, request: dict[str, Any], writer: Writer
    ) -> tuple[Any, Item | None, ClientError | None]:
        """Give the answer, what was written, and the error."""
        shared = self._process.shared
        try:
            answer, write = getattr(shared.database, operation)(request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            self._process.note(f"{operation} {_short(request)}: {code}")
            if code not in REFUSED:
                raise Broken("every request makes sense", f"{operation}: {error}") from None
            own = _own(request)
            if operation == "update_item" or "Update" in _first(request):
                stored = shared.database.items(own["TableName"]).get(_key(request))
                shared.judge.refused(own, stored, writer)
            return None, None, error
        writes = write if isinstance(write, list) else [write] if write is not None else []
        for one in writes:
            self._process.note(f"{operation} {one.key[:12]}: {_status(one.old)} -> {_status(one.new)}")
            shared.judge.observe(one, writer)
        return answer, writes[0].new if writes else None, None

    def _read(self, answer: Any) -> None:
        items = [answer[name] for name in ("Item", "Attributes") if name in answer]
        items += [reason["Item"] for reason in answer.get("CancellationReasons", ()) if "Item" in reason]
        for found in answer.get("Responses", {}).values():
            items += found
        for item in items:
            if "job_id" in item:
                self._process.seen[item["job_id"]["S"]] = item

    def _writer(self, request: dict[str, Any]) -> Writer:
        return Writer(self._process, self._process.attempt, self._process.token, self._process.seen.get(_key(request)))

    def _latency(self) -> int:
        shared, random = self._process.shared, self._process.random
        if shared.instant:
            return 0
        return random.randint(0, 20) if random.random() < 0.9 else random.randint(0, 900)

    def _disturbed(self, what: str, wait_ms: int = 0) -> None:
        process = self._process
        process.note(what)
        process.disturbed_at = process.shared.world.now
        if wait_ms:
            process.pause(wait_ms)
        process.disturbed_at = process.shared.world.now


def _first(request: dict[str, Any]) -> dict[str, Any]:
    """Give the first operation of a transaction, which is the job's own."""
    operations: list[dict[str, Any]] = request.get("TransactItems") or [{}]
    return operations[0]


def _own(request: dict[str, Any]) -> dict[str, Any]:
    """Give the request on the job, of a transaction's too."""
    own: dict[str, Any] = next(iter(_first(request).values()), request)
    return own


def _key(request: dict[str, Any]) -> str:
    own = _own(request)
    typed = own.get("Key") or own.get("Item") or {}
    return str(next((typed[name]["S"] for name in ("job_id", "worker_id") if name in typed), ""))


def _short(request: dict[str, Any]) -> str:
    return _key(request)[:12]


def _status(item: Item | None) -> str:
    if item is None:
        return "nothing"
    attempt = item.get("attempt", {}).get("N", "")
    return f"{item.get('status', {}).get('S', 'record')} {attempt}".strip()
