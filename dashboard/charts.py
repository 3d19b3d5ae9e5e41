"""Chart geometry: pure functions from figures to rectangles; `templates/parts/charts.html` draws them.

Widths are shares of the chart in percent, so a chart fits every screen without a script and its text keeps its size;
heights are pixels. Every chart has its content as text too: a title, a description, and rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from jobclaim.views.humane import clock_time, span

HEIGHT: Final = 120
"""Height of a column chart's plot, pixels."""
NARROWEST: Final = 0.5
"""Percent; a shorter bar is drawn this wide, so that it stays visible."""
DAY_MS: Final = 86_400_000
STEPS: Final = (1, 2, 4, 6, 8, 10)
"""Ends of an axis whose middle is a whole number too."""


@dataclass(frozen=True, slots=True)
class Series:
    """One data series: its key, its label, and its color's name in the stylesheet."""

    key: str
    label: str
    tone: str


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle: x and width in percent, y and height in pixels."""

    x: float
    width: float
    y: float = 0.0
    height: float = 0.0
    tone: str = "idle"


@dataclass(frozen=True, slots=True)
class Tick:
    """A label beside an axis: percent along a horizontal one, pixels down a vertical one."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its hover area, its tooltip, and its stacked parts."""

    x: float
    width: float
    description: str
    parts: tuple[Rect, ...]


@dataclass(frozen=True, slots=True)
class ColumnChart:
    """Stacked columns over time. ``rows`` is the same data as a table: the time, then a figure per series."""

    title: str
    description: str
    series: tuple[Series, ...]
    columns: tuple[Column, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rows: tuple[tuple[str, ...], ...]
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        """Return whether all figures are zero."""
        return not any(column.parts for column in self.columns)


def column_chart(
    title: str, series: Sequence[Series], points: Sequence[tuple[int, Mapping[str, int]]], *, step_ms: int
) -> ColumnChart:
    """Stack figures over time.

    Parameters
    ----------
    points : sequence of (int, mapping)
        Start of each step, epoch milliseconds, oldest first, and its figures by series key.
    step_ms : int
        Length of a step, milliseconds.
    """
    totals = [sum(max(0, figures.get(one.key, 0)) for one in series) for _, figures in points]
    top = nice_top(max(totals, default=0))
    slot = 100 / max(1, len(points))
    form = "%H:%M" if step_ms < DAY_MS else "%m-%d"
    columns = tuple(_column(n, _time(at, form), figures, series, slot, top) for n, (at, figures) in enumerate(points))
    sums = ", ".join(f"{sum(figures.get(one.key, 0) for _, figures in points)} {one.label}" for one in series)
    length = f"in {span(step_ms * len(points))}, one column for {span(step_ms)}"
    return ColumnChart(
        title=title,
        description=f"{sums} {length}; most in one: {max(totals, default=0)}.",
        series=tuple(series),
        columns=columns,
        x_ticks=_time_ticks([_time(at, form) for at, _ in points], slot),
        y_ticks=tuple(Tick(HEIGHT - HEIGHT * share, f"{top * share:g}", "end") for share in (0.0, 0.5, 1.0)),
        rows=tuple(
            (clock_time(at), *(str(figures.get(one.key, 0)) for one in series)) for at, figures in reversed(points)
        ),
    )


def _column(n: int, time: str, figures: Mapping[str, int], series: Sequence[Series], slot: float, top: float) -> Column:
    x, width = n * slot + slot * 0.12, slot * 0.76
    parts: list[Rect] = []
    floor = float(HEIGHT)
    for one in series:
        value = max(0, figures.get(one.key, 0))
        if value:
            height = max(1.5, HEIGHT * value / top)
            floor -= height
            parts.append(Rect(round(x, 3), round(width, 3), round(floor, 2), round(height, 2), one.tone))
    counts = ", ".join(f"{figures.get(one.key, 0)} {one.label}" for one in series)
    return Column(round(n * slot, 3), round(slot, 3), f"{time}: {counts}", tuple(parts))


def nice_top(most: float) -> float:
    """Return a round number at or above the largest figure, for the end of an axis that starts at 0."""
    if most <= 2:
        return 2.0
    size = 10.0 ** math.floor(math.log10(most))
    return next(size * step for step in STEPS if size * step >= most and size * step % 2 == 0)


def _time_ticks(times: Sequence[str], slot: float, most: int = 6) -> tuple[Tick, ...]:
    every = max(1, math.ceil(len(times) / most))
    return tuple(Tick(round(n * slot + slot / 2, 3), time) for n, time in enumerate(times) if n % every == every // 2)


def _time(at: int, form: str) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime(form)


@dataclass(frozen=True, slots=True)
class Meter:
    """A figure as a share of its limit: a bar, and a line at the limit."""

    description: str
    value: str
    tone: str
    width: float
    limit_at: float


def meter(share: float, *, description: str, warn: float = 0.5) -> Meter:
    """Lay out how much of a limit is used; above 1 the bar is full and the line marks the limit."""
    tone = "bad" if share > 1 else "warn" if share > warn else "ok"
    scale = max(1.0, share)
    value = f"{share:.0%}" if share < 9.995 else f"{share:.0f} x"
    return Meter(description, value, tone, round(100 * max(0.0, share) / scale, 2), round(100 / scale, 2))


@dataclass(frozen=True, slots=True)
class Span:
    """A period, epoch milliseconds; equal ends mark a moment."""

    start: int
    end: int
    tone: str
    description: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn."""

    x: float
    width: float
    tone: str
    description: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a lane chart."""

    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class LaneChart:
    """Rows of spans over the same time. ``now_at`` is a percentage, negative if the current time is outside."""

    title: str
    description: str
    lanes: tuple[Lane, ...]
    x_ticks: tuple[Tick, ...]
    rows: tuple[tuple[str, ...], ...]
    now_at: float
    lane_height: int = 36

    @property
    def height(self) -> int:
        """Pixels of all lanes."""
        return self.lane_height * len(self.lanes)


def lane_chart(title: str, lanes: Sequence[tuple[str, Sequence[Span]]], *, start: int, end: int, now: int) -> LaneChart:
    """Lay out spans over time in lanes; clip them to ``start`` and ``end``."""
    length = max(1, end - start)

    def at(moment: int) -> float:
        return round(100 * min(max(moment - start, 0), length) / length, 3)

    drawn = tuple(
        Lane(
            label,
            tuple(
                Bar(
                    min(at(one.start), 100 - NARROWEST),
                    max(NARROWEST, at(one.end) - at(one.start)),
                    one.tone,
                    one.description,
                )
                for one in spans
                if one.end >= start and one.start <= end
            ),
        )
        for label, spans in lanes
    )
    return LaneChart(
        title=title,
        description=f"{len(drawn)} rows from {clock_time(start)} to {clock_time(end)}.",
        lanes=drawn,
        x_ticks=_lane_ticks(start, length),
        rows=tuple((label, one.description) for label, spans in lanes for one in spans),
        now_at=at(now) if start <= now <= end else -1.0,
    )


def _lane_ticks(start: int, length: int, parts: int = 4) -> tuple[Tick, ...]:
    form = "%H:%M:%S" if length < 600_000 else "%H:%M" if length <= 2 * 86_400_000 else "%m-%d"
    anchors = ["start", *["middle"] * (parts - 1), "end"]
    return tuple(
        Tick(100 * n / parts, datetime.fromtimestamp((start + length * n / parts) / 1000, UTC).strftime(form), anchor)
        for n, anchor in enumerate(anchors)
    )


class HeldClaim(Protocol):
    """The fields of an attempt that a chart needs: see `jobclaim.dashboard.queries.attempts.Held`."""

    number: int
    worker_id: str
    claimed_at: int
    lease_expires_at: int
    ended_at: int
    running: bool
    outcome: str
    tone: str


TONES: Final[Mapping[str, str]] = {"good": "ok", "bad": "bad", "warn": "warn", "calm": "idle", "live": "run"}


def attempts_chart(attempts: Sequence[HeldClaim], created_at: int, now: int) -> LaneChart:
    """Lay out a job's attempts over time from its submission on: which worker held the claim, from when until when."""
    ends = [now if one.running else one.ended_at or one.claimed_at for one in attempts]
    last = max(ends, default=now)
    lanes = [
        (f"{one.number}  {one.worker_id}".rstrip(), [_held(one, end)]) for one, end in zip(attempts, ends, strict=True)
    ]
    return lane_chart("Attempts", lanes, start=created_at, end=max(last, created_at + 1000), now=now)


def _held(one: HeldClaim, end: int) -> Span:
    start = one.claimed_at or end
    lasted = f"held {span(max(0, end - start))}, lease until {clock_time(one.lease_expires_at)}: {one.outcome}"
    return Span(start, end, TONES.get(one.tone, "idle"), lasted)
