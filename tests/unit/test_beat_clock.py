"""What a beat does when its clock is wrong or set, and with schedules of every kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery, shared_task
from celery.schedules import BaseSchedule, crontab, schedstate, schedule
from structlog.testing import capture_logs

from jobclaim.cli.commands.worker.local import LocalWorker
from jobclaim.settings import ScheduleSpec, Settings
from jobclaim.workers import JobTask
from jobclaim.workers.schedule import alive
from jobclaim.workers.schedule.beat import SLACK_SECONDS, JobScheduler, due_tick, tick_id
from jobclaim.workers.schedule.entries import entries, merge_schedules
from jobclaim.workers.schedule.rhythm import CronTicks, Every, rhythm

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)


@shared_task(base=JobTask, name="beat.clocked")
def clocked() -> None:
    """Be submitted."""


class Clocked(JobScheduler):
    """A beat whose clock a test sets."""

    max_interval = 300.0

    def __init__(self, app: Any, at: datetime = NOON) -> None:
        self.at, self.elapsed, self.sent = at, 0.0, []  # type: ignore[var-annotated]
        self.clock, self.monotonic = (lambda: self.at), (lambda: self.elapsed)
        super().__init__(app)

    def _submit(self, entry: Any, due: datetime, following: datetime | None) -> Any:
        self.sent.append(tick_id(entry.name, due))
        self._submitted[entry.name] = self.elapsed

    def turn(self, **ahead: float) -> list[str]:
        """Let time pass, and give what was submitted then."""
        self.at, self.elapsed = self.at + timedelta(**ahead), self.elapsed + timedelta(**ahead).total_seconds()
        before = len(self.sent)
        self.tick()
        return sorted(self.sent[before:])


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("host", set_as_current=False, broker="memory://")
    yield made
    made.close()


def beat(app: Celery, at: datetime = NOON, **schedules: Any) -> Clocked:
    app.conf.beat_schedule = {
        name: known if isinstance(known, dict) else {"task": "beat.clocked", "schedule": known}
        for name, known in schedules.items()
    }
    return Clocked(app, at)


# --- a wrong clock
def test_a_clock_that_was_a_day_ahead_costs_no_tick(app: Celery) -> None:
    one = beat(app, minutely=60.0, hourly=crontab(minute="0"))
    assert one.turn(seconds=10) == ["hourly@2026-11-21T12:00:00Z", "minutely@2026-11-21T12:00:00Z"]
    one.at += DAY
    assert one.turn(seconds=20) == ["hourly@2026-11-22T12:00:00Z", "minutely@2026-11-22T12:00:00Z"]
    one.at -= DAY
    assert one.turn(seconds=31) == ["minutely@2026-11-21T12:01:00Z"]
    assert one.turn(seconds=60) == ["minutely@2026-11-21T12:02:00Z"]
    assert "hourly@2026-11-21T13:00:00Z" in one.turn(minutes=58)


def test_a_clock_set_back_an_hour_leaves_recovery_running(app: Celery) -> None:
    written: dict[str, Any] = {"jobclaim-recovery": 30.0}
    one = beat(app, **written)
    one.turn(seconds=5)
    one.at -= timedelta(hours=1)
    assert one.turn(seconds=5) == ["jobclaim-recovery@2026-11-21T11:00:00Z"]
    assert one.turn(seconds=30) == ["jobclaim-recovery@2026-11-21T11:00:30Z"]


@pytest.mark.parametrize("seconds", [0.2, -0.2, 0.9])
def test_a_clock_that_is_adjusted_a_little_runs_no_tick_twice(app: Celery, seconds: float) -> None:
    one = beat(app, minutely=60.0)
    assert len(one.turn(seconds=1)) == 1
    one.at -= timedelta(seconds=1 + seconds)
    assert one.turn(seconds=1.3) == one.turn(seconds=2) == []


def test_the_reset_is_logged_once(app: Celery) -> None:
    one = beat(app, a=60.0, b=60.0)
    one.turn(seconds=1)
    one.at -= DAY
    with capture_logs() as lines:
        one.turn(seconds=1)
        one.turn(seconds=1)
    told = [line for line in lines if line["event"] == "schedule.clock_reset"]
    assert [(line["ahead_seconds"], line["count"]) for line in told] == [(86_399.0, 2)]


def test_an_entry_that_waits_behind_others_is_not_forgotten_when_the_clock_is_set(app: Celery) -> None:
    one = beat(app, yearly=crontab(minute="0", hour="0", day_of_month="1", month_of_year="1"), minutely=60.0)
    one.at += DAY
    one.turn(seconds=20)
    one.at -= DAY
    assert [one.turn(minutes=1) for _ in range(3)] == [[f"minutely@2026-11-21T12:0{n}:00Z"] for n in (1, 2, 3)]


# --- health
def test_a_beat_that_turns_without_a_tick_is_not_healthy(app: Celery, tmp_path: Path) -> None:
    one = beat(app, minutely=60.0)
    alive.watch(SimpleNamespace(scheduler=one), tmp_path)
    worker = LocalWorker("beat", tmp_path)
    one.turn(seconds=1)
    assert worker.health(600).ok
    one._submit = lambda *_: None  # type: ignore[method-assign]
    one.turn(seconds=60 + SLACK_SECONDS - 2)
    assert worker.health(600).ok
    one.turn(seconds=5)
    told = worker.health(600)
    assert not told.ok
    assert "does not submit ticks of schedules minutely" in told.why
    del one._submit
    one.turn(minutes=1)
    assert worker.health(600).ok


def test_a_clock_that_was_ahead_does_not_hide_a_stuck_loop(tmp_path: Path) -> None:
    (tmp_path / "beat.alive").touch()
    worker = LocalWorker("beat", tmp_path)
    touched = (tmp_path / "beat.alive").stat().st_mtime
    assert worker.health(600, now=lambda: touched + 10).ok
    assert "in the future" in worker.health(600, now=lambda: touched - 86_400).why


@pytest.mark.parametrize("alive", [True, False])
def test_the_beat_of_a_worker_ends_when_its_main_process_was_killed(
    app: Celery, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    one = beat(app, minutely=60.0)
    child = SimpleNamespace(_parent_pid=os.getppid() if alive else os.getpid())
    monkeypatch.setattr("jobclaim.workers.schedule.beat.current_process", lambda: child)
    with capture_logs() as lines, nullcontext() if alive else pytest.raises(SystemExit):
        one.turn(seconds=1)
    assert bool(one.sent) is alive
    assert [line["event"] for line in lines] == ([] if alive else ["beat.orphaned"])


def test_a_schedule_that_never_fires_is_not_overdue(app: Celery) -> None:
    app.conf.beat_schedule = entries(Settings(schedules={"never": {"task": "t", "cron": "0 0 30 2 *"}}))
    one = Clocked(app)
    assert one.turn(days=9) == []
    assert one.overdue() == []
    assert one.tick() == 300


# --- schedules of every kind
class Solar(BaseSchedule):
    """A schedule of the host's own, that fires at a fixed time of each day."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        noon = last_run_at.astimezone(UTC).replace(hour=12, minute=1, second=0, microsecond=0)
        following = noon if noon > last_run_at else noon + DAY
        left: timedelta = following - self.now()
        return left

    def is_due(self, last_run_at: datetime) -> Any:
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        return schedstate(remaining <= 0, remaining if remaining > 0 else 86_400)


def test_a_schedule_of_the_hosts_own_is_asked_itself_and_two_beats_mean_one_tick(app: Celery) -> None:
    beats = [beat(app, at=NOON + timedelta(milliseconds=late)) for late in (0, 400)]
    for one in beats:
        solar = Solar(nowfun=one.clock)
        one.schedule["solar"] = one.Entry(name="solar", task="t", schedule=solar, last_run_at=one.at, app=app)
    assert [one.turn(seconds=59) for one in beats] == [[], []]
    assert [one.turn(seconds=1.2) for one in beats] == [["solar@2026-11-21T12:01:00Z"]] * 2
    assert [one.turn(seconds=1.2) for one in beats] == [[], []]


def test_a_schedule_that_fails_does_not_stop_the_others(app: Celery) -> None:
    class Broken(BaseSchedule):
        def is_due(self, last_run_at: datetime) -> Any:
            raise RuntimeError("no almanac")

    assert beat(app, broken=Broken(), minutely=60.0).turn(seconds=1) == ["minutely@2026-11-21T12:00:00Z"]


def test_two_beats_mean_the_same_tick_of_what_the_host_wrote(app: Celery) -> None:
    app.conf.timezone = "Europe/Berlin"
    written = {
        "number": 300,
        "delta": timedelta(minutes=5),
        "plain": schedule(300.0),
        "nightly": crontab(minute="0", hour="13"),  # in Berlin
    }
    beats = [beat(app, at=NOON - timedelta(seconds=early), **written) for early in (3, 40)]
    for one in beats:
        one.at = NOON + timedelta(seconds=2)
        assert one.turn() == [f"{name}@2026-11-21T12:00:00Z" for name in sorted(written)]


def test_entries_added_when_the_app_is_configured_run(app: Celery) -> None:
    @app.on_after_configure.connect
    def configured(sender: Celery, **_: Any) -> None:
        sender.add_periodic_task(60.0, sender.signature("t"), name="configured")

    @app.on_after_finalize.connect
    def finalized(sender: Celery, **_: Any) -> None:
        sender.add_periodic_task(crontab(minute="*/5"), sender.signature("t"), name="finalized")

    app.finalize()
    assert app.conf.beat_schedule
    one = Clocked(app)
    assert one.turn(seconds=1) == ["configured@2026-11-21T12:00:00Z", "finalized@2026-11-21T12:00:00Z"]


def test_an_entry_that_is_added_while_beat_runs_is_read_like_the_others(app: Celery) -> None:
    one = beat(app)
    one.add(name="added", task="t", schedule=60.0, last_run_at=NOON - DAY)
    assert one.turn(seconds=7) == ["added@2026-11-21T12:00:00Z"]


@pytest.mark.parametrize(
    ("night", "runs"),
    [("2026-10-24T20:00", ["2026-10-25T00:30:00Z"]), ("2026-03-28T20:00", ["2026-03-29T01:00:00Z"])],
)
def test_the_night_of_a_clock_change_has_one_tick(app: Celery, night: str, runs: list[str]) -> None:
    app.conf.timezone = "Europe/Berlin"
    spec = ScheduleSpec(task="t", cron="30 2 * * *", timezone="Europe/Berlin")
    app.conf.beat_schedule = {
        "theirs": {"task": "t", "schedule": crontab(minute="30", hour="2")},
        **entries(Settings(schedules={"ours": spec})),
    }
    one = Clocked(app, datetime.fromisoformat(night).replace(tzinfo=UTC))
    submitted = [tick for _ in range(10 * 60) for tick in one.turn(minutes=1)]
    assert submitted == [f"{name}@{at}" for at in runs for name in ("ours", "theirs")]


def test_a_tick_years_ahead_comes(app: Celery) -> None:
    leap = datetime(2028, 2, 29, 12, tzinfo=UTC)
    app.conf.beat_schedule = entries(Settings(schedules={"leap": {"task": "t", "cron": "0 12 29 2 *"}}))
    one = Clocked(app, datetime(2026, 11, 21, tzinfo=UTC))
    assert one.turn(days=400) == []
    one.at = leap - timedelta(seconds=1)
    assert one.turn(seconds=2) == ["leap@2028-02-29T12:00:00Z"]
    following = due_tick(one.schedule["leap"].schedule, leap - DAY, leap)[1]
    assert following == datetime(2032, 2, 29, 12, tzinfo=UTC)


def test_days_of_a_crontab_of_celery_must_fit_both(app: Celery) -> None:
    first_monday = rhythm(crontab(minute="0", hour="0", day_of_month="1-7", day_of_week="mon"), UTC)
    assert first_monday.following(NOON) == datetime(2026, 12, 7, tzinfo=UTC)


def test_what_has_its_own_clock_is_left_as_it_is() -> None:
    class Odd(crontab):
        """A subclass may mean anything."""

    for known in (crontab(nowfun=lambda: NOON), schedule(60.0, nowfun=lambda: NOON), Odd(), 7):
        assert rhythm(known, UTC) is known
    assert rhythm(schedule(60.0), UTC) == Every(60)
    assert rhythm(crontab(), BERLIN) == rhythm(crontab(), BERLIN)


# --- the host's entries and ours
def test_schedules_of_settings_and_of_the_host_join() -> None:
    own = entries(Settings(schedules={"a": {"task": "t", "cron": "0 3 * * *"}}))
    host = {"b": {"task": "u", "schedule": 5.0}}
    assert merge_schedules(own, host) == {**own, **host}
    assert merge_schedules(own, None) == own
    again = entries(Settings(schedules={"a": {"task": "t", "cron": "0 3 * * *"}}))
    assert merge_schedules(again, merge_schedules(own, host)) == merge_schedules(own, host)


def test_one_name_for_two_entries_is_refused_with_both_sources() -> None:
    own = entries(Settings(schedules={"a": {"task": "t", "cron": "0 3 * * *"}}))
    with pytest.raises(ValueError, match=r"'a' is defined twice: by jobclaim's settings, for task 't', and by .*'u'"):
        merge_schedules(own, {"a": {"task": "u", "schedule": 5.0}})


def test_rhythms_survive_a_pickle() -> None:
    import pickle

    for known in (Every(7), CronTicks(rhythm(crontab(minute="7"), BERLIN).cron, BERLIN)):
        assert pickle.loads(pickle.dumps(known)) == known  # noqa: S301
