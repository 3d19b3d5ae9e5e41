"""Jobs per second and requests per job: jobclaim against plain Celery on SQS, same settings, in alternating rounds.

``python -m bench.throughput`` starts the stub with 10 ms on each SQS and 5 ms on each DynamoDB request, and for each
side and round a worker of 8 processes, warmed up with a few jobs. Then 2,000 no-op jobs are submitted while the stub
holds their messages back; the clock runs from their release to the last DeleteMessage and the last COMPLETED.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench import cpu
from bench.stub import ROOT, RunningStub, running_stub, running_worker

RESULTS = ROOT / "bench" / "results" / "throughput.md"
JOB_TABLE = "jobclaim-jobs"
STATE_CHANGES = f"UpdateItem {JOB_TABLE}"
SHOWN = ("SendMessage", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch", f"PutItem {JOB_TABLE}", STATE_CHANGES)
SUBMIT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from {module} import nothing
{setup}
with ThreadPoolExecutor(4) as pool:
    list(pool.map(nothing.delay, range(int(sys.argv[1]))))
"""


@dataclass(frozen=True)
class Side:
    """One of the two compared libraries."""

    name: str
    app: str
    module: str
    queue: str
    setup: str
    changes_per_job: int


PLAIN = Side("plain Celery", "bench.plain_app", "bench.plain_app", "plain", "", 0)
OURS = Side("jobclaim", "jobclaim", "bench.claim_tasks", "default", "import jobclaim.workers", 2)


@dataclass(frozen=True)
class Run:
    """Results of one side in one round."""

    seconds: float
    jobs: int
    requests: dict[str, int]
    units: dict[str, float]
    cpu: dict[str, float]

    @property
    def per_second(self) -> float:
        """Return the jobs per second."""
        return self.jobs / self.seconds

    def per_job(self, *operations: str) -> float:
        """Return the requests per job, of all operations or of some, including the worker's heartbeat."""
        return sum(n for name, n in self.requests.items() if not operations or name in operations) / self.jobs


def main() -> int:
    """Run, print and write the table."""
    arguments = _arguments()
    with running_stub() as stub:
        os.environ.update(stub.settings(JOBCLAIM_TASK_MODULES='["bench.claim_tasks"]', JOBCLAIM_LOG_LEVEL="INFO"))
        _provision()
        runs: dict[str, list[Run]] = {PLAIN.name: [], OURS.name: []}
        for number in range(arguments.rounds):
            for side in (PLAIN, OURS) if number % 2 == 0 else (OURS, PLAIN):
                run = _measure(stub, side, arguments)
                runs[side.name].append(run)
                _say(f"{side.name}: {run.per_second:.0f} jobs/s, {run.per_job():.2f} requests/job")
    table = _table(runs, arguments)
    _say(table)
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(table)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sqs-ms", type=float, default=10)
    parser.add_argument("--dynamodb-ms", type=float, default=5)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.relative_to(ROOT)}")
    return parser.parse_args()


def _provision() -> None:
    from jobclaim.infra import provision
    from jobclaim.infra.clients import sqs_client
    from jobclaim.settings import Settings

    settings = Settings()
    provision(settings)
    sqs_client(settings).create_queue(QueueName=PLAIN.queue, Attributes={"VisibilityTimeout": "3600"})


def _measure(stub: RunningStub, side: Side, arguments: argparse.Namespace) -> Run:
    options = ("-Q", side.queue, "-c", str(arguments.processes), "-l", "INFO")
    with running_worker(side.app, *options) as pid:
        _submit(side, 10 * arguments.processes)
        _wait_until_done(stub, side, 10 * arguments.processes)
        stub.control(hold=True, reset=True)
        _submit(side, arguments.jobs)
        latency = {"sqs": arguments.sqs_ms, "dynamodb": arguments.dynamodb_ms}
        released = stub.control(hold=False, latency_ms=latency)["now"]
        before = _cpu(stub, pid)
        meter = _wait_until_done(stub, side, arguments.jobs)
        spent = {name: seconds - before[name] for name, seconds in _cpu(stub, pid).items()}
        stub.control(latency_ms={"sqs": 0, "dynamodb": 0}, reset=True)
    last = max(meter["last_at"].get(name, 0) for name in ("DeleteMessage", "DeleteMessageBatch", STATE_CHANGES))
    return Run(last - released, arguments.jobs, meter["requests"], meter["units"].get(JOB_TABLE, {}), spent)


def _cpu(stub: RunningStub, worker: int) -> dict[str, float]:
    """Return the CPU seconds so far, by process."""
    return {
        "worker": cpu.seconds(worker),
        "its children": cpu.seconds_of_children(worker),
        "stub": cpu.seconds(stub.pid),
    }


def _submit(side: Side, count: int) -> None:
    program = SUBMIT.format(module=side.module, setup=side.setup)
    subprocess.run([sys.executable, "-c", program, str(count)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _wait_until_done(stub: RunningStub, side: Side, jobs: int) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    physical = side.queue if side is PLAIN else f"jobclaim-{side.queue}"
    while time.monotonic() < deadline:
        meter = stub.control()
        empty = all(count == "0" for count in meter["depth"][physical].values())
        if empty and meter["requests"].get(STATE_CHANGES, 0) >= side.changes_per_job * jobs:
            return meter
        time.sleep(0.1)
    raise TimeoutError(f"{side.name} did not finish: {stub.control()}")


def _table(runs: dict[str, list[Run]], arguments: argparse.Namespace) -> str:
    lines = [
        "# Throughput and requests",
        "",
        (
            f"{arguments.jobs:,} no-op jobs, {arguments.processes} processes, {arguments.sqs_ms:g} ms on each SQS and "
            f"{arguments.dynamodb_ms:g} ms on each DynamoDB request, {arguments.rounds} rounds by turns on the stub of "
            f"`bench/stub_aws`; Python {platform.python_version()}, {os.cpu_count()} cores."
        ),
        "",
        "| | jobs/s (median) | jobs/s (each round) | requests/job, all in | write units/job |",
        "|---|---|---|---|---|",
    ]
    for name, done in runs.items():
        rates = [run.per_second for run in done]
        units = statistics.mean(
            sum(v for k, v in run.units.items() if k.startswith("write")) / run.jobs for run in done
        )
        requests = statistics.mean(run.per_job() for run in done)
        each = ", ".join(f"{rate:.0f}" for rate in rates)
        lines.append(f"| {name} | {statistics.median(rates):.0f} | {each} | {requests:.2f} | {units:.2f} |")
    pairs = zip(runs[OURS.name], runs[PLAIN.name], strict=True)
    ratios = [ours.per_second / plain.per_second for ours, plain in pairs]
    lines += [
        "",
        f"**{statistics.median(ratios):.1f} times** (each round: {', '.join(f'{r:.1f}' for r in ratios)}).",
        "",
    ]
    lines += ["| CPU ms per job | " + " | ".join(runs) + " |", "|---|" + "---|" * len(runs)]
    for who in runs[OURS.name][0].cpu:
        spent = [statistics.mean(1000 * run.cpu[who] / run.jobs for run in done) for done in runs.values()]
        lines.append(f"| {who} | " + " | ".join(f"{share:.2f}" for share in spent) + " |")
    lines += ["", "| requests per job | " + " | ".join(runs) + " |", "|---|" + "---|" * len(runs)]
    for operation in SHOWN:
        shares = [statistics.mean(run.per_job(operation) for run in done) for done in runs.values()]
        lines.append(f"| {operation} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
