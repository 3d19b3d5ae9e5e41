"""Beat with a scheduler of others: refused where it would do jobclaim's work, welcome for plain tasks alone."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.beat import PersistentScheduler, Scheduler

import jobclaim
from jobclaim.settings import ScheduleSpec, Settings
from jobclaim.workers.schedule import foreign
from jobclaim.workers.schedule.beat import JobScheduler

NIGHTLY = {"nightly": ScheduleSpec(task="report", every=60)}


@pytest.fixture(autouse=True)
def same_process() -> Iterator[None]:
    """Beat leaves its own handlers of signals and its timeout of new sockets behind, for its process ends with it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    timeout = socket.getdefaulttimeout()
    yield
    socket.setdefaulttimeout(timeout)
    for number, handler in before.items():
        signal.signal(number, handler)


class Own(JobScheduler):
    """A host's own, made of ours."""


class Foreign(Scheduler):
    """A host's own, made of Celery's."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Be there no longer than one turn."""
        raise KeyboardInterrupt


@pytest.mark.parametrize("scheduler", [JobScheduler, foreign.OURS, Own])
def test_our_own_and_what_is_made_of_it_run_everything(scheduler: Any) -> None:
    assert foreign.problem(scheduler, Settings(schedules=NIGHTLY)) is None


@pytest.mark.parametrize("scheduler", ["celery.beat:PersistentScheduler", PersistentScheduler, Foreign])
@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (Settings(), ["recovery's tick", "jobclaim recover --every", "recovery_by_beat=false"]),
        (Settings(schedules=NIGHTLY, recovery_by_beat=False), ["(nightly)", "move these schedules"]),
        (Settings(schedules=NIGHTLY), ["recovery's tick", "(nightly)", "recovery_by_beat=false", "move these"]),
    ],
)
def test_one_of_others_is_refused_with_reason_and_remedy(scheduler: Any, settings: Settings, parts: list[str]) -> None:
    found = foreign.problem(scheduler, settings)
    assert found is not None
    for part in [*parts, "Scheduler" if scheduler is not Foreign else "Foreign", "beat_scheduler and -S", foreign.OURS]:
        assert part in found


def test_one_of_others_runs_plain_tasks_where_recovery_runs_elsewhere() -> None:
    assert foreign.problem(Foreign, Settings(recovery_by_beat=False)) is None


@pytest.mark.parametrize("how", ["configuration", "option"])
def test_beat_does_not_start_however_the_scheduler_was_chosen(how: str, tmp_path: Any) -> None:
    app: Any = Celery("beating", set_as_current=False)
    if how == "configuration":
        app.conf.beat_scheduler = Foreign
    jobclaim.install(app, Settings(run_dir=str(tmp_path)))
    beat = app.Beat(quiet=True, scheduler=Foreign if how == "option" else None)
    with pytest.raises(SystemExit, match=r"beat cannot start: .*Foreign"):
        beat.start_scheduler()
    assert not list(tmp_path.iterdir())


def test_beat_starts_with_it_where_recovery_runs_elsewhere(tmp_path: Any) -> None:
    app: Any = Celery("beating", set_as_current=False)
    jobclaim.install(app, Settings(run_dir=str(tmp_path), recovery_by_beat=False))
    app.Beat(quiet=True, scheduler=Foreign).start_scheduler()
    assert [path.name for path in tmp_path.iterdir()] == ["beat.alive"]
