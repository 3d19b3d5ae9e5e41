"""The filters of the list of jobs: each is part of the URL, so that a view can be bookmarked and shared."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, Self, TypeAlias

from starlette.datastructures import QueryParams

from jobclaim.dashboard.forms import refuse_unknown_names
from jobclaim.jobs import InvalidInput, JobStatus, checks
from jobclaim.settings import Settings
from jobclaim.views import humane
from jobclaim.views.job_filter import JobFilter, known_dead_state, known_kind

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
