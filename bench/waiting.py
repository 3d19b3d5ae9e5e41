"""A thread-pool worker with bodies that wait: how fast it drains a backlog, and its memory compared with prefork.

``python -m bench.waiting`` starts the stub with 10 ms on each SQS and 5 ms on each DynamoDB request and a worker with
``-P threads -c 100``, submits 2,000 jobs that wait 1 s each while the stub holds their messages back, and measures from
their release to the last COMPLETED: 20 s at best. With ``--memory`` it also starts workers of both pools, gives every
slot a job, and reads how much memory each takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import cpu
from bench.stub import ROOT, RunningStub, running_stub, running_worker

RESULTS = ROOT / "bench" / "results" / "waiting.md"
STATE_CHANGES = "UpdateItem jobclaim-jobs"
SUBMIT = """
import sys
from concurrent.futures import ThreadPoolExecutor
import jobclaim.workers
from bench.waiting_tasks import {task} as task
with ThreadPoolExecutor(4) as pool:
    list(pool.map(task.delay, [float(sys.argv[2])] * int(sys.argv[1])))
"""
MEMORY = (("prefork", 8), ("prefork", 16), ("threads", 16), ("threads", 100))


@dataclass(frozen=True)
class Drained:
    """Results of one worker."""

    task: str
    seconds: float
    cpu_ms_per_job: float


def main() -> int:
    """Run, print and write the tables."""
    arguments = _arguments()
    with running_stub() as stub:
        os.environ.update(stub.settings(JOBCLAIM_TASK_MODULES='["bench.waiting_tasks"]', JOBCLAIM_LOG_LEVEL="INFO"))
        _provision()
        drained = [_drain(stub, task, arguments) for task in ("wait_async", "wait")]
        memory = [(pool, size, _memory(stub, pool, size)) for pool, size in MEMORY] if arguments.memory else []
    table = _table(drained, memory, arguments)
    sys.stdout.write(table)
    if arguments.write:
        RESULTS.write_text(table)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--sqs-ms", type=float, default=10)
    parser.add_argument("--dynamodb-ms", type=float, default=5)
    parser.add_argument("--memory", action="store_true", help="read the memory of workers of both pools, too")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.relative_to(ROOT)}")
    return parser.parse_args()


def _provision() -> None:
    from jobclaim.infra import provision
    from jobclaim.settings import Settings

    provision(Settings())


def _drain(stub: RunningStub, task: str, arguments: argparse.Namespace) -> Drained:
    with _worker("threads", arguments.threads) as pid:
        _submit(task, arguments.threads, 0.1)
        _wait_for_changes(stub, 2 * arguments.threads)
        stub.control(hold=True, reset=True)
        _submit(task, arguments.jobs, arguments.seconds)
        latency = {"sqs": arguments.sqs_ms, "dynamodb": arguments.dynamodb_ms}
        before = cpu.seconds(pid)
        released = stub.control(hold=False, latency_ms=latency)["now"]
        _wait_for_changes(stub, 2 * arguments.jobs)
        spent = cpu.seconds(pid) - before
        last = stub.control(latency_ms={"sqs": 0, "dynamodb": 0})["last_at"][STATE_CHANGES]
        stub.control(reset=True)
    return Drained(task, last - released, 1000 * spent / arguments.jobs)


def _memory(stub: RunningStub, pool: str, size: int) -> float:
    """Measure the megabytes of a worker and its children, with a job in each slot; shared pages in proportion (PSS)."""
    with _worker(pool, size) as pid:
        stub.control(reset=True)
        _submit("wait", size, 5.0)
        _wait_for_changes(stub, size)
        time.sleep(1)  # until the last claims are written and their bodies wait
        family = [pid, *_children(pid)]
        return sum(_pss_kb(each) for each in family) / 1024


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (status := entry / "status").exists():
            match = re.search(r"^PPid:\s+(\d+)", status.read_text(), re.MULTILINE)
            if match and int(match[1]) == parent:
                found.append(int(entry.name))
    return found


def _pss_kb(pid: int) -> int:
    match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def _worker(pool: str, size: int) -> AbstractContextManager[int]:
    return running_worker("jobclaim", "-Q", "default", "-P", pool, "-c", str(size), stop_seconds=150)


def _submit(task: str, count: int, seconds: float) -> None:
    program = SUBMIT.format(task=task)
    argv = [sys.executable, "-c", program, str(count), str(seconds)]
    subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _wait_for_changes(stub: RunningStub, count: int) -> None:
    deadline = time.monotonic() + 300
    while stub.control()["requests"].get(STATE_CHANGES, 0) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker did not finish: {stub.control()}")
        time.sleep(0.1)


def _table(drained: list[Drained], memory: list[tuple[str, int, float]], arguments: argparse.Namespace) -> str:
    best = arguments.jobs * arguments.seconds / arguments.threads
    lines = [
        "# Bodies that wait, in threads",
        "",
        (
            f"{arguments.jobs:,} jobs that wait {arguments.seconds:g} s each, one worker with `-P threads -c "
            f"{arguments.threads}`, so {best:g} s at best; {arguments.sqs_ms:g} ms on each SQS and "
            f"{arguments.dynamodb_ms:g} ms on each DynamoDB request, on the stub of `bench/stub_aws`; Python "
            f"{platform.python_version()}, {os.cpu_count()} cores. Made by `python -m bench.waiting`."
        ),
        "",
        "| body | drained in | CPU of the worker, ms a job |",
        "|---|---|---|",
    ]
    names = {"wait_async": "`async def`, `asyncio.sleep`", "wait": "`def`, `time.sleep`"}
    lines += [f"| {names[one.task]} | {one.seconds:.1f} s | {one.cpu_ms_per_job:.1f} |" for one in drained]
    if memory:
        lines += ["", "| worker, every slot busy | memory (PSS) | a slot |", "|---|---|---|"]
        lines += [f"| `-P {pool} -c {size}` | {mb:.0f} MB | {mb / size:.1f} MB |" for pool, size, mb in memory]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
