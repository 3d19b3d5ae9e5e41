"""The cost of detecting a duplicate call: jobclaim, Powertools and celery-once on Redis, in alternating rounds.

``python -m bench.duplicate_check`` starts AWS's DynamoDB Local and a redis-server on this machine, lets each side run
one call to its end, and then repeats the same call from one thread: a hundred times per side and round, in changing
order. It needs Java and the redis-server program; the peers are installed into a separate environment.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.peers.servers import redis_server
from bench.peers.venvs import packages_of
from bench.stub import ROOT
from tests.support.endpoints import dynamodb_local, unique_name

RESULTS = ROOT / "bench" / "results" / "duplicate_check.md"
CALL = {"order": 4711, "customer": "c-1", "lines": ["a", "b", "c"]}


@dataclass
class Side:
    """A compared library.

    Attributes
    ----------
    check : callable
        Repeats the call; raises if it is not detected as a duplicate.
    requests : callable
        Requests made so far.
    """

    name: str
    answer: str
    check: Callable[[], None]
    requests: Callable[[], int]
    latencies: list[float] = field(default_factory=list)
    cpu: float = 0.0
    asked: int = 0


def main() -> int:
    """Run, print and write the table."""
    arguments = _arguments()
    sys.path.append(packages_of("celery"))
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "benchmark")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "benchmark")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    with ExitStack() as exits:
        logs = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        endpoint = exits.enter_context(dynamodb_local(logs))
        redis_url = exits.enter_context(redis_server())
        sides = [_jobclaim(endpoint), _powertools(endpoint), _celery_once(redis_url)]
        for side in sides:
            _turn(side, 20, keep=False)
        for number in range(arguments.turns):
            for position in range(len(sides)):
                _turn(sides[(number + position) % len(sides)], arguments.calls, keep=True)
    table = _table(sides, arguments)
    sys.stdout.write(table)
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(table)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.relative_to(ROOT)}")
    return parser.parse_args()


def _turn(side: Side, calls: int, *, keep: bool) -> None:
    before, spent = side.requests(), time.process_time()
    latencies = []
    for _ in range(calls):
        started = time.perf_counter()
        side.check()
        latencies.append(time.perf_counter() - started)
    if keep:
        side.cpu += time.process_time() - spent
        side.asked += side.requests() - before
        side.latencies += latencies


def _jobclaim(endpoint: Any) -> Side:
    from jobclaim.settings import Settings

    name = unique_name("bench")
    settings = Settings(
        dynamodb_endpoint_url=endpoint.endpoint_url,
        job_table=f"{name}-jobs",
        fleet_table=f"{name}-fleet",
        log_level="WARNING",
    )
    _tables(settings)
    from jobclaim.workers import IdempotentTask, create_app
    from jobclaim.workers.telemetry import logs

    logs.configure(settings)
    app = create_app(settings)

    @app.task(base=IdempotentTask, name="bench.confirm", bind=True)
    def confirm(self: Any, **call: Any) -> str:  # noqa: ARG001
        """Stand in for some work."""
        return "done"

    job = confirm.write_job(kwargs=CALL)
    app.jobclaim.repo.claim_job(job.job_id)
    app.jobclaim.repo.update_status(job.job_id, "COMPLETED", result="done")
    counted = _Counted(app.jobclaim.repo.table.client())
    app.jobclaim.repo.table.client = lambda: counted

    def check() -> None:
        assert confirm.delay(**CALL).result == "done"

    return Side("jobclaim `IdempotentTask.delay`", "the result", check, lambda: counted.count)


def _tables(settings: Any) -> None:
    from jobclaim.infra.clients import dynamodb_client
    from jobclaim.infra.tables import ensure_table, table_specs

    for spec in table_specs(settings):
        list(ensure_table(dynamodb_client(settings), spec, 30))


class _Counted:
    """A client whose requests are counted."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        def ask(**request: Any) -> Any:
            self.count += 1
            return getattr(self._client, name)(**request)

        return ask


def _powertools(endpoint: Any) -> Side:
    from aws_lambda_powertools.utilities.idempotency import (
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    client, table = endpoint.client(), unique_name("bench-powertools")
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    counts = [0]

    def count(**_: Any) -> None:
        counts[0] += 1

    client.meta.events.register("before-send", count)
    os.environ.setdefault("AWS_LAMBDA_FUNCTION_NAME", "bench")
    layer = DynamoDBPersistenceLayer(table_name=table, boto3_client=client)
    runs = []

    @idempotent_function(data_keyword_argument="call", persistence_store=layer, config=IdempotencyConfig())
    def confirm(*, call: dict[str, Any]) -> str:
        runs.append(call)
        return "done"

    def check() -> None:
        assert confirm(call=CALL) == "done"
        assert len(runs) == 1

    return Side("Powertools `@idempotent_function`", "the result", check, lambda: counts[0])


def _celery_once(redis_url: str) -> Side:
    import redis
    from celery import Celery
    from celery_once import AlreadyQueued, QueueOnce

    app = Celery("once", broker="memory://", set_as_current=False)
    app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": redis_url, "default_timeout": 3600}}

    @app.task(base=QueueOnce, name="bench.once")
    def confirm(order: int, customer: str, lines: list[str]) -> str:  # noqa: ARG001
        return "done"

    confirm.delay(**CALL)
    client = redis.Redis.from_url(redis_url)

    def check() -> None:
        try:
            confirm.delay(**CALL)
        except AlreadyQueued:
            return
        raise AssertionError("not taken for a duplicate")

    def asked() -> int:
        return int(sum(row["calls"] for name, row in client.info("commandstats").items() if name in _REDIS_COMMANDS))

    return Side("celery-once `QueueOnce.delay`", "an exception, no result", check, asked)


_REDIS_COMMANDS = ("cmdstat_set", "cmdstat_pttl", "cmdstat_get", "cmdstat_setnx")


def _table(sides: list[Side], arguments: argparse.Namespace) -> str:
    rows = []
    for side in sides:
        calls = len(side.latencies)
        cuts = statistics.quantiles(side.latencies, n=100)
        figures = [f"{1000 * value:.2f}" for value in (cuts[49], cuts[94], cuts[98], side.cpu / calls)]
        rows.append(f"| {side.name} | {' | '.join(figures)} | {side.asked / calls:.2f} | {side.answer} |")
    about = (
        f"`python -m bench.duplicate_check`: {arguments.turns * arguments.calls} duplicates of one finished call per "
        f"side, {arguments.calls} at a time by turns, one thread. AWS's DynamoDB Local and Redis on the same machine "
        f"({os.cpu_count()} CPUs, Python {platform.python_version()}), so the network is not in it; its load average "
        f"was {os.getloadavg()[0]:.1f} at the end."
    )
    return "\n".join(
        [
            "# What a duplicate costs",
            "",
            about,
            "",
            "| | p50 ms | p95 ms | p99 ms | CPU ms | requests | a duplicate gets |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "CPU is the caller's own. celery-once locks a call only until it has run: later an equal call runs again.",
            "",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
