"""The order of the examples under ``kill -9`` at every statement: one charge and one entry, each time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from examples import orders
from jobclaim.jobs import JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.submission.transaction import transaction
from tests.support.endpoints import Endpoint
from tests.support.killed_orders import killed_order
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
EVERY: Final = int(os.environ.get("TEST_KILL_EVERY", "72"))
"""Of the framework's own statements every 72nd; of the example's, each. With 1 all of them, in some minutes."""
START: Final = 1_000


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    modules = ("tests.support.killed_orders",)
    with deployed(dynamodb_local, elasticmq, tmp_path, task_modules=modules, run_dir=str(tmp_path)) as made:
        client = made.repo.table.client()
        orders.create_tables(client)
        client.put_item(TableName="accounts", Item={"account_id": {"S": "ann"}, "balance": {"N": str(START)}})
        yield made
        for name in orders.TABLES:
            client.delete_table(TableName=name)


def place(app: Any, order_id: str) -> str:
    with transaction(app) as tx:
        tx.put(TableName="orders", Item={"order_id": order_id}, ConditionExpression="attribute_not_exists(order_id)")
        return str(tx.submit(app.tasks[killed_order.name], order_id, "ann", "1.00").id)


def test_an_order_is_charged_once_wherever_its_process_is_killed(stack: Stack) -> None:
    app = create_app(stack.settings)
    stack.worker("worker", "-c", "2")
    whole = place(app, "order-0")
    stack.wait_for([whole], JobStatus.COMPLETED, 60)
    wait_until(stack.evidence.exists, 30, "its statements are written down")
    statements = stack.evidence.read_text().splitlines()
    chosen = [
        number
        for number, place_of in enumerate(statements, start=1)
        if place_of.startswith("examples/") or number % EVERY == 0 or number == len(statements)
    ]
    assert len({place_of.partition(":")[0] for place_of in statements}) >= 5

    sys.stdout.write(f"{len(chosen)} of {len(statements)} statements\n")
    placed = [place(app, f"order-{number}") for number in chosen]
    jobs = stack.wait_for(placed, JobStatus.COMPLETED, 110 if EVERY > 1 else 900)

    client = stack.repo.table.client()
    entries = client.scan(TableName="ledger")["Items"]
    account = client.get_item(TableName="accounts", Key={"account_id": {"S": "ann"}}, ConsistentRead=True)["Item"]
    paid = [item for item in client.scan(TableName="orders")["Items"] if item.get("state", {}).get("S") == "paid"]
    count = len(chosen) + 1
    assert sorted(entry["entry_id"]["S"] for entry in entries) == sorted([whole, *jobs])
    assert Decimal(account["balance"]["N"]) == START - count
    assert len(paid) == count
    killed = [job for job in jobs.values() if job.attempt == 2]
    assert len(killed) >= len(chosen) // 2, "most kills come before the completion"
    assert {job.attempt for job in jobs.values()} <= {1, 2}
