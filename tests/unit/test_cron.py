"""Cron expressions are read as crontab(5) has them, and fire once a day that changes the clock, in every zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobclaim.specs.cron import Cron, CronError, parse_cron
from jobclaim.specs.ticks import next_tick, previous_tick, ticks_after, ticks_before
from tests.support.volume import volume

MINUTE = timedelta(minutes=1)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
CHANGES = {
    BERLIN: ["2026-03-29", "2026-10-25"],
    NEW_YORK: ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # by half an hour
    "Asia/Kathmandu": ["2026-05-01"],  # 5 h 45 min from UTC, never changed
    "America/St_Johns": ["2010-03-14", "2010-11-07"],  # a minute past midnight, so back into the day before
    "America/Sao_Paulo": ["2018-02-18", "2018-11-04"],  # at midnight
    "Pacific/Apia": ["2011-12-30"],  # a day that never was
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],  # for Ramadan
    "UTC": ["2026-03-29"],
}


# --- the language
@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * 0-7", "weekdays", set(range(7))),
        ("0 0 * * 5-7", "weekdays", {5, 6, 0}),
        ("0 0 * * sat-sun", "weekdays", {6, 0}),
        ("0 0 * * SUN,Wed", "weekdays", {0, 3}),
        ("0 0 * * 1-5/2", "weekdays", {1, 3, 5}),
        ("0 0 * * */2", "weekdays", {0, 2, 4, 6}),
        ("*/20 * * * *", "minutes", {0, 20, 40}),
        ("5-59/20 * * * *", "minutes", {5, 25, 45}),
        ("1,2,40-42 * * * *", "minutes", {1, 2, 40, 41, 42}),
        ("*/60 * * * *", "minutes", {0}),
        ("0 */6 * * *", "hours", {0, 6, 12, 18}),
        ("0 0 1 jan-mar *", "months", {1, 2, 3}),
        ("0 0 1 Dec *", "months", {12}),
        ("  0   0\t1,31 * *  ", "days", {1, 31}),
        ("@daily", "hours", {0}),
        ("@weekly", "weekdays", {0}),
        ("@Yearly", "months", {1}),
    ],
)
def test_a_field_is_read(text: str, field: str, values: set[int]) -> None:
    assert getattr(parse_cron(text), field) == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("61 * * * *", "minute '61' is out of range; write 0 to 59"),
        ("* 24 * * *", "hour '24' is out of range"),
        ("* * 0 * *", "day of month '0' is out of range; write 1 to 31"),
        ("* * * 13 *", "month '13' is out of range; write 1 to 12, or jan to dec"),
        ("* * * * 8", "day of week '8' is out of range; write 0 to 7, or sun to sat"),
        ("0 0 * * mon#1", "day of week 'mon#1': the n-th weekday of a month is not standard cron"),
        ("0 0 L * *", "the last day"),
        ("0 0 15W * *", "'L' and 'W', are not standard cron"),
        ("0 0 LW * *", "not standard cron"),
        ("0 0 * * 5L", "not standard cron"),
        ("0 0 ? * *", r"'\?' is not standard cron; write '\*'"),
        ("5/15 * * * *", "write 5-59/15"),
        ("*/0 * * * *", "a step must be a number from 1 to 60"),
        ("*/61 * * * *", "a step must be a number from 1 to 60"),
        ("*/x * * * *", "a step must be a number"),
        ("0 22-4 * * *", "hour '22-4' runs backwards; write 22-23,0-4"),
        ("0 0 * * monday", r"did you mean 'mon'\?"),
        ("1,,2 * * * *", "empty entry"),
        ("- * * * *", "minute '' is not understood"),
        ("* * * jan-x *", "month 'x' is not understood"),
        ("-5 * * * *", "minute '' is not understood"),
        ("1.5 * * * *", "minute '1.5' is not understood"),
        ("٣ * * * *", "is not understood"),
        ("* * * *", "has 4 fields; write five"),
        ("0 * * * * *", "has 6 fields; write five"),
        ("", "has 0 fields"),
        ("@reboot", "does not run at the start of a machine"),
        ("@fortnightly", "the nickname is not known"),
    ],
)
def test_what_cron_does_not_have_is_refused_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(CronError, match=says) as caught:
        parse_cron(text)
    assert repr(text) in str(caught.value)


def test_of_two_restricted_days_either_is_enough() -> None:
    friday_or_13th = parse_cron("0 0 13 * fri")
    assert friday_or_13th.fits_day(date(2026, 11, 20))
    assert friday_or_13th.fits_day(date(2026, 12, 13))
    assert not friday_or_13th.fits_day(date(2026, 12, 14))


@pytest.mark.parametrize("text", ["0 0 * * fri", "0 0 13 * *", "0 0 */2 * fri", "0 0 13 * */5"])
def test_a_day_field_that_begins_with_a_star_does_not_add_days(text: str) -> None:
    assert not parse_cron(text).either_day


# --- ticks
def oracle(cron: Cron, first: datetime, last: datetime, zone: ZoneInfo) -> list[datetime]:
    """Watch a clock on the wall minute by minute, and fire for each time that it shows or jumps over for the first."""

    def fits(wall: datetime) -> bool:
        return cron.fits_day(wall.date()) and wall.hour in cron.hours and wall.minute in cron.minutes

    found = []
    at = first - timedelta(days=2)
    seen = at.astimezone(zone).replace(tzinfo=None)
    while at <= last:
        wall = at.astimezone(zone).replace(tzinfo=None)
        if len(cron.hours) == 24:
            fires = fits(wall)
        else:
            fires = any(fits(seen + n * MINUTE) for n in range(1, (wall - seen) // MINUTE + 1))
        if fires and at >= first:
            found.append(at)
        seen, at = max(seen, wall), at + MINUTE
    return found


fields = st.one_of(st.just("*"), st.sampled_from(["*/15", "0", "30", "0,30", "7-11", "59", "1", "45"]))
hours = st.one_of(st.just("*"), st.sampled_from(["0", "1", "2", "3", "23", "1-3", "*/2", "0,12", "22-23"]))
days = st.sampled_from(["* * *", "* * *", "*/2 * *", "29-31 * *", "* * sun", "1 * sat", "* 3,10 *", "5-8,25 * sun"])
zones = st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days])


@given(minute=fields, hour=hours, day=days, where=zones, ahead=st.integers(0, 2_880))
@example(minute="30", hour="2", day="* * *", where=(BERLIN, "2026-03-29"), ahead=1_500)
@example(minute="30", hour="2", day="* * *", where=(BERLIN, "2026-10-25"), ahead=1_500)
@settings(max_examples=volume(60), deadline=None)
def test_ticks_are_those_of_a_clock_on_the_wall(
    minute: str, hour: str, day: str, where: tuple[str, str], ahead: int
) -> None:
    zone, cron = ZoneInfo(where[0]), parse_cron(f"{minute} {hour} {day}")
    start = datetime.fromisoformat(where[1]).replace(tzinfo=UTC) - timedelta(days=1, minutes=720 - ahead)
    end = start + timedelta(days=2)
    expected = oracle(cron, start, end, zone)
    assert list(until(end, ticks_after(cron, start - MINUTE, zone))) == expected
    assert [at for at in islice(ticks_before(cron, end, zone), len(expected) + 1) if at >= start] == expected[::-1]


def until(end: datetime, ticks: Iterator[datetime]) -> Iterator[datetime]:
    for at in ticks:
        if at > end:
            return
        yield at


@pytest.mark.parametrize(
    ("text", "zone", "day", "runs"),
    [
        ("30 2 * * *", BERLIN, "2026-03-29", ["01:00"]),  # 03:00 is the next minute that exists
        ("30 2 * * *", BERLIN, "2026-10-25", ["00:30"]),  # once, the first time
        ("*/10 2 * * *", BERLIN, "2026-03-29", ["01:00"]),
        ("*/30 2 * * *", BERLIN, "2026-10-25", ["00:00", "00:30"]),
        ("0 2,3 * * *", BERLIN, "2026-03-29", ["01:00"]),  # two ticks that meet are one
        ("30 2 * * *", NEW_YORK, "2026-03-08", ["07:00"]),
        ("30 1 * * *", NEW_YORK, "2026-11-01", ["05:30"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03", ["15:30"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04", ["14:45"]),
        ("0 0 * * *", "Asia/Kathmandu", "2026-05-01", ["18:15"]),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-30", ["10:00"]),
        ("30 * * * *", BERLIN, "2026-03-29", [f"{hour:02}:30" for hour in range(24)]),
        ("0 * * * *", BERLIN, "2026-10-25", [f"{hour:02}:00" for hour in range(24)]),
    ],
)
def test_a_day_of_ticks(text: str, zone: str, day: str, runs: list[str]) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    ticks = until(
        start + timedelta(hours=23, minutes=59), ticks_after(parse_cron(text), start - MINUTE, ZoneInfo(zone))
    )
    assert [f"{at:%H:%M}" for at in ticks] == runs


@pytest.mark.parametrize(
    ("text", "after", "comes"),
    [
        ("0 12 29 2 *", "2026-11-21", "2028-02-29 12:00"),
        ("0 12 29 2 *", "2096-03-01", "2104-02-29 12:00"),
        ("0 0 31 12 *", "2026-12-31 00:00", "2027-12-31 00:00"),
        ("* * 29 2 *", "2025-03-01", "2028-02-29 00:00"),
    ],
)
def test_a_tick_years_ahead_is_found(text: str, after: str, comes: str) -> None:
    cron, at = parse_cron(text), datetime.fromisoformat(comes).replace(tzinfo=UTC)
    assert next_tick(cron, datetime.fromisoformat(after).replace(tzinfo=UTC), UTC) == at
    assert previous_tick(cron, at + MINUTE / 2, UTC) == at


def test_a_rare_weekday_and_date_is_found() -> None:
    friday_13th = Cron(frozenset({0}), frozenset({0}), frozenset({5}), frozenset({13}), frozenset({2}))
    assert next_tick(friday_13th, datetime(2026, 11, 21, tzinfo=UTC), UTC) == datetime(2032, 2, 13, tzinfo=UTC)


def test_a_day_that_never_comes_has_no_tick() -> None:
    for text in ("0 0 30 2 *", "* * 31 4 *"):
        assert next_tick(parse_cron(text), datetime(2026, 1, 1, tzinfo=UTC), UTC) is None
        assert previous_tick(parse_cron(text), datetime(2026, 1, 1, tzinfo=UTC), UTC) is None
        assert not parse_cron(text).ever_fires()


@given(
    at=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    zone=st.sampled_from(sorted(CHANGES)),
    text=st.sampled_from(["30 2 * * *", "*/7 1-3 * * *", "0 * * * *", "15 0 1 * mon", "59 23 * * 0"]),
)
@settings(max_examples=volume(60), deadline=None)
def test_the_next_tick_is_the_one_after_the_previous(at: datetime, zone: str, text: str) -> None:
    cron, where = parse_cron(text), ZoneInfo(zone)
    before, after = previous_tick(cron, at, where), next_tick(cron, at, where)
    assert before is not None
    assert after is not None
    assert before <= at < after
    assert next_tick(cron, before, where) == after
    assert previous_tick(cron, after, where) == after
    assert previous_tick(cron, after - timedelta(microseconds=1), where) == before


def test_no_two_ticks_are_the_same() -> None:
    ticks = list(
        islice(ticks_after(parse_cron("*/10 1-3 * * *"), datetime(2026, 3, 28, tzinfo=UTC), ZoneInfo(BERLIN)), 60)
    )
    assert all(earlier < later for earlier, later in pairwise(ticks))
