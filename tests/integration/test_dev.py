"""`jobclaim dev` as its user runs it: the printed environment works, jobs run, and Ctrl-C ends everything."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.processes import ManagedProcess
from tests.support.stack import ROOT
from tests.support.waiting import wait_until

CLI = [sys.executable, "-m", "jobclaim"]
TASKS = {
    "PYTHONPATH": str(ROOT),  # the examples are not installed
    "JOBCLAIM_TASK_MODULES": '["examples"]',
    "JOBCLAIM_WAIT_TIME_SECONDS": "1",
    "JOBCLAIM_POLLING_INTERVAL_SECONDS": "0.1",
}


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[ManagedProcess]:
    """A running `jobclaim dev` in a directory of its own, with the examples as tasks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ["--concurrency", "4", "--port", port]
    with ManagedProcess(
        "dev",
        [*CLI, "dev", *options],
        log_dir=tmp_path,
        env=os.environ | TASKS | {"XDG_RUNTIME_DIR": str(tmp_path)},
        cwd=tmp_path,
    ) as process:
        process.wait_for_line(r"worker@\S+ ready", 120)
        yield process


def children_of(pid: int) -> list[int]:
    """Find the processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def printed_environment(dev: ManagedProcess) -> dict[str, str]:
    """Read the lines that a user would paste."""
    lines = [line.removeprefix("export ") for line in dev.log().splitlines() if line.startswith("export ")]
    return dict(shlex.split(line)[0].split("=", 1) for line in lines)


def run(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command from another terminal."""
    env = os.environ | TASKS | environment
    return warm.run([*CLI, *arguments], env=env, cwd=cwd)


def ends_all(dev: ManagedProcess, number: signal.Signals) -> None:
    """Send one signal, as a terminal does, which ends everything."""
    children = children_of(dev.pid)
    assert len(children) == 4
    dev.send(number)
    assert dev.wait_for_exit(30) == 0
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 30, "no child is left")


def test_jobs_submitted_from_another_terminal_run_until_one_sigint_ends_all(
    dev: ManagedProcess, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("to be or not to be")
    environment = printed_environment(dev)
    done = run(
        environment, "submit", "examples.process_document", "--args", json.dumps([str(letter)]), "--wait", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr + dev.describe()
    record = json.loads(done.stdout)
    assert (record["status"], record["result"]["words"]) == ("COMPLETED", 6)
    assert json.loads(Path(f"{letter}.words.json").read_text())["most_common"]["be"] == 2

    failed = run(environment, "submit", "examples.process_document", "--args", '["/nowhere"]', "--wait", cwd=tmp_path)
    assert failed.returncode == 1
    assert "FileNotFoundError" in json.loads(failed.stdout)["failure"]["exception"]

    by_hand = json.dumps({"path": str(letter)})
    plain = run(environment, "submit", "examples.plain_count_words", "--kwargs", by_hand, "--wait", cwd=tmp_path)
    assert json.loads(plain.stdout)["result"] == {"words": 6}, plain.stderr + dev.describe()
    assert not (tmp_path / "jobclaim").exists(), "they are not workers of this machine, which `worker` starts and stops"

    shown = run(environment, "show", record["job_id"], "-o", "table", cwd=tmp_path)
    assert "attempt 1 claimed" in shown.stdout

    # a worker that is drained is started again, and nothing is lost
    seen = len(dev.log())
    drained = run(environment, "worker", "stop", "--id", record["worker_id"], cwd=tmp_path)
    assert drained.returncode == 0, drained.stderr
    dev.wait_for_line("worker was stopped; starting it again", 30, after=seen)
    dev.wait_for_line(r"worker@\S+ ready", 120, after=seen)
    assert run(environment, "show", record["job_id"], cwd=tmp_path).returncode == 0
    again = run(environment, "submit", "examples.plain_count_words", "--kwargs", by_hand, "--wait", cwd=tmp_path)
    assert json.loads(again.stdout)["result"] == {"words": 6}, again.stderr + dev.describe()
    ends_all(dev, signal.SIGINT)


def test_a_part_that_dies_ends_the_others_and_says_so(dev: ManagedProcess) -> None:
    children = children_of(dev.pid)
    os.kill(children[0], signal.SIGKILL)
    assert dev.wait_for_exit(30) == 1
    assert "ended with -9" in dev.log()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 30, "no child is left")


def test_tasks_written_after_the_start_run_until_one_sigterm_ends_all(tmp_path: Path) -> None:
    """The README's order: `jobclaim dev`, then tasks.py; the printed environment names them."""
    tasks = TASKS | {"PYTHONPATH": "", "JOBCLAIM_TASK_MODULES": '["late_tasks.letters"]'}
    argv = [*CLI, "dev", "--dashboard-port", "0", "--concurrency", "1"]
    with warm.WarmProcess("late", argv, log_dir=tmp_path, env=os.environ | tasks, cwd=tmp_path) as late:
        late.wait_for_line(r"Waiting for 'late_tasks.letters', of JOBCLAIM_TASK_MODULES", 30)
        (tmp_path / "making").mkdir()
        (tmp_path / "making" / "letters.py").write_text(
            "from celery import shared_task\nfrom jobclaim import JobTask\n\n\n"
            "@shared_task(base=JobTask, name='late.double')\ndef double(x):\n    return 2 * x\n"
        )
        (tmp_path / "making").rename(tmp_path / "late_tasks")
        late.wait_for_line(r"worker@\S+ ready", 120)
        env = {name: value for name, value in os.environ.items() if not name.startswith("JOBCLAIM_")}
        argv = [*CLI, "submit", "late.double", "--args", "[21]", "--wait"]
        done = warm.run(argv, env=env | printed_environment(late), cwd=tmp_path)
        assert done.returncode == 0, done.stderr + late.describe()
        assert json.loads(done.stdout)["result"] == 42
        ends_all(late, signal.SIGTERM)
