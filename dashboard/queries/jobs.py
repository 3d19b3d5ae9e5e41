"""The list of jobs: every filter is part of the URL, so that a view can be bookmarked and shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, Self, TypeAlias

from starlette.datastructures import QueryParams

from jobclaim.dashboard.forms import refuse_unknown_names
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries.walk import BATCH, HEAVIEST, LOOKED_AT, Found, Walk, find
from jobclaim.dashboard.services import Services
from jobclaim.jobs import InvalidInput, Job, JobStatus, checks
from jobclaim.jobs.encoding.item import LATEST_MS
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.listing import state_keys
from jobclaim.settings import Settings
from jobclaim.views import humane
from jobclaim.views.job_filter import JobFilter, known_dead_state, known_kind
from jobclaim.views.records import job_record, redacted, remark_on

Order: TypeAlias = Literal["oldest", "newest"]
OPEN: Final = (JobStatus.PROCESSING, JobStatus.PENDING)
PER_PAGE: Final = 50
MOST_PER_PAGE: Final = 200
TEXTS: Final = ("task", "worker", "exception", "fingerprint", "id", "idempotency_key", "argument", "error")
LONGEST: Final = 300
"""Longest filter, characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Filters of a list, as in a URL. Empty means any.

    Attributes
    ----------
    status : tuple of JobStatus
        Default: running and waiting jobs.
    queue : tuple of str
    task, id : str
        ``*`` matches any characters.
    kind, exception, fingerprint, state : str
        Filters on the failure: its kind, its exception's type or the last part of it, its fingerprint, its dead state.
    worker : str
        Worker that claimed it.
    idempotency_key : str
        ``*`` matches any characters.
    tag : tuple of str
        Tags that a job must all have.
    argument, error : str
        Text in its arguments as they are shown, or in a failure's exception, message or place.
    since, after, before : str
        Submitted between these times, as people write them: ``10m``, ``2h ago``, ``yesterday``, ``14:30``; UTC.
    order : str
        By due time, or end: ``oldest`` or ``newest`` first; default oldest first for open jobs, newest first for
        ended ones.
    """

    status: tuple[JobStatus, ...] = OPEN
    queue: tuple[str, ...] = ()
    task: str = ""
    kind: str = ""
    worker: str = ""
    exception: str = ""
    fingerprint: str = ""
    state: str = ""
    id: str = ""
    idempotency_key: str = ""
    tag: tuple[str, ...] = ()
    argument: str = ""
    error: str = ""
    since: str = ""
    after: str = ""
    before: str = ""
    order: str = ""
    limit: int = PER_PAGE
    cursor: str = ""

    @classmethod
    def of(cls, params: QueryParams, settings: Settings) -> Self:
        """Read a URL's parameters. Raises `InvalidInput`, which names the valid names and values."""
        refuse_unknown_names(params, (field.name for field in fields(cls)))
        texts = {name: params.get(name, "").strip() for name in (*TEXTS, "since", "after", "before", "cursor")}
        for name in TEXTS:
            if len(texts[name]) > LONGEST:
                raise InvalidInput(f"{name} has {len(texts[name])} characters; at most {LONGEST} are allowed")
        known = tuple(dict.fromkeys(_status(word) for word in params.getlist("status") if word.strip()))
        queues = tuple(dict.fromkeys(name for name in params.getlist("queue") if name))
        for name in queues:
            if name not in settings.queue_names:
                raise InvalidInput(
                    f"queue {name!r} is not among the queues {list(settings.queue_names)}; use one of these"
                )
        return cls(
            status=known or OPEN,
            queue=queues,
            tag=checks.tags(name.strip() for name in params.getlist("tag") if name.strip()),
            kind=known_kind(params.get("kind", "").strip() or None) or "",
            state=known_dead_state(params.get("state", "").strip() or None) or "",
            order=_order(params.get("order", "")),
            limit=_limit(params.get("limit", "")),
            **texts,
        )

    def filter(self, now: int) -> JobFilter:
        """Return the filters that the index cannot apply. Raises `InvalidInput` for an invalid time."""
        since, after, before = (_past(name, getattr(self, name), now) for name in ("since", "after", "before"))
        return JobFilter(
            task=self.task or None,
            kind=self.kind or None,
            worker_id=self.worker or None,
            job_id=self.id or None,
            exception=self.exception or None,
            fingerprint=self.fingerprint or None,
            dead_state=self.state or None,
            submitted_after=max((at for at in (after, since) if at), default=None),
            submitted_before=before,
            key=self.idempotency_key or None,
            tags=self.tag,
            argument=self.argument or None,
            error=self.error or None,
        )

    @property
    def newest_first(self) -> bool:
        """Return whether the index is read backwards."""
        return self.order == "newest" if self.order else not all(status.is_open for status in self.status)

    def parameters(self) -> dict[str, Any]:
        """Return the URL's parameters, without the cursor and default values."""
        rest = (
            "task",
            "kind",
            "worker",
            "exception",
            "fingerprint",
            "state",
            "id",
            "idempotency_key",
            "argument",
            "error",
            "since",
            "after",
            "before",
            "order",
        )
        given: dict[str, Any] = {name: value for name in rest if (value := getattr(self, name))}
        if self.status != OPEN:
            given["status"] = [str(status) for status in self.status]
        if self.queue:
            given["queue"] = list(self.queue)
        if self.tag:
            given["tag"] = list(self.tag)
        if self.limit != PER_PAGE:
            given["limit"] = self.limit
        return given


@dataclass(frozen=True, slots=True)
class JobList:
    """One page of the list.

    Attributes
    ----------
    rows : list of dict
        Records of `jobclaim.views.records.job_record`, each with a ``remark``.
    notes : list of str
        Remarks on the list.
    """

    rows: list[dict[str, Any]]
    found: Found
    notes: list[str]


def budget(settings: Settings) -> Budget:
    """Return the budget of a list: its partitions twice, and the items of one view at their largest."""
    shards = settings.index_shards
    partitions = shards * (len(settings.queues) + 5)
    batches = LOOKED_AT // BATCH + 12
    return Budget(requests=2 * partitions + batches, read_units=2 * partitions + (BATCH + 1) * HEAVIEST)


def read(services: Services, query: JobQuery, meter: Meter) -> JobList:
    """Read one page. Raises `InvalidInput`, `StoreUnavailable`."""
    settings, now = services.settings, services.clock()
    job_filter, notes = query.filter(now), []
    listed = [status for status in query.status if status is not JobStatus.COMPLETED or settings.index_completed]
    if len(listed) < len(query.status):
        notes.append(
            "Completed jobs are not listed in this table: JOBCLAIM_INDEX_COMPLETED=true lists those that complete from "
            "then on, for one more write unit per job. A job's own page shows a completed one in any case."
        )
    if not listed:
        return JobList([], Found(()), notes)
    shown = services.shown if job_filter.argument or job_filter.error else None
    found = find(services, _walk(query, listed, job_filter, settings, now, shown), meter)
    rows = [record(services, job, now) for job in found.jobs]
    return JobList(rows, found, notes)


def record(services: Services, job: Job, now: int) -> dict[str, Any]:
    """Build the record of a job as pages and the API show it, with a remark on its state."""
    fields = job_record(services.shown(job), payload=True)
    if not services.settings.dashboard_arguments:
        fields["payload"] = redacted(job.payload)
    return {**fields, "remark": remark_on(fields, now)}


def _walk(
    query: JobQuery,
    listed: Sequence[JobStatus],
    job_filter: JobFilter,
    settings: Settings,
    now: int,
    shown: Callable[[Job], Job] | None,
) -> Walk:
    """Build the walk of a query. Filters see jobs as they are ``shown``, or a text search would reveal what is
    redacted.
    """
    queues = list(query.queue or settings.queue_names)
    partitions = dict.fromkeys(key for status in listed for key in state_keys(status, queues, settings.index_shards))
    closed = not any(status.is_open for status in listed)

    def keep(job: Job) -> bool:
        return (
            job.status in listed
            and (not query.queue or job.queue in query.queue)
            and not lifecycle.is_gone(job, now)
            and job_filter.fits(shown(job) if shown else job, now)
        )

    # closed jobs are indexed by their end: one that ended before `submitted_after` was submitted before it, too
    since = job_filter.submitted_after if closed else None
    return Walk(
        partitions=list(partitions),
        scope=f"{' '.join(map(str, listed))} in {' '.join(queues)}, newest first: {query.newest_first}",
        keep=keep,
        limit=query.limit,
        newest_first=query.newest_first,
        cursor=query.cursor or None,
        since=since,
        up_to=LATEST_MS if since is not None else None,
    )


def choices(settings: Settings) -> Mapping[str, list[str]]:
    """Return the choices of each filter."""
    from jobclaim.jobs import FailureKind
    from jobclaim.jobs.model import DeadState

    return {
        "status": [str(status) for status in JobStatus],
        "queue": list(settings.queue_names),
        "kind": [str(kind) for kind in FailureKind],
        "state": [str(state) for state in DeadState],
        "order": ["oldest", "newest"],
    }


def _status(word: str) -> JobStatus:
    try:
        return JobStatus(word.strip().upper())
    except ValueError:
        raise InvalidInput(
            f"status={word!r} is not a status; use one of {[str(status) for status in JobStatus]}"
        ) from None


def _order(word: str) -> str:
    if word not in ("", "oldest", "newest"):
        raise InvalidInput(f"order={word!r} is not an order; use oldest or newest")
    return word


def _limit(word: str) -> int:
    if not word:
        return PER_PAGE
    if not (word.isascii() and word.isdigit() and 1 <= int(word[:6]) <= MOST_PER_PAGE and len(word) <= 6):
        raise InvalidInput(f"limit={word[:20]!r} must be a number from 1 to {MOST_PER_PAGE}")
    return int(word)


def _past(name: str, text: str, now: int) -> int | None:
    try:
        return humane.past(text, now) if text else None
    except ValueError as error:
        raise InvalidInput(f"{name}: {error}") from None


def command_line(query: JobQuery) -> str:
    """Return the equivalent command, as far as it has the same filters."""
    import shlex

    words = ["jobclaim", "list"]
    if len(query.status) == 1:
        words += ["--status", str(query.status[0])]
    pairs = [
        *(("-q", query.queue[0] if len(query.queue) == 1 else ""), ("--task", query.task), ("--kind", query.kind)),
        *(
            ("--worker", query.worker),
            ("--id", query.id),
            ("--key", query.idempotency_key),
            ("--argument", query.argument),
        ),
        *(("--error", query.error), ("--since", query.since or query.after), ("--until", query.before)),
        *(("--tag", tag) for tag in query.tag),
    ]
    for option, value in pairs:
        words += [option, value] if value else []
    return shlex.join(words)
