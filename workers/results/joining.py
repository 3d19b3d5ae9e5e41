"""Run the job of a chord: join its members' results, and start the body or fail it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from celery import Celery
from celery.canvas import group, maybe_signature
from celery.exceptions import ChordError
from celery.result import allow_join_result

from jobclaim.jobs import OffloadLost
from jobclaim.jobs.protocol import lifecycle
from jobclaim.workers.messages import links
from jobclaim.workers.results import followups, waiting
from jobclaim.workers.results import header as headers
from jobclaim.workers.results.chords import LOOK_SECONDS, job_id_of


def run_chord(
    self: Any,
    group_id: str,
    body: Any,
    results: list[Any] | None = None,
    sheets: int = 0,
    plain: Sequence[str] | bool = (),
) -> str:
    """Submit the body when every member has ended; fail it if one of them failed or will never end.

    Parameters
    ----------
    results : list, optional
        Results of the header; default: read from ``sheets`` notes.
    plain : sequence of str, or bool
        Members that may be plain tasks; ``True`` for all.

    Returns
    -------
    str
        Id of the body.

    Raises
    ------
    celery.exceptions.ChordError
        A member failed, its result is lost, or the body was refused. The body's result has the same error; if the
        member is repaired, the body runs after all.
    """
    callback = maybe_signature(body, app=self.app)
    header = headers.read(self.app, group_id, results, sheets)
    if header is None:
        _fail_body(self.app, callback, "The list of its members has expired; submit the chord again")
    missing = _not_ended(self.app, callback, header)
    if missing and (lost := _lost(self, group_id, missing, plain)):
        # a member may have ended between these two looks; its result is stored before it is counted
        missing = _not_ended(self.app, callback, header)
        if lost := [leaf.id for leaf in missing if leaf.id in lost]:
            total = sum(1 for _ in headers.leaves(header.results))
            _fail_body(self.app, callback, waiting.explain(lost, total))
    if missing:
        self.snooze(LOOK_SECONDS, reason="some of its members have not ended")
    try:
        with allow_join_result():
            values = header.join(propagate=True)
    except Exception as error:  # noqa: BLE001 - a member may have raised anything
        _fail_body(self.app, callback, _blame(header, error), error)
    _start_body(self.app, callback, values, _last_of(header))
    return str(callback.id)


def _not_ended(app: Celery, callback: Any, header: Any) -> list[Any]:
    try:
        return headers.not_ended(app, header)
    except OffloadLost as error:
        _fail_body(app, callback, f"The result of a member is lost: {error!r}", error)


def _start_body(app: Celery, callback: Any, values: list[Any], parent_id: str | None) -> None:
    try:
        with followups.submitting() as refused:
            callback.apply_async((values,), parent_id=parent_id)
    except followups.PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - a task's own checks may raise anything
        _fail_body(app, callback, f"Callback error: {error!r}", error)
    if refused:  # the body has failed under its own id
        raise ChordError(f"Callback error: {refused[0]!r}") from refused[0]


def _lost(self: Any, group_id: str, missing: Sequence[Any], plain: Sequence[str] | bool) -> list[str]:
    """Return the members that will never end, from the jobs of the missing ones and of their ancestors."""
    repo, notes = self.app.jobclaim.repo, self.app.backend.notes
    now, names = repo.clock(), [links.original_id(leaf.id) for leaf in missing]
    ids = [*names, *(leaf.id for leaf in missing)]
    for leaf in missing:
        ids += waiting.ancestors(leaf, job_id_of)
    if submitter := self.request.parent_id:
        ids.append(submitter)
    jobs = repo.table.get_many(ids, consistent=True)
    return waiting.lost(
        missing,
        {job_id: job for job_id, job in jobs.items() if not lifecycle.is_gone(job, now)},
        counted=notes.arrived(group_id, names),
        plain={leaf.id for leaf in missing} if plain is True else set(plain or ()),
        announced=notes.is_announced(group_id),
        submitter=jobs.get(submitter) if submitter else None,
        begun_at=self.request.job.created_at,
        now=now,
        chord_job_id=job_id_of,
    )


def _fail_body(app: Celery, callback: Any, message: str, cause: BaseException | None = None) -> NoReturn:
    failed = ChordError(message)
    failed.__cause__ = cause
    # Celery passes the member's own error to a body that is a group
    followups.fail(app, callback, cause if cause is not None and isinstance(callback, group) else failed)
    raise failed from cause


def _blame(header: Any, error: Exception) -> str:
    culprit = next((leaf.id for leaf in headers.leaves(header.results) if not leaf.successful()), "?")
    return f"Dependency {culprit} raised {error!r}"


def _last_of(header: Any) -> str | None:
    return next((leaf.id for leaf in reversed(list(headers.leaves(header.results)))), None)
