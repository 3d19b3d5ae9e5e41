"""The Celery app: ``celery -A jobclaim worker``. `create_app` makes one from any settings."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celery import Celery, current_app, signals

from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.breaker import Breakers
from jobclaim.jobs.tally import Tally
from jobclaim.jobs.throttle import FleetLimits
from jobclaim.settings import Settings
from jobclaim.workers import decorator, identity, limits
from jobclaim.workers.config import celery_config
from jobclaim.workers.process import board, startup
from jobclaim.workers.schedule import alive as beat_alive
from jobclaim.workers.submission.dispatch import publish
from jobclaim.workers.task import JobTask
from jobclaim.workers.telemetry import logs, metrics, traces

STEPS = (
    "jobclaim.workers.process.steps:ParentStep",
    "jobclaim.workers.process.steps:ProtectionStep",
    "jobclaim.workers.process.alive:Alive",
)
"""By name: only a worker imports them."""


class JobclaimApp(Celery):
    """A Celery app that knows its `Settings` and the repo of its jobs."""

    settings: Settings

    def forked(self) -> None:
        """Make everything that holds a lock anew: a thread of the main process may have held it during the fork."""
        for name in ("repo", "fleet_limits", "breakers", "tally"):
            self.__dict__.pop(name, None)
        self.repo.table.client()  # a first claim that makes it would use up the task's time limit

    @cached_property
    def repo(self) -> JobRepo:
        """The app's repo; its DynamoDB client is made anew in each process."""
        return JobRepo.from_settings(self.settings)

    @cached_property
    def fleet_limits(self) -> FleetLimits:
        """Rates and concurrency that the whole fleet keeps."""
        return FleetLimits.of(self.repo)

    @cached_property
    def breakers(self) -> Breakers:
        """Which external services count as down, for the whole fleet."""
        return Breakers.of(self.repo)

    @cached_property
    def tally(self) -> Tally:
        """What the fleet counts for its alerts."""
        return Tally.of(self.repo)


def create_app(settings: Settings) -> JobclaimApp:
    """Make an app: queues, routes, limits and recovery's schedule come from settings; AWS is not asked anything yet."""
    made = JobclaimApp("jobclaim", set_as_current=True, control="jobclaim.workers.cancel:JobControl")
    made.settings = settings
    made.conf.update(celery_config(settings))
    decorator.watch(made)
    made.steps["worker"].update(STEPS)
    return made


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    logs.configure(app.settings)


@signals.worker_init.connect
def _prepare_to_fork(sender: Any, **_: Any) -> None:
    identity.adopt()
    board.put_up()
    metrics.prepare(app.settings)
    metrics.serve(app.settings)
    if isinstance(sender.app, JobclaimApp):
        sender.app.repo.table.client()  # children make their own, but share what it imports


@signals.worker_process_init.connect
def _after_fork(**_: Any) -> None:
    running = current_app._get_current_object()
    if isinstance(running, JobclaimApp):
        running.forked()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _export_the_rest(**_: Any) -> None:
    traces.flush()
    metrics.flush()


@signals.celeryd_after_setup.connect
def _refuse_wrong_tasks(instance: Any, **_: Any) -> None:
    """Stop before the first job where a task could not keep the limits that everything is derived from."""
    tasks = [task for task in instance.app.tasks.values() if isinstance(task, JobTask)]
    if found := limits.problems(tasks, instance.app.settings):
        raise SystemExit("jobclaim: this worker does not start:\n" + "\n".join(f"- {problem}" for problem in found))
    startup.refuse_low_visibility(instance, instance.app.settings)


@signals.beat_init.connect
def _watch_beat(sender: Any, **_: Any) -> None:
    beat_alive.watch(sender, app.settings.run_folder)


app = create_app(Settings())


def send(job: Job, delay_seconds: float = 0.0) -> None:
    """Publish the message of a job's next attempt through `app`; for callers who have none. Raises as `publish`."""
    publish(app, job, delay_seconds)
