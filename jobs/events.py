"""Every event that jobclaim logs: its code, its fields, its meaning. The single registry for code, docs and alarms.

A code is an API: metric filters, alarms and searches match it, so it is changed like one, with a note in the
changelog. ``python -m jobclaim.jobs.events`` writes ``docs/events.md``; a test holds both to the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONTEXT: Final = {
    "timestamp": "when, ISO 8601 in UTC",
    "level": "debug, info, warning, error",
    "logger": "the part of jobclaim that logs",
    "event": "the code of the event, one of those below",
    "message": "the event in a sentence",
    "worker": "the worker process that logs; see `jobclaim workers`",
    "app": "name of the Celery app concerned, if the process has several",
    "exception": "type and frames of an exception, without its message",
}
"""Fields that any line may have."""

JOB: Final = ("job_id", "task", "queue", "attempt")
"""Fields that identify the job; in a child they are on every line while its job runs."""

FIELDS: Final = {
    "job_id": "the job",
    "task": "registered name of the job's task",
    "queue": "logical name of the job's queue",
    "attempt": "number of claims so far, including this one",
    "ahead_seconds": "how far a stored time is ahead of the clock, seconds",
    "alert": "name of the alert rule, and of what it concerns",
    "answer": "what a request to cancel did",
    "arguments": "arguments that `log_arguments` allows, by name",
    "asked": "the task that the message names",
    "available_at": "earliest start of the job, epoch milliseconds",
    "batch": "id of a bulk submission; submitting the same batch again completes it",
    "by": "the person who decided",
    "breaker": "name of a circuit breaker, usually of the external service it protects",
    "claims": "whether the worker still claims jobs",
    "count": "number of items",
    "dead_workers": "lost workers whose jobs were all handled",
    "delay_seconds": "seconds until SQS delivers the message",
    "dispatches": "number of messages sent for this attempt",
    "due": "time of the schedule's tick, ISO 8601",
    "duration_seconds": "seconds from the claim to the end",
    "edited_from": "id of the job that this one was made from, with another payload",
    "error": "type of an exception",
    "examined": "number of jobs that the pass examined",
    "exception": "type of the exception that ended an attempt",
    "expired": "number of jobs that expired before they started",
    "failed": "number of failures",
    "failures": "number of consecutive failures",
    "given_up": "number of jobs that FAILED because their messages were never claimed",
    "grace_seconds": "seconds that the body has to end by itself",
    "group_id": "id of the group that the chord belongs to",
    "held": "number of messages not sent in this pass, because of a backlog or because sends fail",
    "http_status": "HTTP status of the response",
    "job_status": "state of the job",
    "kept_in": "dead-letter queue that keeps the message",
    "kind": "kind of a failure",
    "left": "number of requests not made",
    "messages": "number of messages",
    "missed": "number of consecutive heartbeats that were not written",
    "on": "whether protection is on",
    "open_seconds": "seconds for which the breaker blocks calls",
    "orphaned": "number of jobs that lost their worker or outran their lease",
    "outage_seconds": "duration of the outage, seconds",
    "outcome": "state that could not be written",
    "partition": "partition of the index",
    "app": "name of the Celery app",
    "overridden": "each configuration key with the host's value, our value, and the reason",
    "paused": "what a pause holds: `queue`, `task` or `schedule`, and its name",
    "problems": "queues with their live and their derived visibility timeout",
    "reason": "why, in words; quoted values are masked",
    "redispatched": "number of jobs whose message was sent again",
    "refused": "number of writes refused because the job had changed",
    "removed": "whether the worker's record was removed",
    "request": "kind of request to SQS",
    "retried": "number of orphans that are retried",
    "retry": "number of automatic retries so far",
    "rule": "what refused a request: host, cross-site, token, password, role, form, ...",
    "running": "number of jobs running in the worker's children",
    "scheduled": "number of jobs due soon whose message was sent",
    "seconds_left": "seconds until the stop is forced",
    "revived": "number of dead letters retried by their rule",
    "schedule": "name of a beat schedule entry",
    "schedules": "names of beat schedule entries",
    "sla_missed": "whether the wait exceeds the queue's SLA",
    "since": "when it began, epoch milliseconds",
    "start_by": "latest start of the job, epoch milliseconds",
    "state": "`raised` or `continues`",
    "status": "SKIPPED if the delivery did nothing",
    "submitted": "number of jobs submitted",
    "tick": "id of a schedule's tick: name and time",
    "truncated": "number of index partitions with more jobs than one pass may examine",
    "unsent": "number of messages that could not be sent",
    "verb": "the decision: retry, resolve or abandon",
    "wait_seconds": "seconds from the job's due time to its claim",
    "waiting": "number of outcomes not written yet",
    "wanted": "protection that was requested",
    "step": "name of a step",
    "took_ms": "duration of the step, milliseconds",
    "until": "the deadline, epoch milliseconds",
    "wait": "name that a job waits for",
    "early": "whether the resume came before the body waited",
    "why": "why, in words; quoted values are masked",
    "worker_id": "the worker concerned",
}
"""Every field of every event, and what it holds. The value of a field that is not listed here is masked."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes
    ----------
    code : str
        Code that alarms and searches match: the subject, a dot, what happened to it.
    loggers, levels : tuple of str
        The loggers that write it, and the levels that they use.
    fields : tuple of str
        Its fields, including those of the job (`JOB`) if it concerns one; a line need not have all of them.
    message : str
        The sentence that is written beside the code.
    meaning : str
        Cause or consequence of the event.
    """

    code: str
    loggers: tuple[str, ...]
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    message: str
    meaning: str


REGISTRY: Final = """
# a job's life
job.submitted | worker | info | JOB arguments
    A job was written.
    Its message is sent next.
job.duplicate | worker | info | JOB job_status
    An equal submission found an existing job.
    That job is returned.
bulk.submitted | bulk | info | task batch submitted failed
    A bulk submission has ended.
    `failed` counts the calls that were refused.
claim.acquired | worker | info | JOB arguments wait_seconds sla_missed
    The worker claimed the job.
    The body starts.
claim.refused | jobs | info | JOB status job_status
    The claim was refused.
    Another delivery has claimed the job, or the job has ended. This is normal: SQS may deliver a message twice.
claim.held | jobs | info | JOB status paused by
    The job's task or queue is paused, so the claim was refused.
    The job stays PENDING and no attempt is used up. Recovery sends its message again when the pause has ended.
claim.task_mismatch | jobs | error | JOB asked
    The message names a different task than its job, so the claim was refused.
    The job is not changed and the message becomes a dead letter.
claim.too_early | jobs | warning | JOB available_at
    The message arrived long before its job is due, so the claim was refused.
    The job waits and its message is sent again in time.
job.completed | jobs | info | JOB duration_seconds
    The job completed.
    The result is stored.
job.failed | jobs | error | JOB duration_seconds kind exception
    The job failed.
    FAILED is stored; no further attempt follows.
job.cancelled | jobs | warning | JOB duration_seconds
    The job was cancelled.
    CANCELLED is stored; the body was ended.
job.retry_scheduled | worker | info | JOB available_at exception
    The attempt failed and another follows.
    It starts at `available_at`.
job.not_retried | worker | info | JOB why
    The retry policy does not retry this failure.
    The job ends with this failure.
job.retry_dropped | worker | warning | JOB reason
    The claim had ended, so the attempt's retry was dropped.
    Nothing was written.
job.held | worker | info | JOB why available_at
    A limit makes the job wait.
    The job is released before its body starts.
limits.unavailable | worker | error | JOB reason
    The limits could not be read, so the job waits.
    DynamoDB did not answer.
job.released | worker | info | JOB
    The job was released uncharged.
    The worker is stopping, or DynamoDB answered its claim too late; the job is PENDING again.
job.release_refused | worker | warning | JOB reason
    The claim had ended, so the job was not released.
    Recovery or another claim has changed the job.
job.interrupted | worker | warning | JOB exception
    The attempt lost its process and the job is retried.
    A child was lost or killed; another attempt follows.
limits.slot_not_released | worker | warning | JOB reason
    A concurrency slot could not be released.
    The next job that needs a slot frees it.
job.expired | jobs recovery | warning | JOB status start_by
    The job expired before it started, so it was cancelled.
    It ended CANCELLED because its `expires` had passed.
claim.lost | worker jobs | warning | JOB outcome reason
    The claim was lost, so the outcome of the attempt was dropped.
    The fence refused the outcome, because recovery had already ended the attempt.
step.recorded | jobs | debug | JOB step took_ms
    A step of the job is finished and its result is stored.
    Later attempts do not run it again.
progress.not_written | jobs | warning | JOB reason
    The job's progress could not be written.
    The body continues; the next report is written when it is due.
checkpoint.not_written | jobs | warning | JOB reason
    The attempt ended, but its last checkpoint could not be stored.
    The next attempt gets the previous checkpoint.
wait.begun | jobs | info | JOB wait until
    The attempt ended and the job waits without a worker.
    A resume or its deadline starts it again. No attempt was charged.
wait.resumed | jobs | info | JOB wait early
    The job was resumed.
    Its message is sent, unless its body has not reached the wait yet.
wait.timed_out | jobs | warning | JOB wait
    The deadline of a wait has passed.
    `WaitTimeout` is raised in the body; a later resume is refused.
job.outcome_not_recorded | worker jobs | error | JOB outcome reason
    The outcome could not be written, so recovery will handle the job.
    DynamoDB did not answer before the lease ended.
claim.not_tracked | worker | error | job_id count
    The worker cannot track this claim, so only its lease bounds it.
    The body holds too many claims at once, or the job's id is too long.
worker.outcomes_not_recorded | worker | error exception | waiting
    The main process could not record outcomes, so recovery will handle the jobs.
    DynamoDB did not answer.
job.outcome_already_recorded | worker | info | JOB reason
    The child process had already recorded the outcome.
    The main process has nothing to record.
payload.unavailable | jobs | warning | JOB reason
    A large payload or result could not be read.
    Its item is missing, or S3 did not return the object.
payload.extension_refused | jobs | warning | JOB reason
    The retention of a payload's item could not be extended.
    The item is missing, or another process has already extended its retention further.
aws.failing | jobs | error | reason
    Requests to AWS fail and are retried until the lease ends.
    Fix the cause named in `reason` before the lease ends; otherwise the finished work is lost.
claim.answered_late | jobs | warning | JOB status
    DynamoDB answered the claim after its lease had ended, so the body is not started.
    The job is released or becomes an orphan.

# before the claim
claim.unavailable | worker | error | job_id task reason
    The job could not be claimed; recovery will send its message again.
    DynamoDB did not answer.
claim.no_such_job | worker | warning | job_id task
    A message names a job that does not exist, so the message was dropped.
    The job was never created in this table, or its retention has passed.
claim.paused | worker jobs | error | job_id task
    The worker's heartbeats fail, so it does not claim jobs.
    Recovery sends the job's message again, or its worker when DynamoDB answers.
job.resent | worker | warning | JOB dispatches
    A child process died before it claimed the job, so the message was sent again.
    No attempt was charged.
message.refused | worker | error | job_id task reason
    The plain Celery message cannot become a job and was moved to the dead-letter queue.
    Its task, its arguments or its format do not allow it.
message.kept | worker | error | job_id task reason
    The plain Celery message could not become a job yet.
    SQS delivers it again when its visibility timeout ends.
message.released | worker | error | job_id task
    The worker's heartbeats fail, so it released a plain Celery message.
    Another worker can receive it at once.

# sending
message.not_sent | bulk dispatch jobs recovery worker | warning | JOB error
    The job's message could not be sent, so recovery will send it.
    SQS did not accept it; the job stays PENDING.
job.duplicate_resent | dispatch | info | JOB
    An equal job has not been claimed yet, so its message is sent again.
    The first submission may have failed between write and send; a second message does not start the job twice.
edit.not_linked | dispatch | warning | JOB reason edited_from
    A job with an edited payload was submitted, but not linked to the job that it was made from.
    DynamoDB did not answer. The job runs; but `show` and the job's page do not name the other job.
message.not_built | bulk | warning | JOB error
    The job's message could not be built, so recovery will send it.
    It is part of a bulk submission; the job stays PENDING.
messages.not_sent | bulk | warning | count error
    A batch of messages could not be sent, so recovery will send them.
    SQS did not accept them; the jobs stay PENDING.

# schedules
tick.not_written | beat | warning | schedule reason due
    The tick could not be written and is retried.
    DynamoDB did not answer.
tick.expired | beat | error | schedule due
    The tick expired before it could be submitted.
    Its `expires` has passed, so it is not submitted.
schedule.unknown_task | beat | error | schedule task
    The schedule names a task that is not registered.
    Logged when beat starts. Each tick will end as a dead letter.
tick.refused | beat | exception | schedule due
    The schedule's task does not accept the call.
    The tick is not sent.
tick.not_sent | beat | warning | task tick error
    The tick of a plain task could not be sent and is retried.
    SQS did not accept it.
tick.not_recorded | beat | warning | tick reason
    The tick was sent but not recorded, so another beat may send it too.
    DynamoDB did not answer after the send.
tick.skipped | beat | warning | schedule due by reason until
    The schedule is paused, so its tick was skipped.
    A skipped tick is not submitted later.
schedule.clock_reset | beat | warning | ahead_seconds count
    The clock was set back, so last runs in the future were reset.
    Ticks that are due now are submitted; ticks that ran are not repeated.
schedule.overdue | beat | error | schedules
    Schedules are overdue.
    None of their ticks was submitted for two minutes longer than their interval; the health check fails.
schedule.recovered | beat | info | schedules
    No schedule is overdue anymore.
    The health check passes again.
beat.orphaned | beat | error |
    The worker of this beat was killed, so the beat ends.
    A worker with `-B` runs beat in a child process. Start the worker again.

# canvas
chord.not_notified | chords worker | warning | JOB group_id error
    A member could not notify the chord, so the chord polls its members.
    It continues later than usual.
chord.repaired | chords | info | JOB
    All members of a failed chord have succeeded, so it continues.
    Its body is submitted.
links.not_sent | chords recovery | error | JOB reason
    The callbacks of a finished job could not be sent.
    Recovery or the next try sends them.
links.refused | chords | error | job_id task error
    A follow-up can never be submitted and was recorded as failed.
    Its result holds the reason, and its errback is called.
links.unavailable | worker | error | JOB reason
    The job's follow-ups could not be read, so it was released.
    S3 did not answer.
links.lost | worker | error | JOB reason
    The job's follow-ups no longer exist in S3.
    The callbacks are not sent.
links.delayed | cancel | warning | JOB error
    The callbacks of a cancelled job could not be sent, so recovery will send them.
    DynamoDB or SQS did not answer.

# cancelling and stopping
cancel.requested | cancel | info | JOB answer
    A person or a program requested that the job be cancelled.
    `answer` says what the request did.
cancel.refused | cancel | warning | JOB reason
    The job is running outside a worker and cannot be cancelled.
    No worker can end it.
cancel.started | worker | warning | job_id task grace_seconds
    The running job was asked to end.
    The body has `grace_seconds` to end by itself.
cancel.delayed | worker | warning | job_id reason
    The cancellation could not be carried out yet.
    DynamoDB did not answer; the request is repeated.
cancel.too_late | worker | info | job_id reason
    The job ended before it could be cancelled.
    Nothing was changed.
cancel.cooperative | worker | warning | job_id
    The job cannot be stopped and must check for cancellation itself.
    The pool has no processes to kill.
worker.drain_requested | worker | warning |
    The worker was asked to drain.
    A drain command came with a heartbeat.
worker.threads_abandoned | worker | warning | count
    The worker's process ended while bodies still ran in threads.
    A thread cannot be killed. The jobs of these bodies had been released or failed before.
job.hard_limit_exceeded | worker | warning | job_id task
    The job exceeded its hard time limit, which cannot be enforced in a thread.
    The worker's heartbeat keeps the claim past its lease. Cancel the job, or add timeouts to what its body waits for.
worker.stopping | worker | info | running seconds_left
    The worker accepts no more jobs and is stopping.
    Running jobs have `seconds_left` to end.
worker.stop_overdue | worker | error | count
    The stop took longer than its time, so the process was ended.
    DynamoDB or SQS did not answer; recovery takes care of jobs whose end could not be recorded.
worker.children_killed | worker | warning | count running
    Children that did not end by themselves were killed.
    They were idle, or the stop timeout had passed.
messages.released | worker | info | count
    Prefetched messages were released.
    Other workers can receive them at once.
messages.released_unserved | worker | info | count
    Prefetched messages were released, because no process became free.
    They had waited too long for a free process.
worker.stopped_with_open_jobs | worker | warning |
    The worker stopped before all outcomes were recorded.
    The stop timeout had passed; recovery handles these jobs.
worker.deregister_failed | worker | warning | reason
    The worker stopped but could not deregister.
    Recovery treats it as a lost worker.

# heartbeats
heartbeat.failed | heartbeat | error | reason claims missed
    The heartbeat could not be written.
    The fleet table did not answer.
worker.tasks_not_recorded | heartbeat | warning | reason
    The names of the worker's tasks could not be written.
    `celery inspect registered` does not show them yet; the next heartbeat tries again.
heartbeat.recovered | heartbeat | info | missed
    Heartbeats are written again.
    The worker claims jobs again.
commands.failed | heartbeat | exception |
    Commands to this worker could not be carried out and are retried.
    The next heartbeat returns them again.
worker.announcement_failed | worker | exception |
    An error occurred when an outcome was logged, counted and measured. It is recorded.
    Often an exporter of metrics; the worker continues.
supervisor.failed | worker | exception |
    An error occurred in the supervisor, which continues.
    This is a bug; please report it.
protection.changed | ecs | info | on
    Scale-in protection was changed.
    With protection on, ECS does not stop this ECS task to scale in.
protection.not_changed | ecs | warning | wanted reason
    Scale-in protection could not be changed and is retried.
    ECS refused the request.
protection.failed | ecs | exception |
    An error occurred while scale-in protection was updated; updates continue.
    This is a bug; please report it.
queue.visibility_unknown | startup | warning | queue error
    The queue's visibility timeout could not be read.
    SQS did not answer; the worker starts without checking it.
queue.visibility_too_low | startup | warning | problems
    Visibility timeouts are too low and the worker starts anyway.
    `allow_low_visibility` is set; a waiting message may be delivered twice.
config.overridden | worker | warning | app overridden
    Values of the Celery configuration were overridden.
    They contradict what claims require; `overridden` holds each key, both values and the reason.

pause.started | worker | warning | paused by reason until
    The worker learned of a pause.
    It does not poll a paused queue, and claims no job of a paused task.
pause.ended | worker | warning | paused by
    The worker learned that a pause has ended.
    `by` is empty if the pause reached its end time.
pauses.unavailable | jobs | warning | reason
    The pauses could not be read, so those that were read last apply.
    DynamoDB did not answer, or the role may not read the fleet table.
pauses.unreadable | jobs | error | error
    The record of the pauses cannot be read, so nothing is paused.
    A newer version or a person wrote it; `jobclaim pause list` reports the same error.

# transport
sqs.failing | transport | warning | request reason queue
    Requests to SQS fail and are retried until they succeed.
    This is the first of consecutive failures; the others are not logged.
sqs.recovered | transport | info | request failures outage_seconds queue
    Requests to SQS succeed again.
    This is the first success after consecutive failures.
sqs.request_abandoned | transport | warning | request messages reason
    A request to SQS was abandoned, so SQS delivers its messages again.
    Its messages were not deleted.
sqs.requests_skipped | transport | warning | request left
    Requests to SQS were skipped, because the worker is stopping.
    `left` counts them.
message.intake_failed | transport | exception | queue
    The message could not be handled and was released.
    This is a bug in message handling; please report it.
poison.left_to_redrive | transport | error | queue reason
    The message cannot be run, so it stays in its queue until SQS moves it.
    SQS moves it to the dead-letter queue after `max_receive_count` deliveries.
poison.moved | poison | error | queue reason kept_in job_id
    A poison message was moved to the dead-letter queue.
    It cannot be run; `reason` is stored with it.
task.unregistered | poison | warning | JOB reason delay_seconds
    The task is not registered in this worker, so its messages are sent again.
    Logged once for each task: another worker may have it, for example during a deployment.
message.forwarded | poison | info | JOB delay_seconds
    The message was sent again for another worker.
    Its task is not registered in this worker.
message.dropped_copy | poison | info | JOB
    A copy of a message was dropped.
    Its task is not registered in this worker, and the job's next message is still delayed.
poison.not_moved | poison | error | queue reason error
    A poison message could not be moved to the dead-letter queue, so it stays in its queue.
    SQS or DynamoDB did not answer. SQS moves it after `max_receive_count` deliveries.
poison.claim_lost | poison | warning | job_id
    The job changed before its message's failure was written.
    The job is not changed.

# dead letters and circuit breakers
dead_letter.decided | recovery | info | JOB verb
    A dead letter was retried, resolved or abandoned.
    A person made the decision.
audit.identity_unknown | audit | info | error
    The AWS identity for the audit trail is unknown.
    STS did not answer or there are no credentials; entries name the person without it.
dead_letter.retried | recovery | info | JOB retry
    Recovery retried a dead letter.
    The rule of its failure kind allows another retry.
breaker.opened | worker | error | breaker failures open_seconds
    The circuit breaker opened.
    Its jobs wait, uncharged.
breaker.closed | worker | warning | breaker
    The circuit breaker closed.
    The service answers again and its jobs run.
breaker.not_updated | worker | warning | breaker reason
    The circuit breaker could not be updated.
    DynamoDB did not answer; one result was not counted.
breaker.unavailable | worker | warning | breaker reason error
    The circuit breaker could not be read, so the job runs.
    DynamoDB did not answer.

# alerts
alert.firing | recovery | error | alert state why since
    An alert is firing.
    `state` says whether it was raised now or continues.
alert.cleared | recovery | info | alert why since
    An alert was cleared.
    The condition of its rule has not held for a while.
alert.not_published | recovery | error | alert error
    The alert could not be published and is retried.
    SNS did not accept it.
alert.not_evaluated | recovery | warning | reason
    Alerts could not be evaluated.
    DynamoDB did not answer; the next pass tries again.
counts.not_written | jobs | warning | reason
    Counts could not be written.
    The counts that alerts use are too low. Of several consecutive failures, only the first is logged.
statistics.not_written | jobs | warning | reason
    Statistics of runs could not be written.
    `jobclaim tasks` lacks the runs of the last minutes. Of several consecutive failures, only the first is logged.
failure.classifier_failed | jobs | warning | exception error reason kind
    A failure classifier raised an exception, or did not return a kind.
    The failure was classified without it. See `failure_kinds`, `register_kind` and an exception's own `failure_kind`.
hook.failed | jobs worker | warning | JOB error
    A hook raised an exception.
    The hook is a user's `on_failure` or `on_dead`; the job's outcome is not changed.

# dashboard
request.refused | dashboard | warning | rule http_status
    The dashboard refused a request.
    `rule` names the check that refused it.
operation.failed | dashboard | exception | error
    An action on many jobs ended early.
    Jobs that it had not reached are unchanged.

# recovery
recovery.pass_completed | recovery | info | examined orphaned retried redispatched scheduled given_up expired \
revived refused held unsent failed dead_workers truncated
    A recovery pass has ended.
    The fields count its jobs by action.
recovery.pass_failed | recovery | exception | error
    A recovery pass failed.
    The next pass runs at its usual time.
job.orphaned | recovery | warning | JOB job_status worker_id why
    The job lost its worker or outran its lease.
    It fails or is retried, according to `on_orphan`.
job.dispatched | recovery | info | JOB dispatches
    The job's message was sent.
    It is the attempt's first message, or a repetition of one that was not claimed.
job.dispatch_limit_reached | recovery | error | JOB why
    None of the job's messages was claimed, so the job failed.
    It is FAILED with kind CONFIGURATION. Check that a worker listens to its queue and knows its task.
recovery.job_failed | recovery | error | JOB error reason
    Recovery could not handle a job and tries again in a later pass.
    The other jobs were handled. If it happens again, inspect the job.
queue.backlog_unknown | recovery | warning | queue error
    The queue's backlog could not be read, so this pass sends none of its messages again.
    SQS did not answer.
lost_worker.recovered | recovery | warning | worker_id removed
    The jobs of a lost worker were handled.
    `removed` says whether its record was removed as well.
lost_worker.jobs_unavailable | recovery | error | worker_id reason
    The jobs of a lost worker could not be read.
    The next pass reads them.
lost_worker.not_removed | recovery | error | worker_id reason
    The record of a lost worker could not be removed.
    The next pass removes it.
fleet.unavailable | recovery | warning | reason
    The fleet table could not be read, so this pass judges claims by their leases only.
    A later pass finds lost workers.
recovery.cursor_not_saved | recovery | error | reason
    The position of the pass could not be saved.
    The next pass repeats some work.
recovery.partition_unavailable | recovery | error | partition reason
    A partition of the index could not be read.
    The other partitions are handled; a later pass continues.
job.unreadable | jobs | error | job_id reason
    A job's item cannot be read.
    Another version of jobclaim, or a person, wrote it; lists and recovery continue without it. Repair or delete it.
"""
"""Code, loggers, levels and fields; below them the message, then the meaning. ``JOB`` stands for the job's fields."""


def _read(registry: str) -> dict[str, Event]:
    events: list[list[str]] = []
    for line in registry.splitlines():
        if line.startswith("    "):
            events[-1].append(line.strip())
        elif line and not line.startswith("#"):
            events.append([line])
    return {event.code: event for event in (_event(*lines) for lines in events)}


def _event(row: str, message: str, *meaning: str) -> Event:
    code, loggers, levels, fields = (part.strip() for part in row.split("|"))
    named = tuple(name for word in fields.split() for name in (JOB if word == "JOB" else (word,)))
    return Event(
        code,
        tuple(f"jobclaim.{part}" for part in loggers.split()),
        tuple(levels.split()),
        named,
        message.removesuffix("."),
        " ".join(meaning),
    )


EVENTS: Final = _read(REGISTRY)
"""Every event by its code."""


def page() -> str:
    """Write ``docs/events.md``."""
    lines = [
        "# Events",
        "",
        "Generated from `jobs/events.py` by `python -m jobclaim.jobs.events > docs/events.md`; do not edit.",
        "",
        "Every line that jobclaim logs is one JSON object. `event` is one of the codes below and `message` says the",
        "same in a sentence. Codes and fields are stable, so metric filters, alarms and searches may rely on them;",
        "messages may be reworded. A field that is not listed here is masked before it is written, and so are",
        "arguments, except those named in `JOBCLAIM_LOG_ARGUMENTS`.",
        "",
        "## On every line",
        "",
        "| field | what it holds |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in CONTEXT.items()),
        "",
        "## Events",
        "",
        "*job* stands for " + ", ".join(f"`{name}`" for name in JOB) + ".",
        "",
        "| event | logger | level | fields | message and meaning |",
        "|---|---|---|---|---|",
        *(_row(event) for event in EVENTS.values()),
        "",
        "## Fields",
        "",
        "| field | what it holds |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(event: Event) -> str:
    about_a_job = set(JOB) <= set(event.fields)
    own = [f"`{name}`" for name in event.fields if not (about_a_job and name in JOB)]
    fields = ", ".join((["*job*"] if about_a_job else []) + own) or "-"
    levels = ", ".join(dict.fromkeys("error" if level == "exception" else level for level in event.levels))
    loggers = ", ".join(f"`{name}`" for name in event.loggers)
    return f"| `{event.code}` | {loggers} | {levels} | {fields} | {event.message}. {event.meaning} |"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
