"""Run the demo from start to verdict: play the story, show its progress, and draw the result."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobclaim.cli.demo.stage import stage
from jobclaim.cli.demo.story import Story, Stuck
from jobclaim.cli.demo.verdict import Verified, figures, judge
from jobclaim.cli.drawing import Drawn, cell, grid, stacked
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Output, remark, say
from jobclaim.cli.processes import signals_as_interrupt


def play(out: Output, keep: Path | None = None) -> ExitCode:
    """Run the demo; return `ExitCode.OK` only if every guarantee held.

    Parameters
    ----------
    keep : Path, optional
        Directory for logs and evidence; default: a temporary directory, which is removed unless a guarantee failed.
    """
    directory = keep or Path(tempfile.mkdtemp(prefix="jobclaim-demo-"))
    ok = False
    try:
        record = _perform(directory)
        ok = record["ok"]
        out.one(record, lambda: _drawn(record))
        if not ok:
            _explain(record, directory)
        return ExitCode.OK if ok else ExitCode.ERROR
    except KeyboardInterrupt:
        ok = True
        raise
    finally:
        if keep is None and (ok or not any(directory.glob("worker-*.log"))):
            shutil.rmtree(directory, ignore_errors=True)


def _perform(directory: Path) -> dict[str, Any]:
    """Play the story in a directory and judge it; return figures and claims."""
    began = time.monotonic()
    with signals_as_interrupt() as check:
        tell = _telling(check)
        tell("A local AWS starts, with tables and queues")
        with stage(directory) as set_up:
            story = Story(set_up, tell)
            stuck = _play(story)
            set_up.end()  # stopped first, so that nothing happens after the evidence is collected
            evidence = story.evidence()
    claims = judge(evidence)
    if stuck:
        claims.append(Verified("The scenario is complete", False, stuck))
    return {
        "ok": all(claim.held for claim in claims),
        "seconds": round(time.monotonic() - began, 1),
        "figures": figures(evidence),
        "claims": [{"claim": claim.promise, "held": claim.held, "finding": claim.finding} for claim in claims],
    }


def _play(story: Story) -> str:
    """Play the story; report an error instead of raising it: the evidence so far is more useful than a traceback."""
    try:
        story.play()
    except Stuck as error:
        return str(error)
    return ""


def _telling(check: Callable[[], None]) -> Callable[[str], None]:
    """Return what shows each step with its time as a line; after an interrupt, the next step ends the story."""
    began = time.monotonic()

    def tell(step: str) -> None:
        check()
        say(f"  {step}", err=True, prefix=cell(f"{time.monotonic() - began:5.1f} s", "dim"))

    return tell


def _drawn(record: dict[str, Any]) -> Drawn:
    judged = []
    for claim in record["claims"]:
        mark = cell("holds", "green") if claim["held"] else cell("FAILS", "bold red")
        judged.append((mark, claim["claim"], cell(claim["finding"], "dim")))
    return stacked(
        cell("What happened", "bold"),
        grid([(name, cell(str(value), "bold")) for name, value in record["figures"].items()], right={1}),
        "",
        cell("What it shows", "bold"),
        grid(judged, whole={0, 1}),
        "",
        f"{'All of it holds' if record['ok'] else 'It does not hold'}, after {record['seconds']} s.",
    )


def _explain(record: dict[str, Any], directory: Path) -> None:
    for claim in record["claims"]:
        if not claim["held"]:
            remark(f"failed: {claim['claim']}: {claim['finding']}")
    remark(f"Logs of all processes are kept in {directory}")
