"""Limits that the whole fleet keeps: how often a task may start, and how many jobs of one key may run at once.

Both are one small record each in the fleet table, changed by conditional writes only.

A rate is a schedule, not a gate that everybody hammers on (the "generic cell rate algorithm"): the record holds
the time at which the bucket will be full again, and whoever asks moves it on by one interval. What stood there before
is the asker's turn, so a job that must wait is given its turn at once and comes back exactly once::

    tat    ──▶|now                          nobody waits: start now
           now|──────────▶ tat              start at tat (less the burst), and tat moves on by one interval

Who runs under a key is a map of job ids to claim tokens. A holder that crashed is recognised by its job, which is no
longer PROCESSING under that token: the job table is the truth, so nothing leaks and no lease has to run out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage import schema
from jobclaim.jobs.storage.item import Item, attribute
from jobclaim.jobs.storage.records import Records
from jobclaim.jobs.storage.resilience import condition_failed

ROUNDS: Final = 6
"""Writes of one question: more than that many others at the same moment, and the answer is "later"."""
HORIZON_MS: Final = 7 * 86_400_000
"""Turns are given out that far ahead; who comes after that asks again."""
KEPT_SECONDS: Final = 8 * 86_400
"""A record that nobody has used for so long is deleted by DynamoDB."""
MAX_CONCURRENCY: Final = 100
"""Holders of one key: each write pays for the whole map, about 100 bytes per holder."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often something may start, over the whole fleet.

    Attributes
    ----------
    interval_us : int
        Microseconds from one start to the next.
    burst : int
        Starts that may come at once after a quiet time.
    """

    interval_us: int
    burst: int = 1

    @classmethod
    def parse(cls, rate: str | float, burst: int = 1) -> Self:
        """Read a rate as Celery writes them: ``"10/s"``, ``"100/m"``, ``"1000/h"``, or a number per second.

        Raises
        ------
        InvalidInput
            Anything else, or a rate of nothing.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*", str(rate))
        per_second = float(found[1]) / _UNITS[found[2] or "s"] if found else 0.0
        if not 1e-5 <= per_second <= 1000 or isinstance(burst, bool) or not 1 <= burst <= 100_000:
            raise InvalidInput(
                f"rate {rate!r} with burst {burst!r}: write '10/s', '100/m' or '1000/h', at most 1000/s, and a burst "
                "of 1 or more"
            )
        return cls(max(1, round(1_000_000 / per_second)), burst)


@dataclass(frozen=True, slots=True)
class Turn:
    """When the asker may start, epoch milliseconds; ``reserved`` says that this turn is its own."""

    at: int
    reserved: bool


class FleetLimits(Records):
    """Asks the fleet table.

    Parameters
    ----------
    client : callable
        Gives a boto3 DynamoDB client, this process's own.
    read_job : callable
        Gives a job by id as it is now, or ``None``.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        table: str,
        *,
        read_job: Callable[[str], Job | None],
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._read_job = read_job
        self._busy: dict[str, bool] = {}

    @classmethod
    def of(cls, repo: Store) -> Self:
        """Use the repo's client, clock and settings."""
        table = repo.table
        return cls(table.client, repo.settings.fleet_table, read_job=table.get, clock=repo.clock, sleep=table.sleep)

    # --- rates
    def reserve(self, name: str, limit: RateLimit) -> Turn:
        """Take the next turn under a rate. One request under load, two after a quiet time.

        Raises
        ------
        StoreUnavailable
        """
        now_us = self._clock() * 1000
        horizon = now_us + HORIZON_MS * 1000
        for _ in range(ROUNDS):
            busy = self._busy.get(name, False)
            move_on = self._queue_up if busy else self._start_anew
            applied, full_again = move_on(name, limit, now_us, horizon)
            if applied:
                at_us = full_again - limit.burst * limit.interval_us
                return Turn(max(now_us, at_us) // 1000, reserved=True)
            if full_again > horizon:
                return Turn(horizon // 1000, reserved=False)
            self._busy[name] = not busy
        return Turn((now_us + max(limit.interval_us, 1_000_000)) // 1000, reserved=False)

    def _queue_up(self, name: str, limit: RateLimit, now_us: int, horizon: int) -> tuple[bool, int]:
        values = {":step": limit.interval_us, ":now": now_us, ":horizon": horizon}
        return self._advance(name, "#tat + :step", "#tat BETWEEN :now AND :horizon", values)

    def _start_anew(self, name: str, limit: RateLimit, now_us: int, _: int) -> tuple[bool, int]:
        values = {":fresh": now_us + limit.interval_us, ":now": now_us}
        return self._advance(name, ":fresh", "attribute_not_exists(#tat) OR #tat < :now", values)

    def _advance(self, name: str, value: str, condition: str, values: dict[str, int]) -> tuple[bool, int]:
        applied, item = self._update(
            f"#rate/{name}", f"SET #tat = {value}, #ttl = :ttl", condition, {"#tat": "tat"}, _numbers(values)
        )
        return applied, int(item["tat"]["N"]) if item else 0

    # --- concurrency
    def enter(self, name: str, limit: int, job: Job) -> bool:
        """Count a claimed job among those that run under a key, unless ``limit`` others do. Mostly one request.

        Raises
        ------
        StoreUnavailable
        """
        for _ in range(ROUNDS):
            applied, holders = self._join(name, limit, job)
            if applied or (holders is None and self._open(name, job)):
                return True
            if holders is not None and not self._evict(name, self._ghosts(holders)):
                return False
        return False

    def leave(self, name: str, job: Job) -> None:
        """Take a job off the key that it ran under; nothing happens when another claim has taken its place."""
        self._evict(name, {job.job_id: job.claim_token})

    def _join(self, name: str, limit: int, job: Job) -> tuple[bool, dict[str, str] | None]:
        applied, item = self._update(
            f"#running/{name}",
            "SET #holders.#job = :token, #ttl = :ttl",
            "attribute_exists(#holders) AND (size(#holders) < :limit OR attribute_exists(#holders.#job))",
            {"#holders": "holders", "#job": job.job_id},
            {":token": attribute(job.claim_token), ":limit": attribute(limit)},
        )
        return applied, None if item is None else _holders(item)

    def _open(self, name: str, job: Job) -> bool:
        first = {":holders": {"M": {job.job_id: attribute(job.claim_token)}}}
        return self._update(
            f"#running/{name}",
            "SET #holders = :holders, #ttl = :ttl",
            "attribute_not_exists(#holders)",
            {"#holders": "holders"},
            first,
        )[0]

    def _ghosts(self, holders: dict[str, str]) -> dict[str, str]:
        """Holders whose jobs do not run any more under the claim that took the place."""
        ghosts = {}
        for job_id, token in holders.items():
            job = self._read_job(job_id)
            if job is None or job.status is not JobStatus.PROCESSING or job.claim_token != token:
                ghosts[job_id] = token
        return ghosts

    def _evict(self, name: str, holders: dict[str, str]) -> bool:
        """Remove holders, if they are still the same; tell whether there were any to remove."""
        if not holders:
            return False
        rows = list(enumerate(holders.items()))
        self._update(
            f"#running/{name}",
            "REMOVE " + ", ".join(f"#holders.#job{n}" for n, _ in rows) + " SET #ttl = :ttl",
            " AND ".join(f"#holders.#job{n} = :token{n}" for n, _ in rows),
            {"#holders": "holders", **{f"#job{n}": job_id for n, (job_id, _) in rows}},
            {f":token{n}": attribute(token) for n, (_, token) in rows},
        )
        return True

    # --- requests
    def _update(
        self, key: str, expression: str, condition: str, names: dict[str, str], values: Item
    ) -> tuple[bool, dict[str, Any] | None]:
        """Make one conditional write; give whether it was applied, and the record after it or in its way."""
        from botocore.exceptions import ClientError

        request = {
            "TableName": self._table,
            "Key": {schema.FLEET_KEY: attribute(key)},
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {**names, "#ttl": schema.FLEET_TTL},
            "ExpressionAttributeValues": {**values, ":ttl": attribute(self._clock() // 1000 + KEPT_SECONDS)},
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            answer = self._ask(lambda: self._client().update_item(**request))
        except ClientError as error:
            if not condition_failed(error):
                raise
            item: Any = error.response.get("Item")
            return False, item or None
        return True, answer["Attributes"]


def _numbers(values: dict[str, int]) -> Item:
    return {name: attribute(value) for name, value in values.items()}


def _holders(item: dict[str, Any]) -> dict[str, str]:
    return {job_id: token["S"] for job_id, token in item.get("holders", {"M": {}})["M"].items()}
