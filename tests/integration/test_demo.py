"""The demo as its user runs it: real workers, a real kill, and a verdict that counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobclaim.cli.demo.ledger import read_bodies
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

DEMO = [sys.executable, "-m", "jobclaim", "demo"]
LIMIT_SECONDS = 300
"""The demo takes 20 s on two free cores."""


def processes_in(directory: Path) -> list[int]:
    """Find the processes that work in a directory: the demo's children do."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == directory:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_the_demo_holds_every_promise_and_leaves_no_process(tmp_path: Path) -> None:
    """Takes 20 s: a worker is killed, and recovery settles its jobs once it is taken for dead."""
    stage = tmp_path / "stage"
    run = subprocess.run(
        [*DEMO, "-o", "json", "--keep", str(stage)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        # what the caller has set for a deployment of his own must not matter
        env=os.environ | {"JOBCLAIM_MAX_ATTEMPTS": "1", "JOBCLAIM_JOB_TABLE": "another"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    outcome = json.loads(run.stdout)
    assert outcome["ok"]
    assert all(claim["held"] for claim in outcome["claims"])
    figures = outcome["figures"]
    assert (figures["submitted"], figures["completed"], figures["duplicates injected"]) == (100, 100, 30)
    assert (figures["orphaned"], figures["claimed"]) == (2, 102)
    assert figures["claims refused"] >= 30
    assert figures["re-dispatched"] >= 1
    assert figures["most bodies in one attempt"] == 1
    # the same, counted once more by hand
    bodies = read_bodies(stage / "bodies.txt")
    assert len({(body.job_id, body.attempt) for body in bodies}) == len(bodies) == 102
    assert len({body.job_id for body in bodies}) == 100
    wait_until(lambda: not processes_in(stage), 30, "no process is left")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_ends_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    with WarmProcess("demo", [*DEMO, "--keep", str(stage)], log_dir=tmp_path) as demo:
        wait_until(lambda: len(processes_in(stage)) > 3, 60, "its workers run")
        demo.send(number)
        assert demo.wait_for_exit(30) != 0
        wait_until(lambda: not processes_in(stage), 30, lambda: f"no process is left of {processes_in(stage)}")


def test_evidence_of_two_runs_is_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "bodies.txt").write_text("")
    run = subprocess.run([*DEMO, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert "is not empty" in run.stderr
