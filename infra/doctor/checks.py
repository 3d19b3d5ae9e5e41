"""The checks: pure functions of what is deployed and what the settings say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from jobclaim.infra.attributes import TLS_ONLY
from jobclaim.infra.doctor.permissions import GET_QUEUE_URL
from jobclaim.infra.doctor.snapshot import DeployedQueue, DeployedTable, Snapshot
from jobclaim.infra.queues import DEAD_LETTER_RETENTION
from jobclaim.infra.tables import TableSpec, table_specs
from jobclaim.settings import Settings
from jobclaim.specs.agreement import REMEDY, compare
from jobclaim.specs.finding import Finding, fail, ok, warn

UP: Final = "run `jobclaim up`, or deploy the current template.yaml"
OWNER: Final = (
    "change it where the queue is defined (its dead-letter queue must be {dead}), because `jobclaim up` does not "
    "change queues of queue_urls"
)
SKEW_WARN_SECONDS: Final = 2.0
PAYLOAD_GROWTH: Final = 1.8
"""A plain task's message is about this many times the size of its arguments, which are base64-encoded twice."""
SQS_MAX_MESSAGE: Final = 1_048_576
"""Bytes (AWS, "Amazon SQS message quotas")."""


def diagnose(snapshot: Snapshot, settings: Settings) -> list[Finding]:
    """Return all findings, in the order in which to fix them."""
    return [
        *_endpoints(snapshot),
        *_refusals(snapshot),
        *_clock(snapshot, settings),
        *_tables(snapshot, settings),
        *_queues(snapshot, settings),
        *_tasks(snapshot, settings),
        *_schedules(snapshot),
        *_living(snapshot, settings),
        *_limits(settings),
        *_fleet(snapshot, settings),
        *_pauses(snapshot),
        *_unusual(snapshot),
        *snapshot.aged,
        *([ok("cost at rest", snapshot.at_rest)] if snapshot.at_rest else []),
        *_permissions(snapshot),
    ]


def _endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    for where, why in snapshot.unreachable.items():
        yield fail(where, why, "correct that, then run `jobclaim doctor` again")


def _refusals(snapshot: Snapshot) -> Iterator[Finding]:
    for what, why in snapshot.refused.items():
        yield warn(
            what, f"not checked: {why}", "run `jobclaim doctor` without --actor, as a user who may read the deployment"
        )


def _clock(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    skew = snapshot.skew_seconds
    if skew is None:
        return
    what = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} DynamoDB's"
    if abs(skew) >= settings.lease_grace_seconds / 2:
        remedy = (
            f"synchronize it (chrony, NTP): leases tolerate a difference of {settings.lease_grace_seconds} s in all"
        )
        yield fail("clock of this machine", what, remedy)
    elif abs(skew) >= SKEW_WARN_SECONDS:
        yield warn("clock of this machine", what, "synchronize it (chrony, NTP)")
    else:
        yield ok("clock of this machine", what)


# --- tables
def _tables(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    for spec in table_specs(settings):
        if spec.name not in snapshot.tables:
            continue
        view, subject = snapshot.tables[spec.name], f"table {spec.name}"
        if view is None:
            yield fail(subject, "does not exist", f"{UP}; or correct JOBCLAIM_{spec.setting.upper()}")
        elif view.key != (spec.key,):
            remedy = f"name another table in JOBCLAIM_{spec.setting.upper()}"
            yield fail(subject, f"has the key {' + '.join(view.key)}, not {spec.key}", remedy)
        else:
            yield ok(subject, f"key {spec.key}")
            yield from _table_parts(subject, view, spec)
            yield from _replication(subject, view, settings)


def _table_parts(subject: str, view: DeployedTable, spec: TableSpec) -> Iterator[Finding]:
    if spec.index:
        yield _index(f"{subject} index {spec.index}", view)
    if view.ttl == spec.ttl:
        yield ok(f"{subject} expiry", f"by {spec.ttl}")
    else:
        found = (
            f"by {view.ttl!r}, not {spec.ttl!r}"
            if view.ttl
            else "off, so finished jobs are stored and paid for indefinitely"
        )
        yield warn(f"{subject} expiry", found, UP)
    if view.backed_up is False:
        yield warn(subject, "has no point-in-time recovery", "deploy template.yaml, or switch it on")
    if not view.protected:
        yield warn(subject, "is not protected against deletion", "deploy template.yaml, or switch it on")


def _replication(subject: str, view: DeployedTable, settings: Settings) -> Iterator[Finding]:
    """Check a global table: conditional writes are atomic within one region only, so a single region may claim."""
    if not view.consistency:
        return
    where = ", ".join(view.replicas) or "unknown regions"
    subject = f"{subject} replication"
    if view.consistency == "STRONG":
        found = f"is a global table with strong consistency ({where}), which has neither expiry nor transactions"
        yield fail(
            subject, found, "use a table of one region, or replicate to a spare region with eventual consistency"
        )
    elif settings.home_region is None:
        found = f"is a global table ({where}): of two writes in two regions the last one wins, so a job could run twice"
        yield fail(subject, found, "name the one region that claims in JOBCLAIM_HOME_REGION of every process")
    elif settings.home_region != settings.region:
        found = f"is a replica; jobs are claimed in {settings.home_region}, not here in {settings.region}"
        yield warn(subject, found, "start workers here only after those there have stopped; see docs/regions.md")
    else:
        yield ok(subject, f"global table ({where}), claimed in {settings.region} only")


def _index(subject: str, view: DeployedTable) -> Finding:
    from jobclaim.jobs.encoding.schema import INDEX_HASH, INDEX_RANGE

    if not view.index_key:
        return fail(subject, "does not exist, so recovery finds nothing", UP)
    if view.index_key != (INDEX_HASH, INDEX_RANGE):
        return fail(subject, f"has the key {' + '.join(view.index_key)}", f"delete that index, then {UP}")
    if view.index_status not in ("ACTIVE", "UPDATING"):
        return fail(subject, f"is {view.index_status}", "wait until it is ACTIVE")
    if view.projection != "KEYS_ONLY":
        return warn(subject, f"projects {view.projection}, so claims cost index writes", "recreate it with KEYS_ONLY")
    return ok(subject, "keys only")


# --- queues
def _queues(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    for name, view in snapshot.queues.items():
        subject, has_url = f"queue {name}", name in settings.queue_urls
        if view.attributes is None:
            remedy = "create it, or correct its URL in queue_urls" if has_url else f"{UP}; or correct the prefix"
            yield fail(subject, f"{settings.physical_name(name)} does not exist", remedy)
            continue
        remedy = OWNER.format(dead=settings.dead_letter_name(name)) if has_url else UP
        yield _visibility(subject, name, view.attributes, settings, remedy)
        yield _redrive(subject, name, view, settings, remedy)
        yield from _safety(subject, view.attributes, remedy)


def _visibility(subject: str, name: str, attributes: Mapping[str, str], settings: Settings, remedy: str) -> Finding:
    live, derived = int(attributes.get("VisibilityTimeout", 0)), settings.visibility_timeout(name)
    if live < derived:
        why = f"a job of {settings.longest_hard_limit(name)} s may be delivered twice, and workers do not start"
        return fail(subject, f"visibility timeout is {live} s, but the time limits need {derived} s: {why}", remedy)
    if live > derived:
        what = (
            f"visibility timeout is {live} s, but {derived} s is enough: a lost message is redelivered later than "
            "necessary"
        )
        return warn(subject, what, remedy)
    return ok(subject, f"visibility timeout {live} s")


def _redrive(subject: str, name: str, view: DeployedQueue, settings: Settings, remedy: str) -> Finding:
    assert view.attributes is not None
    policy = json.loads(view.attributes.get("RedrivePolicy") or "{}")
    expected = settings.queue(name).max_receive_count
    if not policy:
        return fail(subject, "has no redrive policy, so a message that cannot be run is redelivered forever", remedy)
    dead = settings.dead_letter_name(name)
    if view.dead_letters is None or not str(policy.get("deadLetterTargetArn", "")).endswith(f":{dead}"):
        return fail(subject, f"redrives to {policy.get('deadLetterTargetArn')}, not to {dead}", remedy)
    if int(policy.get("maxReceiveCount", 0)) != expected:
        return warn(subject, f"redrives after {policy.get('maxReceiveCount')} deliveries, not {expected}", remedy)
    kept = int(view.dead_letters.get("MessageRetentionPeriod", 0))
    if kept < DEAD_LETTER_RETENTION:
        return warn(subject, f"its dead letters are kept for {kept / 86_400:g} days, not 14", remedy)
    return ok(subject, f"redrives after {expected} deliveries to {dead}")


def _safety(subject: str, attributes: Mapping[str, str], remedy: str) -> Iterator[Finding]:
    encrypted = attributes.get("SqsManagedSseEnabled") == "true" or attributes.get("KmsMasterKeyId")
    if not encrypted:
        yield warn(subject, "is not encrypted at rest", remedy)
    if TLS_ONLY not in attributes.get("Policy", ""):
        yield warn(subject, "accepts plain HTTP, because it has no TLS-only policy", remedy)


# --- tasks
def _tasks(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    for problem in snapshot.task_problems:
        yield fail("tasks", problem, "correct it, because a worker would not start")
    if snapshot.tasks is None:
        return
    names = [task.name for task in snapshot.tasks]
    for pattern in settings.tasks:
        if not any(fnmatchcase(name, pattern) for name in names):
            what = f"tasks[{pattern!r}] routes no registered task"
            yield warn("tasks", what, "correct the name, or add its module to JOBCLAIM_TASK_MODULES")
    for task in snapshot.tasks:
        if task.queue not in settings.queue_names:
            yield fail(
                f"task {task.name}",
                f"is routed to {task.queue!r}, which is not a queue",
                "correct the route, or add the queue",
            )
    if not snapshot.task_problems:
        yield ok("tasks", f"{len(names)} registered, each with a queue")


def _schedules(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.tasks is None or not snapshot.schedules:
        return
    orphaned = {name: task for name, task in snapshot.schedules.items() if task not in snapshot.registered}
    for name, task in orphaned.items():
        close = get_close_matches(task, snapshot.registered, n=1, cutoff=0.6)
        remedy = f"did you mean {close[0]!r}?" if close else "correct the name, or import the task's module in the app"
        yield fail(f"schedule {name}", f"its task {task!r} is not registered, so every tick fails in a worker", remedy)
    if not orphaned:
        yield ok("schedules", f"{len(snapshot.schedules)}, each with a registered task")


def _living(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Compare schedules and routes with what live workers have registered: this machine may have other code."""
    if snapshot.living is None:
        return
    missing = {name: task for name, task in snapshot.schedules.items() if task not in snapshot.living}
    for name, task in missing.items():
        what = f"no live worker has registered its task {task!r}, so its ticks are not run"
        yield warn(f"schedule {name}", what, "deploy workers that have the task, or remove the schedule")
    for pattern in settings.tasks:
        if not any(fnmatchcase(name, pattern) for name in snapshot.living):
            what = f"tasks[{pattern!r}] routes no task that a live worker has registered"
            yield warn("tasks of live workers", what, "deploy workers that have it, or remove the route")
    if not missing:
        yield ok("tasks of live workers", f"{len(snapshot.living)} registered, those of all schedules among them")


def _limits(settings: Settings) -> Iterator[Finding]:
    if settings.max_payload_bytes * PAYLOAD_GROWTH > SQS_MAX_MESSAGE:
        what = f"max_payload_bytes={settings.max_payload_bytes}: the message of a plain task could exceed SQS's 1 MiB"
        yield warn("limits", what, "lower it if plain tasks have large arguments; messages of jobs hold no payload")
    if settings.stop_timeout_seconds > 120:
        what = f"stop_timeout_seconds={settings.stop_timeout_seconds}, but Fargate kills after 120"
        yield warn("limits", what, "lower it for Fargate")
    if settings.allow_low_visibility:
        what = "allow_low_visibility is on, so workers start on queues that deliver running jobs twice"
        yield warn("limits", what, "switch it off when the queues are corrected")


def _permissions(snapshot: Snapshot) -> Iterator[Finding]:
    for each in snapshot.permissions:
        subject = f"permission {each.action}"
        if each.allowed is None:
            yield warn(
                subject, f"on {each.resource}: could not be checked without side effects", "try the program itself"
            )
        elif each.allowed:
            yield ok(subject, f"on {each.resource}")
        elif each.action == GET_QUEUE_URL:
            what = f"denied on {each.resource}, so nothing else was tried on it"
            yield warn(subject, what, "give its URL in JOBCLAIM_QUEUE_URLS, as the stack gives it to its containers")
        else:
            yield fail(subject, f"denied on {each.resource}", "attach the actor's policy of template.yaml")


# --- the fleet
def _fleet(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    if not snapshot.workers:
        return
    found = compare(snapshot.workers, settings.digest, caller="this command")
    subject = "settings of live workers"
    yield warn(subject, found.text, REMEDY) if found.differs else ok(subject, found.text)


def _pauses(snapshot: Snapshot) -> Iterator[Finding]:
    for subject, words in snapshot.pauses:
        yield warn(subject, words, f"end it with `jobclaim unpause {subject}` when its reason is gone")


def _unusual(snapshot: Snapshot) -> Iterator[Finding]:
    for task, text in snapshot.unusual:
        yield warn(f"task {task}", text, f"see `jobclaim tasks {task}` and `jobclaim list --task {task}`")
