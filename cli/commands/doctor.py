"""`jobclaim doctor`: compare what is deployed with the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session, quiet_logs

if TYPE_CHECKING:
    from jobclaim.infra.doctor import Finding, Snapshot

ACTORS: Final = ("submitter", "worker", "beat", "recovery", "dashboard")


@click.command(
    epilog="""\b
Examples:
  jobclaim doctor
  jobclaim doctor --problems -o json
  jobclaim doctor --actor worker -q email      in a container with the worker's role
"""
)
@click.option("--actor", type=click.Choice(ACTORS), help="Also try this actor's permissions, with harmless requests.")
@click.option(
    "-q", "--queue", "queues", multiple=True, help="With --actor worker: a queue that it listens to; may be repeated."
)
@click.option("--tasks/--no-tasks", "look_at_tasks", default=True, help="Import the task modules and check them.")
@click.option("--problems", is_flag=True, help="Show problems only.")
@output_option
@pass_session
def command(
    session: Session, actor: Any, queues: tuple[str, ...], look_at_tasks: bool, problems: bool, output: Format | None
) -> None:
    """Compare tables, queues, clock, tasks and the workers' settings with the settings here. Changes nothing.

    Also shows the oldest waiting and running job of each queue and the oldest dead letter, from the oldest 100 open
    jobs of each queue and index shard, and what the live workers cost while there are no jobs.

    Exits with 4 when a check FAILs: a guarantee is broken, and workers may refuse to start. With --actor, a missing
    permission to read what a check needs is only a WARN, because the actor works without it.
    """
    from jobclaim.cli.findings import show
    from jobclaim.infra.doctor import Level, diagnose, gather

    quiet_logs()
    snapshot = gather(session.settings, actor=actor, listens_on=[session.settings.queue(name).name for name in queues])
    snapshot = _with_jobs(session, _with_workers(session, snapshot))
    if look_at_tasks:
        snapshot = _with_tasks(session, snapshot)
    findings = diagnose(snapshot, session.settings)
    shown = [each for each in findings if not problems or each.level is not Level.OK]
    show(shown, Output(output, id_field="subject"), empty="No problems found.", extra=_former_names)
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    remark(f"{counts[Level.FAIL]} FAIL, {counts[Level.WARN]} WARN, {counts[Level.OK]} OK.")
    click.get_current_context().exit(ExitCode.CHECK_FAILED if counts[Level.FAIL] else ExitCode.OK)


def _with_workers(session: Session, snapshot: Snapshot) -> Snapshot:
    """Add the settings that the live workers run with, what they cost at rest, and what is paused, if the fleet table
    can be read.
    """
    from jobclaim.fleet.pauses import PauseRecords
    from jobclaim.fleet.registered import tasks_of
    from jobclaim.fleet.workers import FleetRecords
    from jobclaim.jobs import StoreUnavailable
    from jobclaim.views.at_rest import at_rest
    from jobclaim.views.pauses import pause_in_words

    if snapshot.unreachable or not snapshot.tables.get(session.settings.fleet_table):
        return snapshot
    try:
        live = FleetRecords.of(session.repo).live(session.settings.worker_dead_after_seconds)
        living = tasks_of(session.repo, live)
        paused = PauseRecords.of(session.repo).read().active(session.now())
    except StoreUnavailable as error:
        return replace(snapshot, refused={**snapshot.refused, "settings of live workers": str(error)})
    pauses = [(one.subject, pause_in_words(one, session.now())) for one in paused]
    workers = {each.worker_id: each.digest for each in live}
    return replace(snapshot, workers=workers, pauses=pauses, living=living, at_rest=at_rest(live, session.settings))


def _with_jobs(session: Session, snapshot: Snapshot) -> Snapshot:
    """Add the oldest jobs and messages, and the tasks whose last runs differ from their week before, if the job table
    can be read.
    """
    from botocore.exceptions import ClientError

    from jobclaim.fleet.statistics import read_tasks
    from jobclaim.jobs import StoreUnavailable
    from jobclaim.views.oldest import aged, dead_messages
    from jobclaim.views.unusual import unusual

    if snapshot.unreachable or not snapshot.tables.get(session.settings.job_table):
        return snapshot
    now = session.now()
    try:
        tasks = read_tasks(session.repo.table, now).tasks
        old = aged(session.repo, session.settings, tasks)
    except (StoreUnavailable, ClientError) as error:
        return replace(snapshot, refused={**snapshot.refused, "jobs and statistics": str(error)})
    dead = {name: queue.dead_letters or {} for name, queue in snapshot.queues.items()}
    messages = {name: int(attributes.get("ApproximateNumberOfMessages", 0)) for name, attributes in dead.items()}
    return replace(
        snapshot,
        aged=[*old, *(dead_messages(name, number) for name, number in messages.items() if number)],
        unusual=[(one.task, one.text) for task in tasks for one in unusual(task, now)],
    )


def _with_tasks(session: Session, snapshot: Snapshot) -> Snapshot:
    """Import the users' tasks; a task that a worker would refuse is reported as a problem."""
    from jobclaim.infra.doctor import TaskView
    from jobclaim.workers import JobTask
    from jobclaim.workers.handle import handle_of
    from jobclaim.workers.time_limits import problems, queue_of

    try:
        registered = list(session.app_with_tasks.tasks.values())
    except Exception as error:  # noqa: BLE001 - the doctor reports whatever a task module raises, and continues
        return replace(snapshot, task_problems=(f"cannot be imported: {type(error).__name__}: {error}",))
    handle, tasks = handle_of(session.app), [task for task in registered if isinstance(task, JobTask)]
    views = tuple(
        TaskView(task.name, queue_of(task, handle), float(task.time_limit or 0)) for task in tasks if task.name
    )
    return replace(
        snapshot,
        tasks=views,
        task_problems=tuple(problems(registered, handle)),
        registered=frozenset(session.app.tasks),
        schedules={name: str(row["task"]) for name, row in (session.app.conf.beat_schedule or {}).items()},
    )


def _former_names(finding: Finding) -> dict[str, str]:
    """Add problem and fix under their former field names, for programs that read this command's records."""
    return {"what": finding.problem, "remedy": finding.fix}
