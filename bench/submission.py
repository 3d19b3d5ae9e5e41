"""CPU time of a submission: jobclaim's ``delay`` and ``submit_many`` against plain Celery's ``delay``, by turns.

``python -m bench.submission`` starts the stub without latency. For each side and round a new process submits 200 jobs,
then 2,000 more whose CPU time, user and system, is the result: other work on the machine hardly changes it. The ratio
is that of each round's neighbours. ``delay`` writes the job and sends its message, two requests; Celery's makes one.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from bench.stub import ROOT, RunningStub, running_stub

RESULTS: Final = ROOT / "bench" / "results" / "submission.md"
QUEUE: Final = "plain"
PLAIN: Final = f"""
import os
from celery import Celery
url = os.environ["JOBCLAIM_ENDPOINT_URL"]
app = Celery("plain", broker="sqs://stub:stub@" + url.removeprefix("http://"))
app.conf.task_default_queue, app.conf.task_ignore_result = {QUEUE!r}, True
queues = {{{QUEUE!r}: {{"url": url + "/000000000000/{QUEUE}"}}}}
app.conf.broker_transport_options = {{"is_secure": False, "region": "us-east-1", "predefined_queues": queues}}

@app.task
def nothing(number): ...
"""
"""As Celery's documentation sets up SQS."""
OURS: Final = """
import jobclaim.workers
from bench.claim_tasks import nothing
"""
DELAY: Final = "for number in range(count): nothing.delay(number)"
MANY: Final = "nothing.submit_many(range(count))"
WAYS: Final = (("plain Celery, delay", PLAIN, DELAY), ("jobclaim, delay", OURS, DELAY), ("submit_many", OURS, MANY))
PROGRAM: Final = """
import sys, time
{app}

def submit(count):
    {way}

submit(200)
began = time.process_time()
submit(int(sys.argv[1]))
sys.stderr.write(str(time.process_time() - began))
"""


def main() -> int:
    """Run, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.relative_to(ROOT)}")
    arguments = parser.parse_args()
    with running_stub() as stub:
        os.environ.update(stub.settings(JOBCLAIM_TASK_MODULES='["bench.claim_tasks"]', JOBCLAIM_LOG_LEVEL="INFO"))
        _provision()
        rounds = [_round(stub, arguments.jobs, number) for number in range(arguments.rounds)]
    table = _table(rounds, arguments.jobs)
    sys.stdout.write(table)
    if arguments.write:
        RESULTS.write_text(table)
    return 0


def _provision() -> None:
    from jobclaim.infra import provision
    from jobclaim.infra.clients import sqs_client
    from jobclaim.settings import Settings

    settings = Settings()
    provision(settings)
    sqs_client(settings).create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "3600"})


def _round(stub: RunningStub, jobs: int, number: int) -> list[tuple[float, float]]:
    """Return CPU microseconds and requests per job for each way; every second round takes the ways in reverse."""
    order = range(len(WAYS)) if number % 2 == 0 else reversed(range(len(WAYS)))
    done = {way: _measure(stub, *WAYS[way][1:], jobs) for way in order}
    return [done[way] for way in range(len(WAYS))]


def _measure(stub: RunningStub, app: str, way: str, jobs: int) -> tuple[float, float]:
    stub.control(reset=True)
    argv = [sys.executable, "-c", PROGRAM.format(app=app, way=way), str(jobs)]
    run = subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    requests = stub.control()["requests"]
    made = sum(count for name, count in requests.items() if name.startswith(("Put", "Send")))
    return 1e6 * float(run.stderr.split()[-1]) / jobs, made / (jobs + 200)


def _table(rounds: Sequence[Sequence[tuple[float, float]]], jobs: int) -> str:
    lines = [
        "# CPU of a submission",
        "",
        (
            f"{jobs:,} jobs, {len(rounds)} rounds by turns on the stub of `bench/stub_aws`, one process each, CPU time "
            f"of the submitter only; median (lowest to highest). Python {platform.python_version()}, "
            f"{os.cpu_count()} cores."
        ),
        "",
        "| | µs per job | of plain Celery's | jobs/s a core | requests/job |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, (name, *_) in enumerate(WAYS):
        spent = [done[way][0] for done in rounds]
        share = [done[way][0] / done[0][0] for done in rounds]
        requests = statistics.median(done[way][1] for done in rounds)
        lines.append(
            f"| {name} | {_spread(spent, ',.0f')} | {_spread(share, '.2f')} | {1e6 / statistics.median(spent):,.0f} | "
            f"{requests:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    sys.exit(main())
