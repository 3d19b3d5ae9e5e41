"""Limits that the whole fleet keeps: how often a task may start, and how many jobs of one key may run at once.

Rates are in `fleet.rates`. Who runs under a key is a map of job ids to claim tokens, one small record each in the fleet
table, changed by conditional writes only. A holder that crashed is recognised by its job, which is no longer PROCESSING
under that token: the job table is the truth, so nothing leaks and no lease has to run out. All holders of a key are
looked at in one request, and by each process once a second at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from jobclaim.fleet.rates import LONGEST_PATIENCE_MS
from jobclaim.fleet.starts import Rates
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.records import HasTable

ROUNDS: Final = 3
"""Writes that make a new record, or find it made by another."""
LOOK_AGAIN_MS: Final = 1_000
"""A process looks at the holders of one key at most that often."""
KEYS_REMEMBERED: Final = 1_000
MAX_CONCURRENCY: Final = 100
"""Holders of one key: each write pays for the whole map, about 100 bytes per holder."""


class FleetLimits(Rates):
    """Asks the fleet table.

    Parameters
    ----------
    client : callable
        Gives a boto3 DynamoDB client, this process's own.
    read_tokens : callable
        Gives the claim tokens of jobs by id as they are now, in one request; empty for one that does not run. A job
        that could not be read is left out.
    longest_patience_ms : int
        Bounds the time for which a job waits inside its process for its start.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        table: str,
        *,
        read_tokens: Callable[[Sequence[str]], Mapping[str, str]],
        clock: Clock,
        sleep: Callable[[float], None],
        longest_patience_ms: int = LONGEST_PATIENCE_MS,
    ) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self.longest_patience_ms = longest_patience_ms
        self._read_tokens = read_tokens
        self._looked: dict[str, int] = {}

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Use the repo's client, clock and settings."""
        table = repo.table
        return cls(
            table.client,
            repo.settings.fleet_table,
            read_tokens=table.tokens_of,
            clock=repo.clock,
            sleep=table.sleep,
            longest_patience_ms=min(LONGEST_PATIENCE_MS, round(repo.settings.drain_seconds * 500)),
        )

    def enter(self, name: str, limit: int, job: Job) -> bool:
        """Count a claimed job among those that run under a key, unless ``limit`` others do.

        Mostly one request; a refusal takes two at most, one more where a place that its holder left behind goes to
        another job at the same moment.

        Raises
        ------
        StoreUnavailable
        """
        for _ in range(ROUNDS):
            applied, holders = self._join(name, limit, job)
            if applied or (holders is None and self._open(name, job)):
                return True
            if holders is not None:
                ghosts = self._ghosts(name, holders)
                return bool(ghosts) and self._evict(name, ghosts, joins=job, limit=limit)
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
        return applied, _holders(item) if item else None

    def _open(self, name: str, job: Job) -> bool:
        first = {":holders": {"M": {job.job_id: attribute(job.claim_token)}}}
        return self._update(
            f"#running/{name}",
            "SET #holders = :holders, #ttl = :ttl",
            "attribute_not_exists(#holders)",
            {"#holders": "holders"},
            first,
        )[0]

    def _ghosts(self, name: str, holders: dict[str, str]) -> dict[str, str]:
        """Find holders whose jobs do not run any more under the claim that took the place."""
        now = self._clock()
        if 0 <= now - self._looked.get(name, -LOOK_AGAIN_MS) < LOOK_AGAIN_MS:
            return {}
        if len(self._looked) >= KEYS_REMEMBERED:
            self._looked.clear()
        self._looked[name] = now
        found = self._read_tokens(list(holders))
        return {job_id: token for job_id, token in holders.items() if found.get(job_id, token) != token}

    def _evict(self, name: str, holders: dict[str, str], *, joins: Job | None = None, limit: int = 0) -> bool:
        """Remove holders, if they are still the same, and let a job in for them; tell whether that was done."""
        rows = list(enumerate(holders.items()))
        conditions = [f"#holders.#job{n} = :token{n}" for n, _ in rows]
        names = {"#holders": "holders", **{f"#job{n}": job_id for n, (job_id, _) in rows}}
        values = {f":token{n}": attribute(token) for n, (_, token) in rows}
        entry = ""
        if joins is not None:
            entry = "#holders.#joins = :joins, "
            conditions.append("size(#holders) < :room")
            names["#joins"] = joins.job_id
            values |= {":joins": attribute(joins.claim_token), ":room": attribute(limit + len(holders))}
        removed = ", ".join(f"#holders.#job{n}" for n, _ in rows)
        expression = f"REMOVE {removed} SET {entry}#ttl = :ttl"
        return self._update(f"#running/{name}", expression, " AND ".join(conditions), names, values)[0]


def _holders(item: dict[str, Any]) -> dict[str, str]:
    return {job_id: token["S"] for job_id, token in item.get("holders", {"M": {}})["M"].items()}
