"""A line chart as SVG, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 48
STEPS: Final = (1, 2, 5)
STYLE: Final = """
  text { font: 12px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #59636e }
  .title { font-size: 14px; font-weight: 600; fill: #1f2328 }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  polyline { fill: none; stroke-width: 2.5 }
  .c0 { stroke: #0969da } .c1 { stroke: #bc4c00 } .c2 { stroke: #1a7f37 }
  .assumed { stroke-dasharray: 5 4; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .title { fill: #f0f6fc }
    .grid { stroke: #3d444d }
    .c0 { stroke: #4493f8 } .c1 { stroke: #db6d28 } .c2 { stroke: #3fb950 }
  }
"""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn.

    Attributes
    ----------
    title, x : str
        What is shown, with its unit, and what the horizontal axis is.
    series : mapping
        Points by name, at most three; those in `computed` are dashed.
    doubling : bool
        Whether the axis of x is logarithmic, with a mark for each point of the first series.
    """

    title: str
    x: str
    series: Mapping[str, Points]
    computed: frozenset[str] = frozenset()
    doubling: bool = False

    def draw(self) -> str:
        """Draw it."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{STYLE}</style>",
            f'<text class="title" x="{LEFT}" y="22">{escape(self.title)}</text>',
            *self._grid(),
            *(line for number, name in enumerate(self.series) for line in self._line(number, name)),
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 10}" text-anchor="middle">{escape(self.x)}</text>',
        ]
        return "\n".join([*lines, "</svg>", ""])

    def _grid(self) -> list[str]:
        lines = []
        for value in _marks(self._top()):
            y = self._place(self._xs()[0], value)[1]
            lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
        for value in self._xs() if self.doubling else _marks(self._xs()[-1]):
            x = self._place(value, 0)[0]
            lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,g}</text>')
        return lines

    def _line(self, number: int, name: str) -> list[str]:
        places = [self._place(x, y) for x, y in self.series[name]]
        dashed = " assumed" if name in self.computed else ""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        x, y = places[-1]
        return [
            f'<polyline class="c{number}{dashed}" points="{points}"/>',
            f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(name)}</text>',
        ]

    def _place(self, x: float, y: float) -> tuple[float, float]:
        first, last = self._xs()[0] if self.doubling else 0, self._xs()[-1]
        share = math.log(x / first) / math.log(last / first) if self.doubling else x / last
        room = HEIGHT - TOP - BOTTOM
        return LEFT + share * (WIDTH - LEFT - RIGHT), TOP + room * (1 - y / self._top())

    def _xs(self) -> list[float]:
        return [x for x, _ in next(iter(self.series.values()))]

    def _top(self) -> float:
        most = max(y for points in self.series.values() for _, y in points)
        step = _step(most)
        return math.ceil(most / step) * step


def _marks(most: float) -> list[float]:
    step = _step(most)
    return [step * number for number in range(round(most / step) + 1)]


def _step(most: float) -> float:
    """Return a round distance between the marks of an axis, of which there are four to ten."""
    power = 10.0 ** math.floor(math.log10(most / 4))
    return power * max(step for step in STEPS if step * power <= most / 4)
