"""Submit many calls: one conditional put per call, ten messages per request; only calls in progress are in memory.

::

    calls, AT_ONCE read ahead ──▶ their puts begin, at most WINDOW are under way ──▶ messages, ten by ten ──▶ report
                           │ refused: listed in the report, the others continue
                           └ written before under this batch's name: a duplicate, whose message is resent if it waits

The caller's thread prepares the next calls while requests are under way: several threads would only take the
interpreter from each other. Others make the requests that cannot be begun, and read the answers while the caller takes
its time.

A batch has a name, and each of its calls an id made of that and its position. Whatever went wrong, submit the same
calls under the same name again: no call runs twice, and the missing ones are submitted. A message that could not be
sent is not a failure: recovery sends it.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from typing import Any, Final

from jobclaim.jobs import InvalidInput, Job, JobError, JobStatus, StoreUnavailable
from jobclaim.jobs.log import get_logger, speaking_for
from jobclaim.jobs.repo.joining import Outcome, begin
from jobclaim.jobs.storage.begun import Begun, Reader, can_begin
from jobclaim.workers.handle import Handle
from jobclaim.workers.messages.links import lineage
from jobclaim.workers.submission.batch_messages import BatchMessages
from jobclaim.workers.submission.dispatch import count_if_unsent

log = get_logger("jobclaim.bulk")

Put = Callable[[], Job]
Together = tuple[list[Outcome], bool]
"""What came of puts that were made together, and whether payloads were written one by one."""

THREADS: Final = 8
AT_ONCE: Final = 32
"""Puts that begin at the same time."""
WINDOW: Final = 64
"""Limit of puts that are in progress, or done and not yet reported."""
MOST_FAILURES: Final = 1_000
"""Limit of failures that a report describes; it counts all of them."""


@dataclass(frozen=True, slots=True)
class NotSubmitted:
    """A call that was not submitted.

    Attributes
    ----------
    position : int
        Position of the call, 0 for the first.
    error : Exception
        A `JobError` or a `TypeError`: arguments that do not fit, a payload that is too large, a store that does not
        answer.
    """

    position: int
    error: Exception


@dataclass(slots=True)
class BulkReport:
    """The report of a batch; it grows while the batch runs.

    Attributes
    ----------
    batch : str
        Its name: submit the same calls under it again to repair what failed.
    submitted, duplicates, failed : int
        Jobs written, found to exist already, and refused.
    sent, unsent : int
        Messages; recovery sends those that could not be sent.
    failures : list of NotSubmitted
        The first failures, at most `MOST_FAILURES`.
    """

    batch: str
    submitted: int = 0
    duplicates: int = 0
    failed: int = 0
    sent: int = 0
    unsent: int = 0
    failures: list[NotSubmitted] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Calls that were processed."""
        return self.submitted + self.duplicates + self.failed

    @property
    def ok(self) -> bool:
        """Whether every call has its job."""
        return not self.failed


def submit_many(
    task: Any,
    calls: Iterable[Any],
    *,
    batch: str | None = None,
    progress: Callable[[BulkReport], None] | None = None,
    each: Callable[[int, Job], None] | None = None,
    threads: int = THREADS,
    **options: Any,
) -> BulkReport:
    """Submit many calls of one task.

    Parameters
    ----------
    calls : iterable
        One element per call: a tuple or list is taken as positional arguments, a mapping as keyword arguments, anything
        else as the only argument. It is read while the batch runs, `AT_ONCE` calls ahead: a generator need not fit into
        memory. If it raises, the calls that it gave last are not submitted.
    batch : str, optional
        Name of the batch; default: a random one. The report has it either way. The calls of an idempotent task are
        identified by their arguments instead.
    progress : callable, optional
        Called with the report after every ten jobs or so.
    each : callable, optional
        Called with position and job of every call that has one, in order.
    threads : int
        Number of threads beside the caller's: for jobs whose payloads are written by themselves, for all requests of a
        client that is not jobclaim's own, and for answers that the caller leaves waiting.
    options
        Options of `JobTask.apply_async`, for all calls.

    Raises
    ------
    InvalidInput
        ``batch`` or ``threads`` is invalid; nothing was submitted. Refusals of single calls are in the report.
    """
    _check(batch, threads)
    repeated, report = batch is not None, BulkReport(batch or uuid.uuid4().hex)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="bulk") as pool,
        Reader(pool) as reader,
        BatchMessages(task.jobclaim.app, pool, reader, report) as messages,  # installs jobclaim before the app connects
    ):
        puts = _puts(task, calls, report.batch, {**options, **lineage(task.app, options)})
        positions = count()
        for outcomes in _in_order(pool, reader, task.jobclaim, puts):
            for outcome in outcomes:
                position = next(positions)
                job = _job_of(report, position, outcome)
                if job is not None:
                    if unsent := _unsent(task.app, job, repeated=repeated):
                        messages.add(unsent)
                    if each is not None:
                        each(position, job)
                if progress is not None and report.total % 10 == 0:
                    progress(report)
            messages.send_full()
    if progress is not None:
        progress(report)
    log.info("bulk.submitted", task=task.name, batch=report.batch, submitted=report.submitted, failed=report.failed)
    return report


def _check(batch: str | None, threads: int) -> None:
    if threads < 1:
        raise InvalidInput(f"threads={threads!r} must be at least 1")
    if batch is not None and not 0 < len(batch) <= 200:
        raise InvalidInput(f"batch={batch!r} must be text of 1 to 200 characters")


def as_call(item: Any) -> tuple[list[Any], dict[str, Any]]:
    """Read an element of the calls as positional and keyword arguments."""
    if isinstance(item, (tuple, list)):
        return list(item), {}
    return ([], dict(item)) if isinstance(item, Mapping) else ([item], {})


def _puts(task: Any, calls: Iterable[Any], batch: str, options: Mapping[str, Any]) -> Iterator[Callable[[], Job]]:
    fixed = task.idempotency_rules() is None
    for position, item in enumerate(calls):

        def put(item: Any = item, position: int = position) -> Job:
            args, kwargs = as_call(item)
            return task.write_job(args, kwargs, f"{batch}.{position}" if fixed else None, **options)  # type: ignore[no-any-return]

        yield put


def _in_order(pool: ThreadPoolExecutor, reader: Reader, handle: Handle, puts: Iterator[Put]) -> Iterator[list[Outcome]]:
    """Make the puts, at most `WINDOW` at a time; yield what came of them, some at a time, in the order of the calls.

    `AT_ONCE` begin together where the client can do that, but not while payloads are written by themselves.
    """
    most = AT_ONCE if can_begin(handle.repo.table.client()) else 1
    under_way: deque[Begun[Together] | Future[Together]] = deque()
    size = most
    try:
        while some := list(islice(puts, size)):
            if size > 1:
                finish, one_by_one = begin(handle.repo, some)
                under_way.append(reader.watch(Begun(partial(_finish, handle, finish, one_by_one))))
                size = 1 if one_by_one else most
            else:
                under_way.append(pool.submit(_write, handle, some))
            while len(under_way) >= WINDOW // size:
                outcomes, one_by_one = under_way.popleft().result()
                size = 1 if one_by_one else most
                yield outcomes
        while under_way:
            yield under_way.popleft().result()[0]
    finally:
        for left in under_way:
            left.result()


def _write(handle: Handle, puts: Sequence[Put]) -> Together:
    with speaking_for(handle):
        finish, one_by_one = begin(handle.repo, puts)
        return finish(), one_by_one


def _finish(handle: Handle, finish: Callable[[], list[Outcome]], one_by_one: bool) -> Together:
    with speaking_for(handle):
        return finish(), one_by_one


def _job_of(report: BulkReport, position: int, outcome: Outcome) -> Job | None:
    if isinstance(outcome, Job):
        report.submitted += outcome.created
        report.duplicates += not outcome.created
        return outcome
    if not isinstance(outcome, (JobError, TypeError)):
        raise outcome
    report.failed += 1
    if len(report.failures) < MOST_FAILURES:
        _drop_frames(outcome)
        report.failures.append(NotSubmitted(position, outcome))
    return None


def _drop_frames(error: BaseException | None) -> None:
    """Drop the frames of an error that is kept, and of its causes: they hold the calls that were made with its own."""
    if error is not None and error.__traceback__ is not None:  # an error may be its own cause
        error.__traceback__ = None
        _drop_frames(error.__cause__)
        _drop_frames(error.__context__)


def _unsent(app: Any, job: Job, *, repeated: bool) -> Job | None:
    """Return the job whose message is to be sent: a new one, or a duplicate whose message may not have been sent."""
    if job.created or (repeated and job.status is JobStatus.PENDING and not job.claimed_at):
        return job
    try:
        return count_if_unsent(app, job)
    except StoreUnavailable as error:
        log.warning("message.not_sent", error=type(error).__name__, **job.log_context())
        return None
