"""Every event that jobclaim logs: its name, its fields, what it means. The one registry, for code, docs and alarms.

A name is a promise: metric filters, alarms and searches match it, so it is changed as an API is, with a note in the
changelog. ``python -m jobclaim.jobs.events`` writes ``docs/events.md``; a test holds both to the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONTEXT: Final = {
    "timestamp": "when, ISO 8601 in UTC",
    "level": "debug, info, warning, error",
    "logger": "the part of jobclaim that speaks",
    "event": "the name of the event, one of those below",
    "worker": "the worker process that speaks; see `jobclaim workers`",
    "app": "name of the Celery app that it is about, where the process has several",
    "exception": "type and frames of an exception, without its message",
}
"""Fields that any line may have."""

JOB: Final = ("job_id", "task", "queue", "attempt")
"""Fields that tell which job; in a child they are on every line while its job runs."""

FIELDS: Final = {
    "job_id": "the job",
    "task": "registered name of its task",
    "queue": "logical name of its queue",
    "attempt": "claims so far, this one included",
    "ahead_seconds": "how far it is ahead, seconds",
    "alert": "name of a rule, and of what it is about",
    "answer": "what became of a person's cancel",
    "arguments": "values of those arguments that `log_arguments` allows, by name",
    "asked": "the task that the message runs",
    "available_at": "when it may start, epoch milliseconds",
    "batch": "id of a bulk submission: submitting it again repairs it",
    "breaker": "name of a circuit breaker: an external service",
    "claims": "whether the worker goes on claiming",
    "count": "how many",
    "dead_workers": "dead workers whose jobs are all settled",
    "delay_seconds": "until SQS delivers the message, seconds",
    "dispatches": "messages sent for this attempt",
    "due": "the schedule's tick, ISO 8601",
    "duration_seconds": "from the claim to the end, seconds",
    "error": "type of an exception",
    "examined": "jobs that a pass looked at",
    "exception": "type of the exception that ended an attempt",
    "expired": "jobs that were not started in time",
    "failed": "how many could not be done",
    "failures": "failures in a row",
    "given_up": "jobs whose messages nobody takes, ended FAILED",
    "grace_seconds": "time for the body to end by itself, seconds",
    "group_id": "the group that a chord belongs to",
    "held": "jobs left to a later pass",
    "http_status": "status of the answer",
    "job_status": "state of the job",
    "kept_in": "dead-letter queue that keeps the message",
    "kind": "kind of a failure",
    "left": "requests not made",
    "messages": "how many messages",
    "missed": "heartbeats in a row that were not written",
    "on": "whether protection is on",
    "open_seconds": "for how long it lets nothing through, seconds",
    "orphaned": "jobs whose worker is lost",
    "outage_seconds": "how long it lasted, seconds",
    "outcome": "state that was not written",
    "partition": "part of the index",
    "app": "name of the Celery app",
    "overridden": "each key of the configuration, with the host's value, ours, and why",
    "problems": "each queue with its live and its derived visibility timeout",
    "reason": "why, in words; quoted values are masked",
    "redispatched": "jobs whose message was sent again",
    "refused": "writes that came too late: somebody else had acted",
    "removed": "whether the worker's record is gone",
    "request": "which requests to SQS",
    "retried": "orphans that start again",
    "retry": "how often it was started again by itself",
    "rule": "what refused a request: host, cross-site, token, password, role, form, ...",
    "running": "jobs in the worker's children",
    "scheduled": "jobs due soon whose message was sent",
    "seconds_left": "until the stop is forced, seconds",
    "revived": "failed jobs that were started again by their rule",
    "schedule": "name of an entry of the beat schedule",
    "schedules": "names of entries of the beat schedule",
    "sla_missed": "whether the wait exceeds the queue's SLA",
    "since": "when it began, epoch milliseconds",
    "start_by": "when it should have started at the latest, epoch milliseconds",
    "state": "raised or continues",
    "status": "SKIPPED where a delivery did nothing",
    "submitted": "how many jobs were submitted",
    "tick": "id of a schedule's tick: name and time",
    "truncated": "parts of the index with more to look at than one pass may",
    "unsent": "messages that could not be sent",
    "verb": "what a person decided",
    "wait_seconds": "from the time it was due to the claim, seconds",
    "waiting": "outcomes that wait to be written",
    "wanted": "protection that was asked for",
    "why": "why, in words; quoted values are masked",
    "worker_id": "the worker that is spoken of",
}
"""Every field of every event, and what it holds. A field that is not here never reaches a log: its value is masked."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes
    ----------
    loggers, levels : tuple of str
        Who says it, how loudly.
    fields : tuple of str
        Its own, the job's (`JOB`) among them where it is about one; not all of them are on each line.
    meaning : str
        What happened, and what follows from it.
    """

    name: str
    loggers: tuple[str, ...]
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str


def _event(name: str, loggers: str, levels: str, fields: str, meaning: str) -> Event:
    named = tuple(part for word in fields.split() for part in (JOB if word == "JOB" else (word,)))
    return Event(name, tuple(f"jobclaim.{part}" for part in loggers.split()), tuple(levels.split()), named, meaning)


# name, loggers, levels, fields, meaning
EVENTS: Final = {
    event.name: event
    for event in (
        # --- a job's life
        _event("submitted", "worker", "info", "JOB arguments", "A job was written; its message is sent next."),
        _event("duplicate", "worker", "info", "JOB job_status", "An equal call found a job there already."),
        _event("bulk", "bulk", "info", "task batch submitted failed", "A bulk submission has ended."),
        _event(
            "claimed", "worker", "info", "JOB arguments wait_seconds sla_missed", "The claim was made, the body starts."
        ),
        _event(
            "already claimed",
            "jobs",
            "info",
            "JOB status job_status",
            "A claim was refused: somebody has the job, or it is over. Normal on SQS, which delivers twice.",
        ),
        _event(
            "claim of another task refused",
            "jobs",
            "error",
            "JOB asked",
            "A message names a job of another task than it runs. The job is left alone, the message is a dead letter.",
        ),
        _event(
            "claimed too early, refused",
            "jobs",
            "warning",
            "JOB available_at",
            "A message came long before its job is due. The job waits on, and its message comes again in time.",
        ),
        _event("completed", "jobs", "info", "JOB duration_seconds", "The result is written."),
        _event(
            "failed", "jobs", "error", "JOB duration_seconds kind exception", "FAILED is written; no attempt follows."
        ),
        _event("cancelled", "jobs", "warning", "JOB duration_seconds", "CANCELLED is written; the body was ended."),
        _event(
            "retry scheduled", "worker", "info", "JOB available_at exception", "The attempt failed, another follows."
        ),
        _event("not tried again", "worker", "info", "JOB why", "The retry policy ends the job with this failure."),
        _event("retry dropped", "worker", "warning", "JOB reason", "A retry of a claim that is over: nothing written."),
        _event("held back", "worker", "info", "JOB why available_at", "A limit gives the job back before its body."),
        _event("limits not known", "worker", "error", "JOB reason", "The limits could not be asked; the job waits."),
        _event(
            "given back",
            "worker",
            "info",
            "JOB",
            "The worker stops, or the claim had no answer; the job is PENDING again, uncharged.",
        ),
        _event("not given back", "worker", "warning", "JOB reason", "The claim is over; somebody has settled the job."),
        _event(
            "cut off, tried again", "worker", "warning", "JOB exception", "A child was lost or killed; another attempt."
        ),
        _event(
            "its place stays taken until somebody asks for it",
            "worker",
            "warning",
            "JOB reason",
            "A concurrency limit's place could not be given up; it is found free by the next who asks.",
        ),
        _event("not started in time", "jobs recovery", "warning", "JOB status start_by", "Ended CANCELLED: `expires`."),
        _event(
            "claim lost, outcome dropped",
            "worker jobs",
            "warning",
            "JOB outcome reason",
            "A zombie ended: its job was given up before, so the fence refused its result.",
        ),
        _event(
            "outcome not written, recovery will find the job",
            "worker jobs",
            "error",
            "JOB outcome reason",
            "DynamoDB did not answer until the lease ended.",
        ),
        _event(
            "claim not noted, its lease alone bounds it",
            "worker",
            "error",
            "job_id count",
            "A body holds more claims at once than the worker can note, or its job's id is too long to be noted.",
        ),
        _event(
            "not recorded, recovery will find the job",
            "worker",
            "error exception",
            "waiting",
            "The main process could not write what became of a child's job.",
        ),
        _event("settled already", "worker", "info", "JOB reason", "The child had ended the attempt itself."),
        _event("not settled, recovery will find the job", "worker", "error", "JOB reason", "DynamoDB did not answer."),
        _event("large value not read", "jobs", "warning", "JOB reason", "S3 did not give a large payload or result."),
        _event(
            "AWS fails, tried again while the lease lasts",
            "jobs",
            "error",
            "reason",
            "Finished work cannot be written: mend what the reason names before the lease ends, or the work is lost.",
        ),
        _event(
            "claim answered after its lease",
            "jobs",
            "warning",
            "JOB status",
            "The claim was made, but its answer came when the lease was over: the body is not started.",
        ),
        # --- before the claim
        _event(
            "not claimed", "worker", "error", "job_id task reason", "DynamoDB did not answer; recovery sends again."
        ),
        _event(
            "not claimed, heartbeats fail and recovery sends it again",
            "worker jobs",
            "error",
            "job_id task",
            "A worker that cannot write heartbeats takes no job.",
        ),
        _event(
            "not claimed, message sent again", "worker", "warning", "JOB dispatches", "A child died before its claim."
        ),
        _event(
            "message refused",
            "worker",
            "error",
            "job_id task reason",
            "A plain Celery message can never be a job: it is made a dead letter.",
        ),
        _event(
            "message kept, no job is made of it yet",
            "worker",
            "error",
            "job_id task reason",
            "A plain Celery message comes back when its visibility timeout ends.",
        ),
        _event(
            "message given back, heartbeats fail",
            "worker",
            "error",
            "job_id task",
            "A plain Celery message, which is no job yet, is shown to other workers at once.",
        ),
        # --- sending
        _event(
            "message not sent, recovery will send it",
            "dispatch recovery worker",
            "warning",
            "JOB error",
            "The job waits for recovery.",
        ),
        _event(
            "duplicate was never claimed, its message is sent again",
            "dispatch",
            "info",
            "JOB",
            "The first submission may have failed between the write and the send; copies start nothing twice.",
        ),
        _event("message not made, recovery will send it", "bulk", "warning", "JOB error", "As above, of many."),
        _event("messages not sent, recovery will send them", "bulk", "warning", "count error", "As above, a batch."),
        # --- schedules
        _event("tick not written, tried again", "beat", "warning", "schedule reason due", "DynamoDB did not answer."),
        _event(
            "tick lost: its expiry is over", "beat", "error", "schedule due", "Later than `expires`; not submitted."
        ),
        _event(
            "schedule names a task that does not exist",
            "beat",
            "error",
            "schedule task",
            "At a beat's start, where its app has registered other tasks. Every tick is an error in a worker.",
        ),
        _event("tick refused", "beat", "exception", "schedule due", "Its task does not take the call; it is not sent."),
        _event(
            "tick not sent, tried again", "beat", "warning", "task tick error", "Of a plain task; SQS did not take it."
        ),
        _event(
            "tick sent, and not noted: another beat may send it too",
            "beat",
            "warning",
            "tick reason",
            "Of a plain task; DynamoDB did not answer after the send.",
        ),
        _event(
            "clock was set back, last runs are reset",
            "beat",
            "warning",
            "ahead_seconds count",
            "Schedules had run by a clock that was ahead; what is due now is submitted, ticks that did run stay one.",
        ),
        _event(
            "ticks are overdue",
            "beat",
            "error",
            "schedules",
            "None was submitted for two minutes more than the schedule says; the health check fails.",
        ),
        _event("ticks are submitted again", "beat", "info", "schedules", "None is overdue any more."),
        # --- canvas
        _event("chord not told, it looks by itself later", "chords", "warning", "JOB group_id error", "It polls."),
        _event("chord repaired", "chords", "info", "JOB", "All members of a failed chord have succeeded: it goes on."),
        _event("links not told", "chords recovery", "error", "JOB reason", "Callbacks of an ended job were not sent."),
        _event(
            "follow-up refused",
            "chords",
            "error",
            "job_id task error",
            "What was to follow from a job's end can never be submitted: it is recorded as failed.",
        ),
        _event(
            "given back, what follows the job could not be read", "worker", "error", "JOB reason", "S3 did not answer."
        ),
        _event("links lost, nobody is told", "worker", "error", "JOB reason", "S3 no longer has them."),
        _event("links not told at once", "cancel", "warning", "JOB error", "Recovery sends the callbacks."),
        # --- cancelling and stopping
        _event("cancel", "cancel", "info", "JOB answer", "Somebody asked to cancel a job."),
        _event("cancel refused", "cancel", "warning", "JOB reason", "The job runs outside of a worker."),
        _event("cancel requested", "worker", "warning", "job_id task grace_seconds", "A running job is asked to end."),
        _event("cancel not carried out yet", "worker", "warning", "job_id reason", "DynamoDB did not answer."),
        _event("cancel is over", "worker", "info", "job_id reason", "The job had ended before its cancel."),
        _event(
            "cannot be stopped, it is left to see that it is cancelled",
            "worker",
            "warning",
            "job_id",
            "The pool has no processes to kill.",
        ),
        _event("asked to stop", "worker", "warning", "", "A drain command came with a heartbeat."),
        _event("stopping", "worker", "info", "running seconds_left", "The worker takes no more jobs and ends."),
        _event(
            "children ended at the stop",
            "worker",
            "warning",
            "count running",
            "They did not end by themselves, though they had nothing to do or the time was over.",
        ),
        _event("messages given back", "worker", "info", "count", "Prefetched messages are visible again."),
        _event("messages given back, no process came free", "worker", "info", "count", "They had waited too long."),
        _event(
            "stopped with jobs that are not settled, recovery will settle them",
            "worker",
            "warning",
            "",
            "The time for stopping was over.",
        ),
        _event(
            "stopped without a farewell, recovery will look after it", "worker", "warning", "reason", "No last record."
        ),
        # --- heartbeats
        _event("heartbeat not written", "heartbeat", "error", "reason claims missed", "The fleet table is away."),
        _event("heartbeat is back", "heartbeat", "info", "missed", "It works again."),
        _event("commands not carried out, they come again", "heartbeat", "exception", "", "With the next heartbeat."),
        _event("warden failed, it goes on", "worker", "exception", "", "A bug: report it."),
        _event("scale-in protection", "ecs", "info", "on", "ECS was told whether this task may be stopped."),
        _event("scale-in protection not changed, tried again", "ecs", "warning", "wanted reason", "ECS refused."),
        _event("scale-in protection failed, it goes on", "ecs", "exception", "", "A bug: report it."),
        _event(
            "visibility timeout not known, the worker starts", "startup", "warning", "queue error", "SQS did not say."
        ),
        _event(
            "visibility timeouts are too low, started nevertheless",
            "startup",
            "warning",
            "problems",
            "`allow_low_visibility` is set: a waiting message may be delivered twice.",
        ),
        _event(
            "configuration overridden",
            "worker",
            "warning",
            "app overridden",
            "Values of the host's Celery configuration contradict the claim rule: each key, both values, why.",
        ),
        # --- transport
        _event("SQS fails, tried until it works", "transport", "warning", "request reason queue", "First of a row."),
        _event("SQS works again", "transport", "info", "request failures outage_seconds queue", "The row has ended."),
        _event("given up, SQS will deliver again", "transport", "warning", "request messages reason", "Not deleted."),
        _event("cut short by the stop", "transport", "warning", "request left", "Requests not made at a stop."),
        _event("message not taken, given back", "transport", "exception", "queue", "A bug in taking a message."),
        _event(
            "message cannot be run, left to the redrive policy", "transport", "error", "queue reason", "A poison pill."
        ),
        _event("poison taken out", "poison", "error", "queue reason kept_in job_id", "A message that cannot be run."),
        _event(
            "task not registered here, sent again",
            "poison",
            "warning",
            "JOB reason delay_seconds",
            "Once for each task: another worker may know it.",
        ),
        _event("sent again for another worker", "poison", "info", "JOB delay_seconds", "Its task is unknown here."),
        _event("poison left to SQS", "poison", "error", "queue reason error", "It could not be moved by hand."),
        _event("claim lost before its failure was written", "poison", "warning", "job_id", "Somebody has the job."),
        # --- dead letters and circuit breakers
        _event("dead letter decided", "recovery", "info", "JOB verb", "A person retried, resolved or abandoned it."),
        _event("dead letter retried", "recovery", "info", "JOB retry", "Recovery started it again by its kind's rule."),
        _event("breaker opened", "worker", "error", "breaker failures open_seconds", "Its jobs wait, uncharged."),
        _event("breaker closed", "worker", "warning", "breaker", "The service answers again; its jobs run."),
        _event("breaker not told", "worker", "warning", "breaker reason", "DynamoDB did not take it; it counts less."),
        _event("breaker not known", "worker", "warning", "breaker reason error", "DynamoDB did not say; jobs run."),
        # --- alerts
        _event("alert", "recovery", "error", "alert state why since", "A rule fires: raised, or continues."),
        _event("alert cleared", "recovery", "info", "alert why since", "A rule has not fired for a while."),
        _event("alert not published, tried again", "recovery", "error", "alert error", "SNS did not take it."),
        _event("alerts not evaluated", "recovery", "warning", "reason", "DynamoDB did not answer; the next pass does."),
        _event("not counted", "jobs", "warning", "reason", "Counts for alerts could not be written; they are lower."),
        _event(
            "failure kind not told, classified without it",
            "jobs",
            "warning",
            "exception error reason",
            "A function of `failure_kinds` or `register_kind` raised, or gave no kind.",
        ),
        _event("hook failed", "jobs worker", "warning", "JOB error", "A user's on_failure or on_dead raised."),
        # --- dashboard
        _event("request refused", "dashboard", "warning", "rule http_status", "A guard of the dashboard refused it."),
        _event("operation failed", "dashboard", "exception", "error", "An act on a group of dead letters ended early."),
        # --- recovery
        _event(
            "recovery pass",
            "recovery",
            "info",
            "examined orphaned retried redispatched scheduled given_up expired revived refused held unsent failed "
            "dead_workers truncated",
            "What one pass did.",
        ),
        _event("recovery pass failed, the next one is tried", "recovery", "exception", "error", "It goes on."),
        _event("orphan", "recovery", "warning", "JOB job_status worker_id why", "The job's worker is lost."),
        _event("dispatched", "recovery", "info", "JOB dispatches", "A message was sent: first, or again."),
        _event("given up", "recovery", "error", "JOB why", "No worker takes its messages: FAILED/CONFIGURATION."),
        _event("message not sent, a later pass sends it", "recovery", "warning", "JOB error", "SQS did not take it."),
        _event("job not settled, a later pass tries again", "recovery", "error", "JOB error reason", "Look at it."),
        _event("backlog unknown, taken for one", "recovery", "warning", "queue error", "So nothing is sent again."),
        _event("dead worker settled", "recovery", "warning", "worker_id removed", "All its jobs were looked at."),
        _event("jobs of a dead worker not read", "recovery", "error", "worker_id reason", "The next pass reads them."),
        _event("dead worker's record not removed", "recovery", "error", "worker_id reason", "The next pass does it."),
        _event("fleet table not read, the pass does without", "recovery", "warning", "reason", "Leases still count."),
        _event("cursor not saved, the next pass looks again", "recovery", "error", "reason", "Work is repeated."),
        _event(
            "partition not read, a later pass goes on", "recovery", "error", "partition reason", "The others go on."
        ),
        _event(
            "job item cannot be read, repair or delete it",
            "jobs",
            "error",
            "job_id reason",
            "Another version wrote it, or somebody by hand; lists and recovery go on without it.",
        ),
    )
}
"""Every event by its name."""


def page() -> str:
    """Write ``docs/events.md``."""
    lines = [
        "# Events",
        "",
        "Made of `jobs/events.py` by `python -m jobclaim.jobs.events > docs/events.md`; do not edit.",
        "",
        "Every line that jobclaim logs is one JSON object. `event` is one of the names below; names and fields are",
        "stable, so that metric filters, alarms and searches may rely on them. A field that is not listed here is",
        "masked before it is written, and so are arguments, except those named in `JOBCLAIM_LOG_ARGUMENTS`.",
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
        "| event | logger | level | fields | meaning |",
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
    return f"| `{event.name}` | {loggers} | {levels} | {fields} | {event.meaning} |"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
