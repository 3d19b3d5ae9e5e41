"""Results as they are stored and read: jobs, notes of plain tasks, and the host's own backend beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Final

from celery import states
from celery.app import backends
from celery.backends.base import BaseBackend
from celery.exceptions import TimeoutError as ResultTimeout
from celery.result import result_from_tuple

from jobclaim.jobs import (
    InvalidInput,
    Job,
    JobNotFound,
    JobRepo,
    JobStatus,
    StoreUnavailable,
)
from jobclaim.jobs.idempotency import ROUNDS
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.notes import Kind, Notes
from jobclaim.jobs.transitions import Move
from jobclaim.workers.results import states as own_states
from jobclaim.workers.results.meta import UNKNOWN, meta_of, successor_of, with_result

FIRST_PAUSE: Final = 0.05
PAUSE_SHARE: Final = 0.1
"""A waiting caller reads again after this share of the time that it has waited already."""
LONGEST_PAUSE_FACTOR: Final = 10
"""Longest pause, times the caller's ``interval``: with Celery's default of half a second, five seconds."""


class StoredResults(BaseBackend):
    """Reads results, waits for them and deletes them, for `jobclaim.workers.results.backend.JobBackend`."""

    _notes: tuple[JobRepo, Notes] | None = None
    persistent = True
    supports_autoexpire = True
    supports_native_join = True

    @cached_property
    def plain(self) -> Any | None:
        """The host's own backend, which stores the results of plain tasks; ``None`` if none is configured."""
        configured = self.app.conf.result_backend
        if not configured or str(configured).startswith("disabled"):
            return None
        backend, url = backends.by_url(configured, self.app.loader)
        return None if issubclass(backend, StoredResults) else backend(app=self.app, url=url)

    @property
    def notes(self) -> Notes:
        """The notes in the job table."""
        repo = self.app.jobclaim.repo
        if self._notes is None or self._notes[0] is not repo:
            self._notes = (repo, Notes.of(repo))  # kept, because it caches chords
        return self._notes[1]

    def meta_of(self, job: Job) -> dict[str, Any]:
        """Return the meta data of a result whose job was read already."""
        return meta_of(job)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        job = self._job(task_id)
        if job is not None:
            meta = own_states.with_abort(meta_of(with_result(job, self.app.jobclaim.repo.large)), job)
            successor = successor_of(meta)
            return self._get_task_meta_for(successor) if successor else meta
        if (text := self.notes.get(Kind.RESULT, task_id)) is not None:
            return self._from_note(text)
        return dict(UNKNOWN) if self.plain is None else self.plain.get_task_meta(task_id, cache=False)

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> Any:
        """Wait for a result, reading less often the longer it takes; the result is returned at most a tenth late.

        Raises
        ------
        celery.exceptions.TimeoutError
            There was no result within ``timeout`` seconds.
        """
        for _ in _pauses(timeout, interval, on_interval):
            meta = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                return meta
        raise ResultTimeout(
            f"task {task_id} did not end within {timeout} s; call get() again to wait longer, or see `jobclaim show "
            f"{task_id}`"
        )

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        **_: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the results of many tasks as they become ready, a hundred jobs per request. Raises as `wait_for`."""
        waiting = list(dict.fromkeys(task_ids))
        for _turn in _pauses(timeout, interval, on_interval):
            for task_id, meta in self.metas(waiting).items():
                if meta["status"] in states.READY_STATES:
                    waiting.remove(task_id)
                    if on_message is not None:
                        on_message({"task_id": task_id, **meta})
                    yield task_id, meta
            if not waiting:
                return
        raise ResultTimeout(f"{len(waiting)} tasks did not end within {timeout} s; the first is {waiting[0]}")

    def metas(self, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Read the meta data of many tasks, consistently; unknown ones are left out.

        Large results are read from S3, large payloads are not. Raises as `with_result`.
        """
        repo, ids = self.app.jobclaim.repo, list(task_ids)
        now, jobs = repo.clock(), repo.table.get_many(ids, consistent=True)
        found = {
            job_id: meta_of(with_result(job, repo.large))
            for job_id, job in jobs.items()
            if not lifecycle.is_gone(job, now)
        }
        found |= {
            job_id: self._get_task_meta_for(successor)
            for job_id, meta in found.items()
            if (successor := successor_of(meta))
        }
        notes = self.notes.get_many(Kind.RESULT, [task_id for task_id in ids if task_id not in found])
        found |= {task_id: self._from_note(text) for task_id, text in notes.items()}
        if self.plain is not None:
            rest = {one: self.plain.get_task_meta(one, cache=False) for one in ids if one not in found}
            found |= {one: meta for one, meta in rest.items() if meta["status"] != states.PENDING}
        return found

    def _forget(self, task_id: str) -> None:
        """Delete a result: a note is deleted, and a completed job is treated as past retention.

        A job that failed or is open stays: it is evidence, and may need an action.
        """
        repo = self.app.jobclaim.repo
        for _ in range(ROUNDS):
            job = self._job(task_id)
            if job is None:
                self.notes.delete(Kind.RESULT, task_id)
                if self.plain is not None:
                    self.plain.forget(task_id)
                return
            if job.status is not JobStatus.COMPLETED:
                return
            if repo.table.apply(job, Move.FORGET, lifecycle.dropped(job, repo.clock())).applied:
                return
        raise StoreUnavailable(f"job {task_id!r} changed {ROUNDS} times while its result was forgotten; try again")

    def _save_group(self, group_id: str, result: Any) -> Any:
        text = self.encode(result.as_tuple())
        self.notes.put(Kind.GROUP, group_id, text, seconds=self.expires or self.kept_seconds())
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        text = self.notes.get(Kind.GROUP, group_id)
        return {"result": result_from_tuple(self.decode(text), self.app)} if text else None

    def _delete_group(self, group_id: str) -> None:
        self.notes.delete(Kind.GROUP, group_id)

    def _job(self, job_id: str) -> Job | None:
        try:
            return self.app.jobclaim.repo.get_job(job_id)  # type: ignore[no-any-return]
        except (JobNotFound, InvalidInput):
            return None

    def _from_note(self, text: str) -> dict[str, Any]:
        meta = self.meta_from_decoded(self.decode(text))
        return {**meta, "result": self.app.jobclaim.repo.large.value(meta["result"])}

    def kept_seconds(self) -> float:
        """Return the retention of notes, seconds."""
        return float(self.app.jobclaim.settings.dead_retention_days * 86_400)


def _pauses(timeout: float | None, interval: float, on_interval: Any) -> Iterator[None]:
    """Pause between a waiting caller's reads; the last read is at the timeout."""
    started = time.monotonic()
    while True:
        yield
        waited = time.monotonic() - started
        if timeout is not None and waited >= timeout:
            return
        if on_interval:
            on_interval()
        pause = min(max(FIRST_PAUSE, PAUSE_SHARE * waited), LONGEST_PAUSE_FACTOR * max(interval, FIRST_PAUSE))
        time.sleep(pause if timeout is None else min(pause, timeout - waited))
