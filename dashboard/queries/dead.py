"""Dead letters in groups by kind, exception and place."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from starlette.datastructures import QueryParams

from jobclaim.dashboard.acts import checks_reason
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries.walk import BATCH, HEAVIEST, Found, Walk, find
from jobclaim.dashboard.services import Services
from jobclaim.jobs import InvalidInput, Job, JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import lifecycle
from jobclaim.recovery.dead import VERBS, Filter, Verb, grouped
from jobclaim.settings import Settings
from jobclaim.views.humane import iso
from jobclaim.views.job_filter import known_dead_state, known_kind
from jobclaim.views.records import group_record

LOOKED_AT: Final = 200
"""Most dead letters that one view groups."""
TEXTS: Final = ("task", "queue", "exception", "fingerprint")
STATES: Final = (DeadState.WAITING, DeadState.SCHEDULED, DeadState.RESOLVED, DeadState.ABANDONED)
OPEN: Final = (DeadState.WAITING, DeadState.SCHEDULED)
MOST_AT_ONCE: Final = 10_000
"""Most dead letters of one action on a group; start it again for more."""
FASTEST: Final = 500.0
"""Jobs per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadQuery:
    """A selection of dead letters, as in a URL.

    Attributes
    ----------
    state : DeadState
        Default: those that await a person.
    until : int
        Latest time of failure, epoch milliseconds; 0 for now.
    """

    state: DeadState = DeadState.WAITING
    task: str = ""
    queue: str = ""
    kind: str = ""
    exception: str = ""
    fingerprint: str = ""
    until: int = 0
    cursor: str = ""

    @classmethod
    def of(cls, params: QueryParams | dict[str, str]) -> Self:
        """Read a URL or a form. Raises `InvalidInput`."""
        texts = {name: params.get(name, "").strip()[:300] for name in TEXTS}
        state = known_dead_state(params.get("state", "").strip() or None) or "WAITING"
        if state not in STATES:
            raise InvalidInput(f"state={state!r} is not a state of dead letters; use one of {', '.join(STATES)}")
        return cls(
            state=DeadState(state),
            kind=known_kind(params.get("kind", "").strip() or None) or "",
            until=int(number(params.get("until", ""), "until", 0, most=10**14)),
            cursor=params.get("cursor", ""),
            **texts,
        )

    def filter(self, now: int) -> Filter:
        """Return the filter for `recovery.dead`. Its window always has an end: a repetition selects the same jobs."""
        return Filter(
            task=self.task,
            queue=self.queue,
            kind=self.kind,
            exception=self.exception,
            fingerprint=self.fingerprint,
            until=self.until or now,
            states=(self.state,),
        )

    def parameters(self) -> dict[str, Any]:
        """Return the URL's parameters, without the cursor."""
        given: dict[str, Any] = {name: getattr(self, name) for name in (*TEXTS, "kind", "until")}
        return {name: value for name, value in given.items() if value} | {"state": str(self.state)}


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of the dead letters that one view read.

    Attributes
    ----------
    rows : list of dict
        Records of `jobclaim.views.records.group_record`, the largest first.
    count : int
        Matching dead letters among those read.
    """

    rows: list[dict[str, Any]]
    count: int
    found: Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action on a group.

    Attributes
    ----------
    limit : int
        Maximum number of jobs.
    rate : float
        Maximum number of jobs per second.
    """

    verb: Verb
    query: DeadQuery
    limit: int
    rate: float
    reason: str = ""

    @classmethod
    def of(cls, params: QueryParams | dict[str, str]) -> Self:
        """Read a URL or a form. Raises `InvalidInput`."""
        verb = params.get("verb", "")
        if verb not in VERBS:
            raise InvalidInput(f"verb={verb[:40]!r} is not a verb; use one of {', '.join(VERBS)}")
        query = DeadQuery.of(params)
        if query.state not in OPEN and verb != "retry":
            raise InvalidInput(f"dead letters that are {query.state} can only be retried; use verb=retry")
        if not (query.kind or any(getattr(query, name) for name in TEXTS)):
            raise InvalidInput(
                "name the group by fingerprint, kind, task, queue or exception; to act on all dead letters, use the "
                "command line"
            )
        return cls(
            verb=cast("Verb", verb),
            query=query,
            limit=int(number(params.get("limit", ""), "limit", 1_000, least=1, most=MOST_AT_ONCE)),
            rate=number(params.get("rate", ""), "rate", 10.0, least=0.01, most=FASTEST),
            reason=checks_reason(params.get("reason", "")),
        )

    def cli(self) -> str:
        """Return the equivalent command."""
        query, words = self.query, ["jobclaim", "dead", self.verb]
        for option, value in (
            ("--state", str(query.state)),
            ("--task", query.task),
            ("--queue", query.queue),
            ("--kind", query.kind),
            ("--exception", query.exception),
            ("--fingerprint", query.fingerprint),
            ("--failed-before", iso(query.until)),
            ("--limit", str(self.limit)),
            ("--rate", f"{self.rate:g}"),
            ("--reason", self.reason),
        ):
            words += [option, value] if value else []
        return shlex.join(words)


def budget(settings: Settings) -> Budget:
    """Return the budget: index pages of the shards, and the items at their largest."""
    shards = settings.index_shards
    pages = shards * (2 + LOOKED_AT // 25)
    return Budget(requests=pages + LOOKED_AT // BATCH + 12, read_units=pages + (BATCH + 1) * HEAVIEST)


def read(services: Services, query: DeadQuery, meter: Meter) -> Groups:
    """Group the next matching dead letters: newest first, scheduled ones by their start.

    Raises
    ------
    InvalidInput, StoreUnavailable
    """
    now, settings = services.clock(), services.settings
    selection = query.filter(now)

    def keep(job: Job) -> bool:
        return not lifecycle.is_gone(job, now) and selection.fits(job)

    found = find(services, _walk(query, keep, settings.index_shards), meter)
    rows = [group_record(group) for group in grouped(map(services.shown, found.jobs))]
    return Groups(rows, len(found.jobs), found)


def _walk(query: DeadQuery, keep: Any, shards: int) -> Walk:
    scheduled = query.state is DeadState.SCHEDULED
    settled = query.state not in OPEN
    partitions = [
        schema.retry_key(shard)
        if scheduled
        else schema.concluded_key(shard)
        if settled
        else schema.closed_key(JobStatus.FAILED, shard)
        for shard in range(shards)
    ]
    return Walk(
        partitions=partitions,
        scope=f"dead letters, {query.state}",
        keep=keep,
        limit=LOOKED_AT,
        newest_first=not scheduled,
        cursor=query.cursor or None,
        up_to=None if scheduled or not query.until else query.until,
        looked_at=LOOKED_AT,
    )


def number(text: str, name: str, default: float, *, least: float = 0, most: float) -> float:
    """Read a number from a form; an empty field means the default. Raises `InvalidInput`."""
    if not text.strip():
        return default
    try:
        found = float(text[:30])
    except ValueError:
        found = float("nan")
    if not least <= found <= most:
        raise InvalidInput(f"{name}={text[:30]!r} must be a number from {least:g} to {most:g}")
    return found
