"""An order that is charged once, although its worker is killed three times.

The order and its job are written in one transaction, and so are the charge, the ledger entry and the job's completion:
whatever crashes, is lost or is delivered twice, all of them are written once or none is. To run it:
``python -m examples.orders`` starts a local AWS and a worker, kills the worker's process at three places, and shows the
account.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from decimal import Decimal
from typing import Any, Final

import boto3
from celery import shared_task

import jobclaim
from jobclaim.workers import JobTask

TABLES: Final = {"accounts": "account_id", "orders": "order_id", "ledger": "entry_id"}
CRASHES: Final = "EXAMPLES_ORDERS_CRASHES"
"""Environment variable: how many attempts of each order are killed, each at a different place."""


def place_order(order_id: str, account_id: str, total: Decimal) -> Any:
    """Write an order and the job that processes it in one transaction; return the job's result handle.

    Raises
    ------
    jobclaim.EffectRefused
        The order and its job exist already.
    """
    with jobclaim.transaction() as tx:
        tx.put(
            TableName="orders",
            Item={"order_id": order_id, "account_id": account_id, "total": total, "state": "placed"},
            ConditionExpression="attribute_not_exists(order_id)",
        )
        return tx.submit(process_order, order_id, account_id, str(total))


@shared_task(base=JobTask, bind=True, name="examples.process_order", on_orphan="retry", max_retries=4)
def process_order(self: Any, order_id: str, account_id: str, total: str) -> dict[str, str]:
    """Charge the account, write the ledger and mark the order paid in one transaction with the job's completion.

    An orphan is retried: a killed attempt has written nothing.
    """
    amount = Decimal(total)
    _crash(self, place=1)
    self.effects.update(
        TableName="accounts",
        Key={"account_id": account_id},
        UpdateExpression="ADD balance :minus",
        ConditionExpression="balance >= :amount",
        ExpressionAttributeValues={":minus": -amount, ":amount": amount},
    )
    _crash(self, place=2)
    entry = {"entry_id": self.request.job.job_id, "order": order_id, "amount": amount}
    self.effects.put(TableName="ledger", Item=entry)
    self.effects.update(
        TableName="orders",
        Key={"order_id": order_id},
        UpdateExpression="SET #state = :paid",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":paid": "paid"},
    )
    _crash(self, place=3)
    return {"order": order_id, "charged": total}


def create_tables(client: Any) -> None:
    """Create the tables of this example, each with a string key."""
    for name, key in TABLES.items():
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


def _crash(task: Any, *, place: int) -> None:
    """Kill the worker's process in the attempt of this number, if the environment asks for it."""
    if task.request.job.attempt == place <= int(os.environ.get(CRASHES, "0")):
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Place one order of 9.50 on an account of 100, have three attempts killed, and show what is left."""
    with tempfile.TemporaryDirectory() as folder, jobclaim.local_aws() as aws:
        os.environ.update(
            {**aws.environment(), "JOBCLAIM_TASK_MODULES": '["examples.orders"]', "JOBCLAIM_RUN_DIR": folder}
        )
        jobclaim.provision(aws.settings)
        client = boto3.client("dynamodb", endpoint_url=aws.endpoint_url)
        create_tables(client)
        client.put_item(TableName="accounts", Item={"account_id": {"S": "ann"}, "balance": {"N": "100"}})
        handle = place_order("7", "ann", Decimal("9.50"))
        command = [sys.executable, "-m", "celery", "-A", "jobclaim", "worker", "-c", "1", "--loglevel", "critical"]
        with subprocess.Popen(command, env={**os.environ, CRASHES: "3"}, stdout=subprocess.DEVNULL) as worker:
            try:
                handle.get(timeout=120)
            finally:
                worker.terminate()
        _show(client, handle.id)
        process_order.jobclaim.flush()  # write this process's counts while its AWS still runs


def _show(client: Any, job_id: str) -> None:
    job = jobclaim.JobRepo.from_settings(jobclaim.Settings()).get_job(job_id)
    lines = [f"attempt {attempt.attempt}: {attempt.outcome}" for attempt in job.history]
    lines.append(f"attempt {job.attempt}: {job.status}")
    account = client.get_item(TableName="accounts", Key={"account_id": {"S": "ann"}})["Item"]
    entries = client.scan(TableName="ledger")["Items"]
    lines.append(f"balance {account['balance']['N']}, entries in the ledger: {len(entries)}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.modules["examples.orders"] = sys.modules[__name__]  # registers the task once, under its own name
    main()
