"""An order on Celery: charge the account, write the ledger, mark the order paid; killed once, in the first attempt."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import celery_app  # type: ignore[import-not-found]
from celery_app import app

FIRST = Path(os.environ["BENCH_EVIDENCE"])
ONCE = celery_app.PEER == "celery-powertools"
app.conf.task_reject_on_worker_lost = celery_app.PEER != "celery"


def _body(order_id: str, kill_at: int) -> str:
    first = not (FIRST / order_id).exists()
    (FIRST / order_id).touch()

    def point(number: int) -> None:
        if first and number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    table = boto3.resource("dynamodb", endpoint_url=os.environ["BENCH_DYNAMODB"]).Table
    point(1)
    table("accounts").update_item(
        Key={"account_id": order_id},
        UpdateExpression="ADD charges :one, balance :minus",
        ExpressionAttributeValues={":one": 1, ":minus": Decimal(-1)},
    )
    point(2)
    table("ledger").put_item(Item={"entry_id": order_id})
    point(3)
    table("orders").update_item(
        Key={"order_id": order_id},
        UpdateExpression="SET #state = :paid",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":paid": "paid"},
    )
    point(4)
    return order_id


_once = celery_app._Lazy(_body)


@app.task(name="bench.order")
def order(order_id: str, kill_at: int) -> Any:
    """Process an order."""
    return (_once if ONCE else _body)(order_id=order_id, kill_at=kill_at)


def call(_: str, each: float) -> str:
    """Submit the given number of orders for each of the four points."""
    for point in range(1, 5):
        for number in range(int(each)):
            order.delay(f"{point}-{number}", point)
    return "handle"
