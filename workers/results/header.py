"""The header of a chord: the results of its members, stored in the chord's own job, or in notes if it is long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from celery import Celery
from celery.result import result_from_tuple
from celery.states import READY_STATES
from kombu.utils.json import loads

from jobclaim.jobs.storage.notes import SEPARATOR, Kind

INLINE: Final = 20_000
"""Limit of a header in the chord's job, characters; each KB costs a write unit per move, so longer ones go to notes."""
SHEET: Final = 300_000
"""Limit of a header's part in one note, characters: DynamoDB's limit is 400 KB."""


def member_ids(results: list[Any]) -> list[str]:
    """Return the ids of the members of a header, including those of its groups."""
    return [leaf.id for leaf in leaves(results)]


def leaves(results: Any) -> Iterator[Any]:
    """Iterate over the members, including those of groups."""
    for member in results:
        if hasattr(member, "results"):
            yield from leaves(member.results)
        else:
            yield member


def is_job(result: Any) -> bool:
    """Return whether a result and all its parents are known to be those of jobs."""
    if hasattr(result, "results"):
        own = all(is_job(member) for member in result.results)
    else:
        own = getattr(result, "is_job", False)
    return own and (result.parent is None or is_job(result.parent))


def write(app: Celery, group_id: str, text: str) -> int:
    """Write a header that does not fit the chord's job; return the number of its notes."""
    sheets = [text[start : start + SHEET] for start in range(0, len(text), SHEET)]
    for number, sheet in enumerate(sheets):
        app.backend.notes.put(Kind.HEADER, f"{group_id}{SEPARATOR}{number}", sheet, seconds=app.backend.kept_seconds())
    return len(sheets)


def read(app: Celery, group_id: str, results: list[Any] | None, sheets: int) -> Any:
    """Make the group of a header's results, from its notes if it is not given; ``None`` if those are past retention."""
    if results is None:
        found = [app.backend.notes.get(Kind.HEADER, f"{group_id}{SEPARATOR}{number}") for number in range(sheets)]
        if None in found:
            return None
        results = loads("".join(map(str, found)))
    return app.GroupResult(group_id, [result_from_tuple(result, app) for result in results])


def not_ended(app: Celery, header: Any) -> list[Any]:
    """Read all members at once, and return those that have not ended; the others are not read again when they are
    joined.
    """
    members = list(leaves(header.results))
    metas = app.backend.metas([leaf.id for leaf in members])
    missing = []
    for leaf in members:
        meta = metas.get(leaf.id)
        if meta is None or meta["status"] not in READY_STATES:
            missing.append(leaf)
        else:
            leaf._maybe_set_cache(meta)
    return missing
