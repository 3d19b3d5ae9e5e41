"""The README's picture: which faults each peer survives, its price and its speed. SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from bench.peers import figures
from bench.peers.catalog import OURS
from bench.peers.figures import Row

WIDTH: Final = 860
TOP: Final = 46
LINE: Final = 34
NAME_AT: Final = 16
FAULTS_AT: Final = (258, 338, 418)
FAULT_NAMES: Final = ("duplicate", "kill -9", "equal calls")
PRICE_AT, PRICE_WIDTH = 480, 130
SPEED_AT, SPEED_WIDTH = 676, 130

FOOT: Final = "✓ the work is done, once. Price: SQS and DynamoDB at list prices, Redis not in it."

STYLE: Final = """
  text { font: 13px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .head { font-size: 12px; fill: #59636e }
  .ours { font-weight: 600 }
  .band { fill: #ddf4ff }
  .bar { fill: #afb8c1 }
  .ours-bar { fill: #0969da }
  .yes { stroke: #1a7f37; stroke-width: 2.5; fill: none }
  .no { stroke: #d1242f; stroke-width: 2.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .head { fill: #9198a1 }
    .band { fill: #121d2f }
    .bar { fill: #656c76 }
    .ours-bar { fill: #4493f8 }
    .yes { stroke: #3fb950 }
    .no { stroke: #f85149 }
  }
"""


def draw(result: Mapping[str, Any]) -> str:
    """Draw the picture of a result of ``python -m bench.peers``.

    A peer without figures or faults is left out, and one whose figures are about those of another, which are the ones
    that were not measured over a slow line.
    """
    rows = [row for row in figures.rows(result) if row.numbers and row.faults and (row.judged or _differs(row))]
    height = TOP + LINE * len(rows) + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
            f"<title>{escape(_title(rows))}</title>",
            f"<style>{STYLE}</style>",
            *_head(result),
            *(line for number, row in enumerate(rows) for line in _row(row, TOP + LINE * number, rows)),
            f'<text class="head" x="{NAME_AT}" y="{height - 14}">{FOOT}</text>',
            "</svg>",
            "",
        ]
    )


def _differs(row: Row) -> bool:
    return bool(row.numbers and row.numbers["per_second_slow_line"])


def _title(rows: Sequence[Row]) -> str:
    best = [row.title.strip("*") for row in rows if row.passes]
    return f"Peers on SQS under three faults, their price and their speed; all three are passed by {', '.join(best)}"


def _head(result: Mapping[str, Any]) -> list[str]:
    latency = result["about"]["latency_ms"]
    labels = [(at, name, "middle") for at, name in zip(FAULTS_AT, FAULT_NAMES, strict=True)]
    labels += [(PRICE_AT, "$ per million jobs", "start")]
    labels += [(SPEED_AT, f"jobs/s at {latency['sqs']:g}/{latency['dynamodb']:g} ms", "start")]
    return [f'<text class="head" x="{x}" y="26" text-anchor="{anchor}">{label}</text>' for x, label, anchor in labels]


def _row(row: Row, y: int, rows: Sequence[Row]) -> list[str]:
    own = row.key == OURS
    middle = y + LINE // 2
    lines = [f'<rect class="band" x="4" y="{y}" width="{WIDTH - 8}" height="{LINE}" rx="6"/>'] if own else []
    name = escape(row.title.replace("*", "").replace("`", ""))
    lines.append(f'<text{_ours(own)} x="{NAME_AT}" y="{middle + 5}">{name}</text>')
    for at, fault in zip(FAULTS_AT, figures.FAULTS, strict=True):
        lines.append(_mark(at, middle, passed=row.faults[fault][0]))
    for at, width, number, form in (
        (PRICE_AT, PRICE_WIDTH, "dollars", "${:.2f}"),
        (SPEED_AT, SPEED_WIDTH, "per_second_with_latency", "{:.0f}"),
    ):
        lines += _bar(row, rows, number, (at, middle, width), form)
    return lines


def _bar(row: Row, rows: Sequence[Row], number: str, where: tuple[int, int, int], form: str) -> list[str]:
    (x, y, room), own = where, row.key == OURS
    most = max(other.numbers[number] for other in rows if other.numbers)
    value = (row.numbers or {})[number]
    width = max(2, round(room * value / most))
    shape = f'<rect class="{"ours-bar" if own else "bar"}" x="{x}" y="{y - 7}" width="{width}" height="14" rx="3"/>'
    return [shape, f'<text{_ours(own)} x="{x + width + 6}" y="{y + 5}">{form.format(value)}</text>']


def _mark(x: int, y: int, *, passed: bool) -> str:
    if passed:
        return f'<path class="yes" d="M{x - 6} {y}l4 5l8 -10"/>'
    return f'<path class="no" d="M{x - 5} {y - 5}l10 10M{x + 5} {y - 5}l-10 10"/>'


def _ours(own: bool) -> str:
    return ' class="ours"' if own else ""
