"""Which tick is due, whatever beat asks, and what a beat does about ticks it could not submit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import shared_task
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jobclaim.jobs import JobStatus, StoreUnavailable
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.schedule.beat import Every, JobScheduler, due_tick, tick_id
from jobclaim.workers.schedule.entries import entries, orphaned

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ran: list[Any] = []


@shared_task(base=JobTask, bind=True, name="beat.report")
def report(self: Any, of: str = "all") -> None:
    """Note the job's id."""
    ran.append((self.request.job.job_id, of))


@pytest.fixture(autouse=True)
def _as_before(jobclaim_app: Any) -> Iterator[None]:
    ran.clear()
    schedule = jobclaim_app.conf.beat_schedule
    yield
    jobclaim_app.conf.beat_schedule = schedule


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_an_interval_is_counted_from_the_epoch() -> None:
    hourly = Every(3600)
    assert due_tick(hourly, NOON - minutes(61), NOON + minutes(7)) == (NOON, NOON + minutes(60))


@given(now=MOMENTS, late=st.floats(0, 3000), started=st.floats(60, 7200), every=st.integers(1, 86_400))
def test_two_beats_mean_the_same_tick(now: datetime, late: float, started: float, every: int) -> None:
    tick = Every(every).boundary(now)
    one = due_tick(Every(every), now - timedelta(seconds=started), now)
    two = due_tick(Every(every), now - timedelta(seconds=60), tick + timedelta(seconds=min(late, every - 0.001)))
    assert one == two == (tick, tick + timedelta(seconds=every))


@given(now=MOMENTS, seen=st.floats(0, 3599), up=st.floats(60, 100_000))
def test_two_beats_mean_the_same_hour_of_a_crontab(now: datetime, seen: float, up: float) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    noticed = hour + timedelta(seconds=seen)
    known = crontab(minute="0")
    due, following = due_tick(known, hour - timedelta(seconds=up), noticed)
    assert (due, following) == (hour, hour + minutes(60))


def test_of_several_ticks_that_were_missed_the_latest_counts() -> None:
    assert due_tick(crontab(minute="*/10"), NOON - minutes(45), NOON + minutes(3))[0] == NOON


def test_a_beat_that_is_a_little_early_means_the_tick_that_comes() -> None:
    early = NOON - timedelta(milliseconds=8)
    assert due_tick(crontab(minute="0"), NOON - minutes(30), early)[0] == NOON


def test_ids_tell_schedule_and_time() -> None:
    assert tick_id("report", NOON) == "report@2026-11-21T12:00:00Z"


def scheduler(harness: Harness, **schedules: Any) -> JobScheduler:
    harness.use(schedules=schedules)
    harness.app.conf.beat_schedule = entries(harness.app.jobclaim.settings)
    return JobScheduler(harness.app)


def turn(beat: JobScheduler) -> None:
    while beat.tick() == 0:
        pass


@pytest.fixture
def hourly() -> dict[str, Any]:
    """A schedule whose tick is always due when a beat starts, and once only."""
    return {"task": "beat.report", "every": 30.0, "kwargs": {"of": "you"}}


def test_two_beats_make_one_job_of_a_tick(jobclaim: Harness, hourly: dict[str, Any]) -> None:
    for beat in (scheduler(jobclaim, report=hourly), scheduler(jobclaim, report=hourly)):
        turn(beat)
    assert len(jobclaim.submitted) in (1, 2)  # two, where a boundary lies between the beats
    ids = {job.job_id for job in jobclaim.submitted}
    assert len(ids) == len(jobclaim.submitted)
    jobclaim.drain()
    assert {job_id for job_id, _ in ran} == ids
    assert {of for _, of in ran} == {"you"}


def test_a_tick_expires_when_the_next_one_is_due(jobclaim: Harness, hourly: dict[str, Any]) -> None:
    turn(scheduler(jobclaim, report=hourly))
    job = jobclaim.submitted[0]
    due = datetime.fromisoformat(job.job_id.partition("@")[2])
    assert job.start_by == round((due.timestamp() + 30) * 1000)
    jobclaim.travel(31)
    jobclaim.drain()
    assert ran == []
    assert jobclaim.job(job).status is JobStatus.CANCELLED


def test_a_tick_may_expire_later(jobclaim: Harness, hourly: dict[str, Any]) -> None:
    turn(scheduler(jobclaim, report={**hourly, "expires": 500.0}))
    job = jobclaim.submitted[0]
    due = datetime.fromisoformat(job.job_id.partition("@")[2])
    assert job.start_by == round((due.timestamp() + 500) * 1000)


def test_a_start_does_not_make_up_for_what_was_due_long_ago(jobclaim: Harness) -> None:
    long_ago = datetime.now(UTC) - minutes(30)
    cron = f"{long_ago.minute} {long_ago.hour} * * *"
    turn(scheduler(jobclaim, nightly={"task": "beat.report", "cron": cron}))
    assert jobclaim.submitted == []


def test_a_tick_that_could_not_be_written_is_tried_again(
    jobclaim: Harness, hourly: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = scheduler(jobclaim, report={**hourly, "every": 3600.0 * 24 * 365 * 100})
    entry = beat.schedule["report"]
    due = datetime.now(UTC)

    def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(jobclaim.repo, "create_job", refuse)
        assert beat._submit(entry, due, due + minutes(5)) is None
        assert beat.tick() <= 1
    turn(beat)
    assert [job.job_id for job in jobclaim.submitted] == [tick_id("report", due)]


MOMENT = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


SAID: dict[str, Callable[[datetime], Any]] = {
    "text": lambda at: at.isoformat(),
    "text without a zone": lambda at: at.replace(tzinfo=None).isoformat(),
    "naive": lambda at: at.replace(tzinfo=None),
    "aware": lambda at: at,
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("over", [False, True], ids=["open", "over"])
def test_a_tick_with_a_moment_of_expiry_is_tried_again_until_then(
    jobclaim: Harness, hourly: dict[str, Any], monkeypatch: pytest.MonkeyPatch, said: str, over: bool
) -> None:
    beat = scheduler(jobclaim, report={**hourly, "every": 3600.0 * 24 * 365 * 100})
    entry, due = beat.schedule["report"], datetime.now(UTC)
    entry.options["expires"] = SAID[said](MOMENT - timedelta(days=2 if over else 0))

    def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(jobclaim.repo, "create_job", refuse)
        assert beat._submit(entry, due, None) is None
    turn(beat)
    told = [(job.job_id, job.start_by) for job in jobclaim.submitted]
    assert told == ([] if over else [(tick_id("report", due), round(MOMENT.timestamp() * 1000))])


def test_a_schedule_whose_task_does_not_exist_is_an_error_at_the_start(jobclaim: Harness) -> None:
    good, bad = ({"task": name, "every": 3600} for name in (report.name, "beat.gone"))
    with capture_logs() as lines:
        scheduler(jobclaim, good=good, bad=bad)
    said = [line for line in lines if line["event"] == "schedule.unknown_task"]
    assert [(line["schedule"], line["task"], line["log_level"]) for line in said] == [("bad", "beat.gone", "error")]


@pytest.mark.parametrize(
    ("registered", "known", "found"),
    [
        ({"shop.pay"}, (), {"tick": "shop.gone"}),
        ({"shop.pay", "shop.gone"}, (), {}),
        ({"shop.pay"}, {"shop.gone"}, {}),
        ({"celery.chord", "jobclaim.chord"}, (), {}),  # this beat imports no modules of tasks: it cannot tell
    ],
)
def test_a_beat_tells_orphaned_schedules_where_it_can(registered: set[str], known: Any, found: dict[str, str]) -> None:
    assert orphaned({"tick": "shop.gone"}, registered, known) == found


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="needs either every or cron"):
        Settings(schedules={"x": {"task": "t"}})
    with pytest.raises(ValueError, match="has 3 fields; write five"):
        Settings(schedules={"x": {"task": "t", "cron": "* * *"}})
    with pytest.raises(ValueError, match=r"schedules\['x'\].queue='nowhere'"):
        Settings(schedules={"x": {"task": "t", "every": 5, "queue": "nowhere"}})
    with pytest.raises(ValueError, match=r"(?s)schedules.x.*cron='61 \* \* \* \*' cannot be read: minute '61'"):
        Settings(schedules={"x": {"task": "t", "cron": "61 * * * *"}})
    with pytest.raises(ValueError, match=r"timezone='europe/berlin' is not an IANA.*did you mean 'Europe/Berlin'"):
        Settings(schedules={"x": {"task": "t", "cron": "0 1 * * *", "timezone": "europe/berlin"}})
    with pytest.raises(ValueError, match=r"timezone='America' is not an IANA time zone"):
        Settings(schedules={"x": {"task": "t", "cron": "0 1 * * *", "timezone": "America"}})
    for name in ("", " ", "a\tb", "a\x1fb", "x" * 201):
        with pytest.raises(ValueError, match="must have 1 to 200 printable characters"):
            Settings(schedules={name: {"task": "t", "every": 60}})
    with pytest.raises(ValueError, match="has no effect with every=60"):
        Settings(schedules={"x": {"task": "t", "every": 60, "timezone": "Europe/Berlin"}})
