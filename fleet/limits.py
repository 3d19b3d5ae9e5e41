"""Limits that the whole fleet keeps: how often a task may start, and how many jobs of one key may run at once.

Rates are in `fleet.rates`. The jobs running under a key are a map of job ids to claim tokens, one small record per key
in the fleet table, changed only by conditional writes. A holder that crashed is recognized by its job, which is no
longer PROCESSING: the job table is the truth, so no slot leaks and no lease has to run out. All holders of a key are
checked in one request, at most once a second per process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from jobclaim.fleet.rates import LONGEST_PATIENCE_MS
from jobclaim.fleet.starts import Rates
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.records import HasTable

ROUNDS: Final = 3
"""Attempts to create a record or find the one that another process created."""
LOOK_AGAIN_MS: Final = 1_000
"""Minimum time between two checks of one key's holders by a process."""
KEYS_REMEMBERED: Final = 1_000
MAX_CONCURRENCY: Final = 100
"""Maximum holders of one key: each write pays for the whole map, about 100 bytes per holder."""
KNOWN: Final = "attribute_type(#holders, :map)"
"""Condition on a record of holders that can be read; any other is replaced, for no job could ever enter it."""
MAP: Final[Item] = {":map": attribute("M")}


class FleetLimits(Rates):
    """Rate and concurrency limits in the fleet table.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    read_tokens : callable
        Returns the current claim tokens of jobs by id in one request; empty for a job that is not running. A job that
        could not be read is left out.
    longest_patience_ms : int
        Maximum time for which a job waits inside its process for its start.
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
        self._checked_at: dict[str, int] = {}

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Create the limits with the repo's client, clock and settings."""
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
        """Take a slot for a claimed job under a key, unless ``limit`` other jobs hold one.

        Usually one request; a refusal takes two at most, and one more if a slot that its holder left behind is taken by
        another job at the same moment. Taking over a slot that the job's own lost attempt left behind takes two more.

        Raises
        ------
        StoreUnavailable
        """
        for _ in range(ROUNDS):
            applied, holders = self._join(name, limit, job)
            if applied or (holders is None and self._open(name, job)):
                return True
            if holders is not None and job.job_id in holders:
                return self._take_over(name, job, holders[job.job_id])
            if holders is not None:
                stale = self._stale_holders(name, holders)
                return bool(stale) and self._evict(name, stale, joins=job, limit=limit)
        return False

    def leave(self, name: str, job: Job) -> None:
        """Free a job's slot; does nothing if another claim has taken the slot over."""
        self._evict(name, {job.job_id: attribute(job.claim_token)})

    def _join(self, name: str, limit: int, job: Job) -> tuple[bool, Item | None]:
        applied, item = self._update(
            f"#running/{name}",
            "SET #holders.#job = :token, #ttl = :ttl",
            f"{KNOWN} AND (size(#holders) < :limit OR #holders.#job = :token)"
            " AND (attribute_not_exists(#holders.#job) OR #holders.#job = :token)",
            {"#holders": "holders", "#job": job.job_id},
            {":token": attribute(job.claim_token), ":limit": attribute(limit), **MAP},
        )
        return applied, _holders(item)

    def _take_over(self, name: str, job: Job, left: Any) -> bool:
        """Take over the slot that an earlier attempt of the job left behind. Refused unless this attempt has the job's
        current claim: a lost attempt that runs on would take the slot from its successor.
        """
        if self._read_tokens([job.job_id]).get(job.job_id) != job.claim_token:
            return False
        return self._update(
            f"#running/{name}",
            "SET #holders.#job = :token, #ttl = :ttl",
            "#holders.#job = :left",
            {"#holders": "holders", "#job": job.job_id},
            {":token": attribute(job.claim_token), ":left": left},
        )[0]

    def _open(self, name: str, job: Job) -> bool:
        first = {":holders": {"M": {job.job_id: attribute(job.claim_token)}}}
        return self._update(
            f"#running/{name}",
            "SET #holders = :holders, #ttl = :ttl",
            f"NOT {KNOWN}",
            {"#holders": "holders"},
            {**first, **MAP},
        )[0]

    def _stale_holders(self, name: str, holders: Item) -> Item:
        """Return the holders whose jobs no longer run; empty if they were checked a moment ago.

        A job that runs under another token keeps its slot: a late request of a lost attempt may have replaced the
        current attempt's token.
        """
        now = self._clock()
        if 0 <= now - self._checked_at.get(name, -LOOK_AGAIN_MS) < LOOK_AGAIN_MS:
            return {}
        if len(self._checked_at) >= KEYS_REMEMBERED:
            self._checked_at.clear()
        self._checked_at[name] = now
        found = self._read_tokens(list(holders))
        return {job_id: token for job_id, token in holders.items() if found.get(job_id) == ""}

    def _evict(self, name: str, holders: Item, *, joins: Job | None = None, limit: int = 0) -> bool:
        """Remove the given holders if they are unchanged, and let job ``joins`` take a slot; return whether that was
        done.
        """
        rows = list(enumerate(holders.items()))
        conditions = [f"#holders.#job{n} = :token{n}" for n, _ in rows]
        names = {"#holders": "holders", **{f"#job{n}": job_id for n, (job_id, _) in rows}}
        values = {f":token{n}": token for n, (_, token) in rows}
        entry = ""
        if joins is not None:
            entry = "#holders.#joins = :joins, "
            conditions.append("size(#holders) < :room")
            names["#joins"] = joins.job_id
            values |= {":joins": attribute(joins.claim_token), ":room": attribute(limit + len(holders))}
        removed = ", ".join(f"#holders.#job{n}" for n, _ in rows)
        expression = f"REMOVE {removed} SET {entry}#ttl = :ttl"
        return self._update(f"#running/{name}", expression, " AND ".join(conditions), names, values)[0]


def _holders(item: Item) -> Item | None:
    """Return the holders with their tokens as they are stored; ``None`` if there is no record, or one without a map,
    which counts as none.
    """
    found: Item | None = item.get("holders", {}).get("M")
    return found
