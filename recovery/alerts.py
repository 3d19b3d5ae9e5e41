"""Alerts: raised once, repeated every hour while they last, and cleared once when their cause has ended.

::

    facts ──▶ firing ──▶ damped against earlier notifications ──▶ a log event, and an SNS message where a topic is set
              raised     fires and was not sent before
              continues  fires, and was sent `alert_repeat_seconds` ago
              cleared    has not fired for `alert_clear_seconds`; until then it may come and go silently

The first recovery pass after `alert_interval_seconds` evaluates, by a conditional write on the time of the previous
evaluation. That time also shows the next pass, however late, how long recovery was silent. Only something outside
recovery can see that no pass runs at all: the alarm of `template.yaml`, or `jobclaim doctor`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.fleet.alerts import PublishedAlert, PublishedAlerts
from jobclaim.fleet.tally import Counts, Tally
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.errors import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import JobStatus
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.connect import client
from jobclaim.recovery.dead import DeadLetters
from jobclaim.settings import Settings

log = get_logger("jobclaim.recovery")

FEWEST_SUBMISSIONS: Final = 20
"""Fewest submissions for which a rate of duplicates is meaningful."""
LOOKED_AT: Final = 25
"""Oldest due jobs of an index partition that are searched for a waiting one: the others run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that the rules evaluate.

    Attributes
    ----------
    waiting : int
        Dead letters that wait for a person, up to one more than the limit.
    late : mapping of str to int
        For each queue, how many milliseconds its oldest waiting job is overdue.
    silent_ms : int
        Milliseconds since the previous evaluation; 0 for the first one.
    """

    counts: Counts = field(default_factory=Counts)
    waiting: int = 0
    late: Mapping[str, int] = field(default_factory=dict)
    silent_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """One notification; ``state`` is raised, continues or cleared."""

    alert: str
    state: str
    text: str
    since: int


def firing(facts: Facts, settings: Settings) -> dict[str, str]:
    """Return the alerts that fire, each with the problem and the remedy."""
    found: dict[str, str] = {}
    counts = facts.counts
    if counts.submitted >= FEWEST_SUBMISSIONS and counts.duplicates > settings.alert_duplicate_rate * counts.submitted:
        rate = counts.duplicates / counts.submitted
        found["duplicates"] = (
            f"{rate:.0%} of {counts.submitted} submissions were duplicates (limit: "
            f"{settings.alert_duplicate_rate:.0%}); look for a caller that submits in a loop"
        )
    if facts.waiting > settings.alert_waiting:
        found["waiting"] = (
            f"more than {settings.alert_waiting} dead letters await action; see `jobclaim dead list --groups`"
        )
    if counts.critical:
        found["critical"] = (
            f"{counts.critical} failures of critical tasks, the last one {counts.last_job} of {counts.last_task}; see "
            f"`jobclaim show {counts.last_job}`"
        )
    for queue, late_ms in facts.late.items():
        found[f"sla:{queue}"] = (
            f"a job of queue {queue!r} waits {late_ms / 1000:.0f} s, its SLA is {settings.queue(queue).sla_seconds:g} "
            "s; check that enough workers listen to it"
        )
    if facts.silent_ms > settings.alert_silence_seconds * 1000:
        found["silence"] = (
            f"recovery was silent for {facts.silent_ms / 1000:.0f} s; orphans and lost messages waited as long: is its "
            "schedule running?"
        )
    return found


def without_flapping(
    published: Mapping[str, PublishedAlert], fires: Mapping[str, str], now: int, settings: Settings
) -> tuple[dict[str, PublishedAlert], list[AlertMessage]]:
    """Return the notifications to send, and the state to store once they are sent."""
    after: dict[str, PublishedAlert] = {}
    messages: list[AlertMessage] = []
    for alert, text in fires.items():
        before = published.get(alert)
        since = before.since if before else now
        after[alert] = PublishedAlert(since=since, fired_at=now, said_at=before.said_at if before else 0, text=text)
        if before is None or not before.said_at:
            messages.append(AlertMessage(alert=alert, state="raised", text=text, since=since))
        elif now - before.said_at >= settings.alert_repeat_seconds * 1000:
            messages.append(AlertMessage(alert=alert, state="continues", text=text, since=since))
    for alert, before in published.items():
        if alert in fires:
            continue
        after[alert] = before
        if now - before.fired_at >= settings.alert_clear_seconds * 1000:
            messages.append(AlertMessage(alert=alert, state="cleared", text=before.text, since=before.since))
    return after, messages


def without_future_times(published: Mapping[str, PublishedAlert], now: int) -> dict[str, PublishedAlert]:
    """Replace times that a clock that was ahead has written: the alert would neither be repeated nor be cleared."""
    return {
        alert: replace(one, since=min(one.since, now), fired_at=min(one.fired_at, now), said_at=min(one.said_at, now))
        for alert, one in published.items()
    }


def evaluate(repo: JobRepo, *, publish: Callable[[AlertMessage], None] | None = None) -> None:
    """Evaluate the rules if they are due, and send the notifications. Safe in parallel; never raises AWS's errors.

    Parameters
    ----------
    publish : callable, optional
        Sends a message, in addition to the log; default: SNS where `Settings.alert_topic_arn` is set.
    """
    try:
        _evaluate(repo, publish or _publisher(repo.settings))
    except (JobError, ClientError, BotoCoreError) as error:
        log.warning("alert.not_evaluated", reason=str(error))


def _evaluate(repo: JobRepo, publish: Callable[[AlertMessage], None]) -> None:
    now, record = repo.clock(), PublishedAlerts.of(repo)
    evaluated_at, published = record.read()
    ago = now - evaluated_at
    if -BELIEVED_AHEAD_MS <= ago < repo.settings.alert_interval_seconds * 1000 or not record.take(evaluated_at, now):
        return
    facts = gather(repo, silent_ms=max(0, ago) if evaluated_at else 0)
    after, messages = without_flapping(
        without_future_times(published, now), firing(facts, repo.settings), now, repo.settings
    )
    for message in messages:
        if not _publish(message, publish):
            continue  # the stored state still lacks it, so the next evaluation sends it again
        if message.state == "cleared":
            del after[message.alert]
        else:
            one = after[message.alert]
            after[message.alert] = PublishedAlert(since=one.since, fired_at=one.fired_at, said_at=now, text=one.text)
    if after != published:
        record.write(after)


def gather(repo: JobRepo, *, silent_ms: int = 0) -> Facts:
    """Read the facts: a few requests per shard and queue, however many jobs there are."""
    settings = repo.settings
    return Facts(
        counts=Tally.of(repo).read(),
        waiting=DeadLetters(repo).waiting(at_most=settings.alert_waiting + 1),
        late={queue: late for queue in settings.queue_names if (late := _late(repo, queue))},
        silent_ms=silent_ms,
    )


def _late(repo: JobRepo, queue: str) -> int:
    """Return how many milliseconds the queue's oldest job has waited, 0 while that is within the SLA. Paused jobs do
    not count.
    """
    pauses, now = repo.pauses.current(), repo.clock()
    up_to = now - round(repo.settings.queue(queue).sla_seconds * 1000)
    oldest = now
    for shard in range(repo.table.shards):
        entries = repo.table.entries(schema.open_key(queue, shard), limit=LOOKED_AT, up_to=up_to)
        jobs = repo.table.get_many([entry.job_id for entry in entries])
        free = [job for job in jobs.values() if pauses.holding(job, now) is None]
        waiting = [job.available_at for job in free if job.status is JobStatus.PENDING]
        oldest = min([oldest, *(at for at in waiting if at <= up_to)])
    return now - oldest


def _publish(message: AlertMessage, publish: Callable[[AlertMessage], None]) -> bool:
    if message.state == "cleared":
        log.info("alert.cleared", alert=message.alert, why=message.text, since=message.since)
    else:
        log.error("alert.firing", alert=message.alert, state=message.state, why=message.text, since=message.since)
    try:
        publish(message)
    except Exception as error:  # noqa: BLE001 - after any error the next evaluation sends it again
        log.error("alert.not_published", alert=message.alert, error=type(error).__name__)
        return False
    return True


def _publisher(settings: Settings) -> Callable[[AlertMessage], None]:
    topic = settings.alert_topic_arn
    if topic is None:
        return lambda _: None

    def publish(message: AlertMessage) -> None:
        sns = client(settings, "sns")  # created only when needed, because alerts are rare
        subject = f"jobclaim: {message.alert} {message.state}"[:100]
        sns.publish(TopicArn=topic, Subject=subject, Message=json.dumps(asdict(message), ensure_ascii=False))

    return publish
