"""Charts are laid out by pure functions, and say in words and rows what they draw."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.dashboard import charts
from jobclaim.dashboard.pages import environment

MINUTE = 60_000
SERIES = (charts.Series("done", "completed", "ok"), charts.Series("failed", "failed", "bad"))
POINTS = [(n * MINUTE, {"done": n, "failed": 1 if n == 3 else 0}) for n in range(6)]


@dataclass
class Claim:
    number: int
    claimed_at: int
    ended_at: int
    tone: str = "bad"
    running: bool = False
    worker_id: str = "w-1"
    lease_expires_at: int = 90_000
    outcome: str = "fail"


def test_a_column_is_as_high_as_its_share_of_the_axis() -> None:
    chart = charts.column_chart("Ended", SERIES, POINTS, step_ms=MINUTE)
    # five in the last step, an axis to six
    assert chart.columns[5].parts[0].height == pytest.approx(charts.HEIGHT * 5 / 6, abs=0.01)
    assert [tick.text for tick in chart.y_ticks] == ["0", "3", "6"]


def test_failures_stand_on_what_completed() -> None:
    done, failed = charts.column_chart("Ended", SERIES, POINTS, step_ms=MINUTE).columns[3].parts
    assert (done.tone, failed.tone) == ("ok", "bad")
    assert failed.y + failed.height == pytest.approx(done.y, abs=0.01)


def test_one_failure_among_thousands_is_still_seen() -> None:
    chart = charts.column_chart("Ended", SERIES, [(0, {"done": 90_000, "failed": 1})], step_ms=MINUTE)
    assert chart.columns[0].parts[1].height >= 1.5


def test_a_chart_says_the_same_in_words_and_rows() -> None:
    chart = charts.column_chart("Ended", SERIES, POINTS, step_ms=MINUTE)
    assert chart.description == "15 completed, 1 failed in 6 min, one column for 1 min; most in one: 5."
    assert chart.rows[0] == ("1970-01-01 00:05:00Z", "5", "0"), "newest first"
    assert len(chart.rows) == len(POINTS)


def test_a_chart_of_nothing_knows_that_it_is_empty() -> None:
    assert charts.column_chart("Ended", SERIES, [(0, {}), (MINUTE, {"done": 0})], step_ms=MINUTE).is_empty
    assert charts.column_chart("Ended", SERIES, [], step_ms=MINUTE).is_empty


@given(st.integers(min_value=0, max_value=10**12))
def test_an_axis_ends_at_a_round_figure_that_is_high_enough(most: int) -> None:
    top = charts.nice_top(most)
    assert top >= max(2, most)
    assert top <= max(2, 2.01 * most), "no more than half of the chart is empty"
    assert (top / 2).is_integer(), "its middle is a whole figure too"


@given(st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=40))
def test_no_column_leaves_the_chart(figures: list[int]) -> None:
    chart = charts.column_chart("Any", SERIES, [(n, {"done": value}) for n, value in enumerate(figures)], step_ms=1)
    for column in chart.columns:
        assert 0 <= column.x <= column.x + column.width <= 100.01
        assert all(part.y >= -1.6 and part.y + part.height <= charts.HEIGHT + 0.01 for part in column.parts)


@pytest.mark.parametrize(
    ("share", "tone", "value", "width", "limit_at"),
    [
        (0.0, "ok", "0%", 0, 100),
        (0.4, "ok", "40%", 40, 100),
        (1.0, "warn", "100%", 100, 100),
        (2.5, "bad", "250%", 100, 40),
        (40.0, "bad", "40 x", 100, 2.5),
    ],
)
def test_a_meter_shows_where_the_limit_was_once_it_is_passed(
    share: float, tone: str, value: str, width: float, limit_at: float
) -> None:
    drawn = charts.meter(share, description="x")
    assert (drawn.tone, drawn.value, drawn.width, drawn.limit_at) == (tone, value, width, limit_at)


def test_lanes_cut_what_lies_outside_and_widen_what_is_too_short_to_see() -> None:
    spans = [charts.Span(-50, 50, "ok", "a"), charts.Span(100, 100, "bad", "b"), charts.Span(900, 950, "ok", "never")]
    (lane,) = charts.lane_chart("Time", [("one", spans)], start=0, end=100, now=50).lanes
    assert [(bar.x, bar.width) for bar in lane.bars] == [(0, 50), (99.5, 0.5)]


def test_the_line_for_now_is_drawn_only_where_now_is_in_the_chart() -> None:
    assert charts.lane_chart("Time", [], start=0, end=100, now=25).now_at == 25
    assert charts.lane_chart("Time", [], start=0, end=100, now=101).now_at < 0


def test_a_running_attempt_reaches_until_now() -> None:
    held = [Claim(1, 10_000, 40_000, "warn"), Claim(2, 60_000, 0, "live", running=True)]
    chart = charts.attempts_chart(held, 0, 100_000)
    assert [lane.bars[0].tone for lane in chart.lanes] == ["warn", "run"]
    assert chart.lanes[1].bars[0].x + chart.lanes[1].bars[0].width == pytest.approx(100)
    assert "held 30 s, lease until 1970-01-01 00:01:30Z" in chart.lanes[0].bars[0].description


def test_a_drawn_chart_has_title_description_and_table_and_escapes_its_labels() -> None:
    template = environment().from_string(
        '{% import "parts/charts.html" as draw %}{{ draw.columns(bars, "a") }}{{ draw.lanes(lanes, "b", ["x"]) }}'
    )
    bars = charts.column_chart("<b>Ended</b>", SERIES, POINTS, step_ms=MINUTE)
    lanes = charts.lane_chart(
        "Lanes", [("<script>alert(1)</script>", [charts.Span(0, 1, "ok", '"x"')])], start=0, end=9, now=0
    )
    html = template.render(bars=bars, lanes=lanes)
    assert '<title id="a-t">&lt;b&gt;Ended&lt;/b&gt;</title>' in html
    assert 'aria-labelledby="a-t a-d"' in html
    assert "<script>" not in html
    assert html.count("<summary>As a table</summary>") == 2
    assert not re.search(r"\sstyle=|\son\w+=", html), "the content security policy would drop it"
