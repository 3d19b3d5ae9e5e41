"""The curves of docs/scale.md are those that their results give."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.curves import page
from bench.curves.chart import Chart

ABOUT = {"date": "2026-01-01", "python": "3.11", "cores": 2, "busy_before": 0.1, "seconds": 1}
RESULTS: dict[str, Any] = {
    "scaling": {
        "about": ABOUT,
        "rounds": 3,
        "points": [
            {"processes": 1, "per_second": [80.0, 90.0, 100.0], "cpu_ms": 2.0, "parent_cpu_ms": 1.0},
            {"processes": 2, "per_second": [180.0, 180.0, 180.0], "cpu_ms": 2.0, "parent_cpu_ms": 0.5},
        ],
    },
    "sweep": {
        "about": {**ABOUT, "busy_before": 0.9},
        "points": [
            {"jobs": 1_000, "requests": 60, "seconds": 0.5, "examined": 1_000},
            {"jobs": 100_000, "requests": 111, "seconds": 1.5, "examined": 4_000},
        ],
    },
    "memory": {
        "about": ABOUT,
        "processes": 8,
        "samples": [[10_000, 100.0, 50.0], [20_000, 110.0, 50.0], [30_000, 110.0, 50.0]],
    },
}


def test_page_and_pictures_are_what_the_results_give() -> None:
    written = page.wanted(page.PAGE.read_text(), json.loads(page.RESULT.read_text()))

    assert {path.name for path, text in written.items() if path.read_text() != text} == set(), (
        "run python -m bench.curves draw"
    )


def test_a_page_gets_the_sections_between_their_markers() -> None:
    written = page.wanted(page.PAGE.read_text(), RESULTS)
    text = written[page.PAGE]

    assert "| 1 | 90 (80 to 100) | 2.00 | 1.00 | 1,000 |" in text
    assert "| 100,000 | 111 | 4,000 | 1.5 | 25 |" in text
    assert "grew by 0.000 KB a job" in text
    assert text.count("on a machine that had other work") == 1
    assert page.wanted(text, RESULTS) == written


@pytest.mark.parametrize("doubling", [False, True])
def test_a_chart_places_its_points_between_its_axes(doubling: bool) -> None:
    points = [(1.0, 0.0), (4.0, 50.0), (16.0, 100.0)]
    drawn = Chart("title", "x", {"one": points, "<limit>": points}, frozenset({"<limit>"}), doubling).draw()

    lines = [line for line in ElementTree.fromstring(drawn).iter() if line.tag.endswith("polyline")]  # noqa: S314 - ours
    assert [line.get("class") for line in lines] == ["c0", "c1 assumed"]
    x, y = (lines[0].get("points") or "").split()[1].split(",")
    assert float(y) == pytest.approx(156, abs=0.1)
    assert float(x) == pytest.approx(297 if doubling else 64 + 466 / 4, abs=0.1)
