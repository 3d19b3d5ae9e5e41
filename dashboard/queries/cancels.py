"""Cancel the open jobs of a list: which jobs, and how fast."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from jobclaim.dashboard.acts import checks_reason
from jobclaim.dashboard.queries.dead import FASTEST, MOST_AT_ONCE, number
from jobclaim.dashboard.queries.job_query import MOST_PER_PAGE, PER_PAGE, JobQuery
from jobclaim.jobs import InvalidInput
from jobclaim.recovery.cancels import OpenJobs
from jobclaim.settings import Settings
from jobclaim.views.humane import iso

CANCEL: Final = "cancel"
OWN: Final = frozenset({"most", "rate", "reason", "key", "verb"})
"""Parameters of a cancellation's URLs that are not filters of the list."""


def is_possible(query: JobQuery) -> bool:
    """Return whether a list has a filter and open jobs only, so that "Cancel these" is well defined.

    Text in arguments or errors is not such a filter: the list searches the values as shown, but a cancellation would
    search hidden values too.
    """
    narrowed = query.parameters().keys() - {"status", "order", "limit"}
    return bool(narrowed) and not narrowed & {"argument", "error"} and all(status.is_open for status in query.status)


BEYOND_COMMAND: Final = frozenset({"kind", "exception", "fingerprint", "state", "tag", "idempotency_key"})
"""Filters that `jobclaim cancel` lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelQuery:
    """A cancellation, as in a URL or a form.

    Attributes
    ----------
    query : JobQuery
        Filter with a fixed end: jobs that are submitted after its preview are not cancelled.
    most : int
        Maximum number of jobs.
    rate : float
        Maximum number of jobs per second.
    """

    query: JobQuery
    most: int
    rate: float
    reason: str = ""

    @classmethod
    def of(cls, params: QueryParams, settings: Settings, now: int) -> Self:
        """Read a URL. Raises `InvalidInput`."""
        kept = [(name, value) for name, value in params.multi_items() if name not in OWN]
        query = JobQuery.of(QueryParams(kept), settings)
        if not is_possible(query):
            raise InvalidInput(
                "name the open jobs to cancel by task, queue, worker, id, key, tag or time; to cancel all jobs, use "
                "`jobclaim cancel --all`"
            )
        fits = query.filter(now)
        until = min(fits.submitted_before or now, now)
        query = replace(query, since="", after=iso(fits.submitted_after or 0) or "", before=iso(until) or "")
        return cls(
            query=replace(query, limit=MOST_PER_PAGE, cursor=""),
            most=int(number(params.get("most", ""), "most", 1_000, least=1, most=MOST_AT_ONCE)),
            rate=number(params.get("rate", ""), "rate", 50.0, least=0.01, most=FASTEST),
            reason=checks_reason(params.get("reason", "")),
        )

    @classmethod
    def of_form(cls, fields: Mapping[str, str], settings: Settings, now: int) -> Self:
        """Read a form, which holds the filter in one field. Raises `InvalidInput`."""
        own = [(name, fields.get(name, "")) for name in ("most", "rate", "reason")]
        return cls.of(QueryParams([*QueryParams(fields.get("filter", "")).multi_items(), *own]), settings, now)

    def filter_text(self) -> str:
        """Return the filter as one field of a form."""
        return urlencode(replace(self.query, limit=PER_PAGE).parameters(), doseq=True)

    def parameters(self) -> dict[str, Any]:
        """Return the URL's parameters."""
        own = {"most": self.most, "rate": f"{self.rate:g}", "reason": self.reason}
        return {**replace(self.query, limit=PER_PAGE).parameters(), **own}

    def selection(self, now: int) -> OpenJobs:
        """Return the selection for `jobclaim.recovery.cancels`."""
        fits = self.query.filter(now)
        kept = replace(self.query, limit=PER_PAGE, order="").parameters() | {"status": self.query.status}
        return OpenJobs(
            what=" ".join(f"{name}={_word(value)}" for name, value in kept.items()),
            states=self.query.status,
            queues=self.query.queue,
            submitted_before=fits.submitted_before or now,
            fits=lambda job: fits.fits(job, now),
        )

    def cli(self) -> str:
        """Return the equivalent command; empty if the command lacks one of the filters, and would match more jobs."""
        query, words = self.query, ["jobclaim", "cancel"]
        if len(query.queue) > 1 or query.parameters().keys() & BEYOND_COMMAND:
            return ""
        for option, value in (
            *(("--queue", name) for name in query.queue[:1]),
            *(("--state", str(status)) for status in query.status),
            ("--task", query.task),
            ("--worker", query.worker),
            ("--id", query.id),
            ("--submitted-after", query.after),
            ("--submitted-before", query.before),
            ("--limit", str(self.most)),
            ("--rate", f"{self.rate:g}"),
            ("--reason", self.reason),
        ):
            words += [option, value] if value else []
        return shlex.join(words)


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
