"""``python -m bench.crashes``: how often an order whose worker is killed once is charged twice, never, or incompletely.

Each order's worker process is killed at one of four points of its body. jobclaim's own figures, at every statement and
with its effects, are those of `tests/integration/test_killed_orders.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.peers.catalog import BY_KEY, Peer
from bench.peers.endpoints import Endpoints
from examples import orders
from tests.support.endpoints import dynamodb_local, elasticmq
from tests.support.processes import ManagedProcess

KEYS: Final = ("celery", "celery-late", "celery-powertools")
POINTS: Final = ("before the charge", "after the charge", "after the ledger", "before the return")
EACH: Final = 5
"""Number of orders that are killed at each point."""
VISIBILITY: Final = 20
PATIENCE: Final = 300.0
QUIET: Final = 3 * VISIBILITY


def main() -> int:
    """Run each peer and print the results of its orders."""
    with tempfile.TemporaryDirectory() as folder:
        found = {key: _peer(replace(BY_KEY[key], module="order_app"), Path(folder)) for key in KEYS}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _peer(peer: Peer, folder: Path) -> dict[str, Any]:
    peer = replace(peer, worker=tuple("order_app" if part == "celery_app" else part for part in peer.worker))
    with dynamodb_local(folder) as dynamodb, elasticmq(folder) as sqs:
        on = Endpoints(sqs.endpoint_url, dynamodb.endpoint_url, "", folder)
        on.prepare(peer, visibility=VISIBILITY)
        on.evidence(peer).mkdir()
        client = on.client("dynamodb")
        orders.create_tables(client)
        names = {f"{point}-{number}": point for point in range(1, len(POINTS) + 1) for number in range(EACH)}
        on.submit(peer, "call", "all", str(EACH), "1")
        worker = on.worker(peer, 2, BENCH_PREFETCH="1")  # longer waits than the visibility end Celery
        try:
            _wait(client, worker)
        finally:
            worker.stop()
        return _judged(client, names)


def _wait(client: Any, worker: ManagedProcess) -> None:
    """Wait until nothing has changed for as long as messages take to be redelivered.

    Raises `RuntimeError` if the worker has ended by then: orders that nobody works on are not lost.
    """
    began = changed = time.monotonic()
    last = -1
    while time.monotonic() - began < PATIENCE and time.monotonic() - changed < QUIET:
        charges = sum(int(item["charges"]["N"]) for item in client.scan(TableName="accounts")["Items"])
        paid = len(client.scan(TableName="orders")["Items"])
        if charges + paid != last:
            last, changed = charges + paid, time.monotonic()
        time.sleep(0.5)
    if not worker.running:
        raise RuntimeError(worker.describe())


def _judged(client: Any, names: dict[str, int]) -> dict[str, Any]:
    charges = {
        item["account_id"]["S"]: int(item["charges"]["N"]) for item in client.scan(TableName="accounts")["Items"]
    }
    entries = {item["entry_id"]["S"] for item in client.scan(TableName="ledger")["Items"]}
    paid = {item["order_id"]["S"] for item in client.scan(TableName="orders")["Items"]}
    verdicts: Counter[str] = Counter()
    by_point: dict[str, Counter[str]] = {point: Counter() for point in POINTS}
    for name, point in names.items():
        verdict = _verdict(charges.get(name, 0), whole=name in entries and name in paid)
        verdicts[verdict] += 1
        by_point[POINTS[point - 1]][verdict] += 1
    return {"orders": len(names), **verdicts, "by point": {point: dict(found) for point, found in by_point.items()}}


def _verdict(charges: int, *, whole: bool) -> str:
    if charges > 1:
        return "charged twice"
    if charges == 1:
        return "right" if whole else "charged, the rest lost"
    return "lost"


if __name__ == "__main__":
    sys.exit(main())
