"""``with repo.transaction() as tx:`` writes a caller's items and new jobs together, or nothing.

::

    block ──▶ one TransactWriteItems ──▶ messages, sent by the caller or by `jobclaim.transaction`
      │            │                       └ a process that dies here: recovery sends them within seconds (`Job.unsent`)
      │            ├ a condition of the caller's refused ──▶ EffectRefused     ┐
      │            └ an equal job is there already ────────▶ AlreadySubmitted  ├ nothing is written
      └ raises ────────────────────────────────────────────▶ what it raised   ┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from typing import Any, Final, Protocol, Self

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.effects.collected import Effects
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.errors import AlreadySubmitted, InvalidInput, StoreUnavailable
from jobclaim.jobs.model import Job
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo.joining import NewJob, joining
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.storage.together import Planned, write_together
from jobclaim.jobs.transitions import Move

MOST_OPERATIONS: Final = 100
"""Maximum number of operations in one TransactWriteItems."""
PATIENCE_MS: Final = 5_000
"""How long to retry a transaction that conflicts with another one on an item."""

_open: ContextVar[Transaction | None] = ContextVar("open_transaction", default=None)


class Submits(Protocol):
    """The part of a `JobRepo` that a transaction needs."""

    table: JobTable
    clock: Clock

    @property
    def own_tables(self) -> frozenset[str]:
        """Names of the tables that only jobclaim writes to."""

    @property
    def create_job(self) -> Callable[..., Job]:
        """See `JobRepo.create_job`."""

    def count_submission(self, *, created: bool) -> None:
        """As `JobRepo` does."""

    def ended_if_late(self, existing: Job | None) -> Job | None:
        """As `JobRepo` does."""

    def answer_for(self, requested: Job, existing: Job | None) -> Job | None:
        """As `JobRepo` does."""


class Transaction:
    """A caller's writes, in DynamoDB's own terms, and new jobs: written together when the block ends, or not at all.

    Parameters
    ----------
    repo : JobRepo, optional
        Repo of the jobs; default: that of the first job.

    Attributes
    ----------
    written : dict of str to Job
        The jobs as they were written, by id; empty until the block has ended.
    """

    def __init__(self, repo: Submits | None = None) -> None:
        self._repo = repo
        self._effects = Effects(repo.own_tables if repo else (), room=MOST_OPERATIONS, name="tx")
        self._jobs: list[NewJob] = []
        self.written: dict[str, Job] = {}
        self._afterwards: list[Callable[[], object]] = []
        self._entered: Token[Transaction | None] | None = None
        self.put = self._effects.put
        self.update = self._effects.update
        self.delete = self._effects.delete
        self.check = self._effects.check
        self.extend = self._effects.extend

    # --- the block
    def __enter__(self) -> Self:
        if _open.get() is not None:
            raise InvalidInput(
                "a transaction is already open here, and an inner one would be written even if the outer one is not; "
                "pass the outer `tx` to the code that should join it"
            )
        if self._entered is not None:
            raise InvalidInput("this transaction has been used already; call transaction() again for each block")
        self._entered = _open.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave()
        if kind is None:
            self.commit()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave()
        if kind is None:
            await asyncio.shield(asyncio.to_thread(self.commit))

    def _leave(self) -> None:
        assert self._entered is not None
        _open.reset(self._entered)
        self._effects.seal()

    # --- jobs
    def create_job(self, task: str, payload: Any = None, **options: Any) -> Job:
        """Plan a job, as `JobRepo.create_job`; it exists once the block has ended. The caller sends its message.

        Raises as `JobRepo.create_job`, except that an equal job is only detected when the block ends.
        """
        with joining(self):
            return self._known_repo().create_job(task, payload, **options)

    @property
    def jobs(self) -> list[Job]:
        """The jobs that were planned."""
        return [new.job for new in self._jobs]

    def plan(self, repo: Submits, new: NewJob) -> Job:
        """Add a new job."""
        if self._repo is None:
            self._repo = repo
        elif self._repo.table is not repo.table:
            raise InvalidInput(
                f"task {new.job.task!r} belongs to another app than the other jobs of this transaction; use one "
                "transaction for each app"
            )
        self._effects.reserve()
        planned = replace(new.job, unsent=1) if new.job.dispatches else new.job
        self._jobs.append(replace(new, job=planned))
        return planned

    def afterwards(self, call: Callable[[], object]) -> None:
        """Register a call to make once everything is written."""
        self._afterwards.append(call)

    # --- the write
    def commit(self) -> None:
        """Write everything, once; an empty transaction makes no request.

        Raises
        ------
        AlreadySubmitted, EffectRefused, InvalidEffect, IdempotencyMismatch
            Nothing was written.
        StoreUnavailable
            DynamoDB did not answer: either everything or nothing was written.
        """
        writes = self._effects.seal()
        if writes or self._jobs:
            repo = self._known_repo()
            self._effects.refuse_tables(repo.own_tables)
            self._write(repo, writes)
        for new in self._jobs:
            new.settle(self.written[new.job.job_id])
        for call in self._afterwards:
            call()

    def _write(self, repo: Submits, writes: Sequence[Write]) -> None:
        planned = [Planned(None, Move.SUBMIT_WITH_WRITES, new.job) for new in self._jobs]
        for _ in range(lifecycle.SUBMIT_ROUNDS):
            written = write_together(repo.table, planned, writes, until=repo.clock() + PATIENCE_MS)
            if all(one.applied for one in written):
                self.written = {one.after.job_id: one.after for one in planned}
                self._count(repo, created=len(planned))
                return
            found = [repo.ended_if_late(one.job) for one in written]
            self._refuse_duplicates(repo, found)
            planned = [
                Planned(before, Move.SUBMIT_WITH_WRITES, _anew(repo, before, new.job))
                for before, new in zip(found, self._jobs, strict=True)
            ]
        raise StoreUnavailable(
            "the jobs of the transaction changed during each attempt to write it, so nothing was written; try again"
        )

    def _refuse_duplicates(self, repo: Submits, found: Sequence[Job | None]) -> None:
        duplicates: list[Job] = []
        for new, existing in zip(self._jobs, found, strict=True):
            if (answer := repo.answer_for(new.job, existing)) is not None:
                new.settle(answer)
                duplicates.append(answer)
        if duplicates:
            self._count(repo, duplicates=len(duplicates))
            raise _already(duplicates)

    @staticmethod
    def _count(repo: Submits, *, created: int = 0, duplicates: int = 0) -> None:
        for number in range(created + duplicates):
            repo.count_submission(created=number < created)

    def _known_repo(self) -> Submits:
        if self._repo is None:
            raise InvalidInput("this transaction has no job, so its app is not known; name it: transaction(app=...)")
        return self._repo


def _anew(repo: Submits, before: Job | None, job: Job) -> Job:
    return job if before is None else repo.table.payloads.outlasting(before, lifecycle.resubmitted(before, job))


def _already(duplicates: Sequence[Job]) -> AlreadySubmitted:
    shown = ", ".join(f"{job.job_id!r} of task {job.task!r} ({job.status})" for job in duplicates)
    return AlreadySubmitted(
        f"job {shown} was already submitted under the same key, so nothing of this transaction was written; the "
        "writes of that job were made together with it. Use the job in this error, or another idempotency key",
        tuple(duplicates),
    )
