"""Celery's result backend on the job table: a job's outcome is its result, and there is no second store.

::

    JobTask     the job itself: state, result, failure
    plain task  the host's own result backend; where there is none, a note under ``result``, kept like a job
    group       a note under ``group``, only if `GroupResult.save` is called
    chord       a note under ``chord`` that counts finished members; `jobclaim.workers.results.joining` runs the body

A callback is sent before the result is written, an error callback after it. Nothing follows for a job whose claim has
ended: after a write that the fence refused, nothing is sent.
"""

from __future__ import annotations

from typing import Any

from celery import states
from kombu.exceptions import EncodeError

from jobclaim.jobs import (
    InvalidPayload,
    Job,
    OffloadLost,
    StoreUnavailable,
)
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Failure
from jobclaim.jobs.storage.notes import Kind
from jobclaim.workers.attempt import handing, running
from jobclaim.workers.attempt.coroutines import refuse_awaitable
from jobclaim.workers.attempt.ending import BY_ITSELF
from jobclaim.workers.attempt.original import original
from jobclaim.workers.attempt.outcome import record_cancelled, record_failure, record_success
from jobclaim.workers.messages import links
from jobclaim.workers.messages.message import TOKEN, address
from jobclaim.workers.results import chords, header, notifying
from jobclaim.workers.results import states as own_states
from jobclaim.workers.results.meta import error_of
from jobclaim.workers.results.stored import StoredResults
from jobclaim.workers.state import worker

log = get_logger("jobclaim.worker")


class JobBackend(StoredResults):
    """Celery's backend whose results are jobs. Called by the child on success and failure, and by the main process for
    outcomes that no child can record.
    """

    # --- a task's outcome
    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Complete the request's job, whether or not the task ignores its result: the job's state must be correct."""
        job_id, token = _claim(request)
        if job_id is None:
            _refuse_awaitable(result, request)
            super().mark_as_done(task_id, result, request, store_result, state)
        elif _saw_cancel(request):
            self.cancel_job(request, BY_ITSELF)
        else:
            try:
                job = self._complete(request, job_id, token, result)
            except InvalidPayload as error:
                raise EncodeError(f"the task's return value cannot be stored: {error}") from error
            if job and request.chord:
                self._count_completed(request, state, result)

    def _complete(self, request: Any, job_id: str, token: str, result: Any) -> Job | None:
        """Record a success; ``None`` if its claim has ended, or if it is planned, to be written after the tracer."""
        if completed := getattr(request, "completed", None):
            return completed  # type: ignore[no-any-return]  # with its effects
        repo, ttl = self.app.jobclaim.repo, getattr(request, "result_ttl", None)
        if getattr(request, "job", None) is not None and handing.is_possible(self.app.tasks[request.task], request):
            request.planned = handing.plan(repo, job_id, token, result, ttl)
            return None
        return record_success(repo, job_id, token, result, ttl)

    def _count_completed(self, request: Any, state: str, result: Any) -> None:
        """Count a chord's member whose success is stored. An error is logged, because Celery would fail the member for
        it.

        The chord also checks its members from time to time, and will find it ended.
        """
        try:
            self.on_chord_part_return(request, state, result)
        except StoreUnavailable as error:
            log.warning("chord.not_notified", group_id=request.group, error=type(error).__name__)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Fail the request's job, then notify its links: its chord, the rest of its chain, its error callbacks.

        In a worker's main process, which tries again, `StoreUnavailable` is raised, and callbacks of user code do not
        run.
        """
        (job_id, token), in_child = _claim(request), _in_child()
        handing.record_here(self.app.jobclaim.repo, request)
        if job_id is None:
            super().mark_as_failure(task_id, original(exc), traceback, request, store_result, call_errbacks, state)
        elif _saw_cancel(request):
            self.cancel_job(request, exc)
        elif (
            job := record_failure(self.app.jobclaim.repo, job_id, token, _raised(request, exc), retry=not in_child)
        ) and links.is_news(job):
            if in_child:
                self.notify_links(job, exc, traceback, call_errbacks=call_errbacks)
            else:
                notifying.notify(self.app, job)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Notify the links of a job that was cancelled; its outcome has been recorded."""
        job_id, _ = _claim(request)
        if job_id is None:
            super().mark_as_revoked(task_id, reason, request, store_result, state)
            return
        job = self._job(job_id)
        if job is not None:
            notifying.notify(self.app, job)

    def cancel_job(self, request: Any, reason: BaseException | str) -> None:
        """Cancel the request's job, then notify its links."""
        job_id, token = _claim(request)
        assert job_id is not None
        job = record_cancelled(self.app.jobclaim.repo, job_id, token, reason)
        if job is not None and (job.envelope or job.task == links.CHORD_TASK):
            self.notify_links(job, error_of(job), call_errbacks=False, state=states.REVOKED)

    def notify_links(
        self,
        job: Job,
        error: BaseException | None,
        traceback: Any = None,
        *,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Notify the links of a job that failed or was cancelled, by Celery's rules."""
        try:
            request = links.context(job, self.app.jobclaim.repo.large)
        except OffloadLost as lost:
            log.error("links.lost", reason=str(lost), **job.log_context())
            return
        super().mark_as_failure(
            job.job_id, error, traceback, request, store_result=True, call_errbacks=call_errbacks, state=state
        )
        if job.task == links.CHORD_TASK and error is not None:
            chords.fail_for(self.app, job, error)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """Write the note of a plain task; a job's own states are written where they change.

        A state that Celery does not know is the progress of a running job: it is written to the job.
        """
        _note(request, task_id, state, result)
        if own_states.take(self.app, task_id, state, result, request):
            return result
        if _claim(request)[0] is None and not _is_of_job(request):
            if self.plain is not None:
                return self.plain.store_result(task_id, result, state, traceback=traceback, request=request)
            prepared, most = super().encode_result(result, state), self.app.jobclaim.settings.max_result_bytes
            if isinstance(result, BaseException):
                meta = self._get_result_meta(prepared, state, traceback, request)
            else:
                try:
                    meta = self._get_result_meta(
                        self.app.jobclaim.repo.large.fitting(prepared, "result", most), state, traceback, request
                    )
                except InvalidPayload as error:
                    raise EncodeError(f"the result of {task_id} cannot be stored: {error}") from error
            self.notes.put(Kind.RESULT, task_id, self.encode(meta), seconds=self.expires or self.kept_seconds())
        return result

    def encode_result(self, result: Any, state: str) -> Any:
        """Leave values and exceptions unchanged: the job has its own encoding for both."""
        return result

    # --- chords
    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """Write the chord as a job of its own, before its header is sent."""
        group_id, results = header_result_args
        results = list(results)
        chords.begin(self.app, group_id, results, body)
        self.notes.plan(group_id, header.member_ids(results), seconds=self.kept_seconds())

    def has_begun(self, group_id: str) -> bool:
        """Return whether a chord's own job was written."""
        return self._job(chords.job_id_of(group_id)) is not None

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Set the number of members; called before the last of them is sent."""
        if self.notes.expect(group_id, chord_size, seconds=self.kept_seconds()).complete:
            chords.wake(self.app, group_id)  # an interrupted attempt had sent the header already

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Count a member that ended, with any outcome; the last one makes the chord check its results at once."""
        if not request.group or not request.id:
            return
        member = links.original_id(request.id)
        if self.notes.arrive(request.group, member, seconds=self.kept_seconds()).complete:
            chords.wake(self.app, request.group)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Refuse to add a member to a running chord, as most of Celery's backends do.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError(
            f"a member cannot be added to the running chord {chord_id!r}: its members are fixed when it is submitted. "
            "Replace the task by a group instead: raise self.replace(group(...))"
        )


def _refuse_awaitable(result: Any, request: Any) -> None:
    """Fail a plain task that returned a coroutine: Celery would record a success if the result is ignored."""
    try:
        refuse_awaitable(result, str(getattr(request, "task", "")))
    except TypeError as error:
        raise EncodeError(str(error)) from error


def _saw_cancel(request: Any) -> bool:
    """Return whether `JobTask.cancelled` returned true to the body: then the cancel caused its end."""
    return bool(getattr(request, "cancel_seen", False))


def _note(request: Any, task_id: str, state: str, result: Any) -> None:
    """Keep the state that a body sets for its own task by ``update_state``: it is the outcome if the body then raises
    `Ignore`.
    """
    if request and request.id == task_id:
        request.final_state = (state, result)


def _raised(request: Any, exc: BaseException) -> BaseException | Failure:
    """Return the exception that ended the attempt; Celery substitutes another one for what cannot be pickled."""
    return getattr(request, "failed_by", None) or original(exc)


def _is_of_job(request: Any) -> bool:
    """Return whether a request belongs to a job, claimed or not."""
    return bool(request) and address(request) is not None


def _claim(request: Any) -> tuple[str | None, str]:
    """Return the job that a request holds, and the claim's token; ``None`` for a plain task."""
    if (claimed := getattr(request, "job", None)) is not None:
        return claimed.job_id, claimed.claim_token
    where = address(request) if request else None
    token = request.get(TOKEN) if where else None
    return (where.job_id, token) if where and token else (None, "")


def _in_child() -> bool:
    """Return whether this code runs where bodies run: in a child, or in a thread of the main process that runs one."""
    return worker.current().owner is None or running.current() is not None
