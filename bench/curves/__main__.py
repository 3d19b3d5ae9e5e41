"""Measure a curve of docs/scale.md, print it and, with ``--write``, keep its results and draw it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bench import cpu
from bench.curves import page


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    if arguments.curve == "draw":
        return page.draw()
    busy, began = cpu.busy_share(), time.monotonic()
    measured = _measured(arguments)
    measured["about"] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "busy_before": round(busy, 2),
        "seconds": round(time.monotonic() - began),
    }
    sys.stdout.write(page.CURVES[arguments.curve][1](measured) + "\n")
    if not arguments.write:
        return 0
    known = json.loads(page.RESULT.read_text()) if page.RESULT.exists() else {}
    page.RESULT.write_text(json.dumps({**known, arguments.curve: measured}, indent=1) + "\n")
    return page.draw()


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.curve == "sweep":
        from bench.curves.sweeps import sweeps

        return {"points": sweeps(arguments.jobs or 100_000)}
    from bench.curves import workers

    if arguments.curve == "memory":
        return workers.memory(arguments.jobs or 200_000, arguments.processes, arguments.minutes)
    return workers.scaling(arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.add_argument("curve", choices=(*page.CURVES, "draw"))
    parser.add_argument("--jobs", type=int, help="sweep: the most open jobs, default 100,000; memory: default 200,000")
    parser.add_argument("--rounds", type=int, default=3, help="scaling: rounds by turns")
    parser.add_argument("--processes", type=int, default=8, help="memory: processes of the worker")
    parser.add_argument("--minutes", type=float, default=60, help="memory: begin with no further jobs after that")
    parser.add_argument("--write", action="store_true", help="write bench/results/curves.json, docs/scale.md, docs/img")
    parser.add_argument("--check", action="store_true", help="draw: compare instead of writing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
