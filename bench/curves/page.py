"""Pictures and sections of docs/scale.md from bench/results/curves.json. No measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.curves.chart import Chart
from bench.peers.report import table
from bench.sections import replaced, write_or_compare
from bench.stub import ROOT

RESULT: Final = ROOT / "bench" / "results" / "curves.json"
PAGE: Final = ROOT / "docs" / "scale.md"
BUSY: Final = 0.25
"""Share of the cores at work before a measurement from which on its times mean little."""
PICTURES: Final = ROOT / "docs" / "img"


def scaling_chart(result: Mapping[str, Any]) -> Chart:
    """Draw speed by processes, and the two limits: of waiting for requests, and of the main process."""
    points = result["points"]
    fed = _fed(result)
    return Chart(
        f"Jobs per second of one worker at 10/5 ms, {result['about']['cores']} cores",
        "processes",
        {
            "jobclaim": [(one["processes"], median(one["per_second"])) for one in points],
            "what its main process can feed": [(one["processes"], fed) for one in points],
        },
        computed=frozenset({"what its main process can feed"}),
        doubling=True,
    )


def scaling_section(result: Mapping[str, Any]) -> str:
    """Write the table of speed by processes."""
    lines = [
        [
            f"{one['processes']}",
            _spread(one["per_second"]),
            f"{one['cpu_ms']:.2f}",
            f"{one['parent_cpu_ms']:.2f}",
            f"{1000 / one['parent_cpu_ms']:,.0f}",
        ]
        for one in result["points"]
    ]
    head = ("processes", "jobs/s at 10/5 ms", "CPU ms a job", "of the main process", "jobs/s it can feed")
    setting = _setting(result, f"{result['rounds']} rounds by turns, on the metering stub")
    return f"{setting}\n\n{table(head, lines)}"


def sweep_chart(result: Mapping[str, Any]) -> Chart:
    """Draw the requests of a pass by open jobs."""
    points = [(one["jobs"], one["requests"]) for one in result["points"]]
    return Chart("Requests of one recovery pass to DynamoDB", "open jobs", {"a pass": points}, doubling=True)


def sweep_section(result: Mapping[str, Any]) -> str:
    """Write the table of passes by open jobs."""
    lines = [
        [
            f"{one['jobs']:,}",
            f"{one['requests']:,}",
            f"{one['examined']:,}",
            f"{one['seconds']:.1f}",
            f"{math.ceil(one['jobs'] / one['examined'])}",
        ]
        for one in result["points"]
    ]
    head = ("open jobs", "requests a pass", "jobs read", "seconds", "passes until all were read")
    return f"{_setting(result, 'default settings, one queue')}\n\n{table(head, lines)}"


def memory_chart(result: Mapping[str, Any]) -> Chart:
    """Draw resident memory by jobs done."""
    samples = result["samples"]
    return Chart(
        "MB of resident memory of one worker",
        "jobs done",
        {
            "main process": [(jobs, parent) for jobs, parent, _ in samples],
            "its largest child": [(jobs, child) for jobs, _, child in samples],
        },
    )


def memory_section(result: Mapping[str, Any]) -> str:
    """Write what the line comes to."""
    samples = result["samples"]
    middle = samples[len(samples) // 2]
    shown = (samples[0], middle, samples[-1])
    lines = [[f"{jobs:,}", f"{parent:.1f}", f"{child:.1f}"] for jobs, parent, child in shown]
    growth = 1024 * (samples[-1][1] - middle[1]) / (samples[-1][0] - middle[0])
    rows = table(("jobs done", "main process, MB", "largest child, MB"), lines)
    setting = _setting(result, f"{result['processes']} processes, no-op jobs, on the metering stub")
    return f"{setting}\n\n{rows}\n\nOver the second half the main process grew by {growth:.3f} KB a job."


CURVES: Final = {
    "scaling": (scaling_chart, scaling_section),
    "sweep": (sweep_chart, sweep_section),
    "memory": (memory_chart, memory_section),
}


def wanted(page: str, results: Mapping[str, Any]) -> dict[Path, str]:
    """Return the page and the pictures that the results give."""
    files: dict[Path, str] = {}
    for name, (chart, section) in CURVES.items():
        if name in results:
            picture = chart(results[name])
            files[PICTURES / f"{name}.svg"] = picture.draw()
            text = f"![{picture.title}](img/{name}.svg)\n\n{section(results[name])}"
            begin = f"<!-- curve {name}: written by `python -m bench.curves {name} --write` -->"
            page = replaced(page, begin, f"<!-- /curve {name} -->", f"\n{text}\n", name="docs/scale.md", what=name)
    return {PAGE: page, **files}


def draw() -> int:
    """Write the page and the pictures, or compare them with ``--check``."""
    return write_or_compare(wanted(PAGE.read_text(), json.loads(RESULT.read_text())), RESULT, "bench.curves draw")


def _fed(result: Mapping[str, Any]) -> float:
    """Return the jobs per second at which a worker's main process uses a whole core, by its cheapest run."""
    return float(1000 / min(one["parent_cpu_ms"] for one in result["points"]))


def _spread(values: list[float]) -> str:
    return f"{median(values):,.0f}" + (f" ({min(values):,.0f} to {max(values):,.0f})" if len(values) > 1 else "")


def _setting(result: Mapping[str, Any], what: str) -> str:
    about = result["about"]
    loaded = ", **on a machine that had other work**" if about["busy_before"] > BUSY else ""
    return f"{about['date']}, Python {about['python']}, {about['cores']} cores{loaded}: {what}."
