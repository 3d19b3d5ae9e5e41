"""Approvals: a payment that waits for a person, for days if necessary, without occupying a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celery import shared_task

from jobclaim import WaitTimeout
from jobclaim.workers import JobTask

THREE_DAYS = 3 * 86_400


def ask(outbox: str, invoice: str, job_id: str, token: str) -> str:
    """Send the approver everything needed to answer; here a line of a file stands for the mail."""
    line = {"invoice": invoice, "job_id": job_id, "name": "approval", "token": token}
    with Path(outbox).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return invoice


def pay(ledger: str, invoice: str, amount: str, approved_by: str) -> str:
    """Pay; here a line of a file stands for the bank."""
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"invoice": invoice, "amount": amount, "approved_by": approved_by}) + "\n")
    return f"paid {invoice}"


@shared_task(base=JobTask, bind=True, name="examples.pay_invoice", on_orphan="retry")
def pay_invoice(self: JobTask, invoice: str, amount: str, outbox: str, ledger: str) -> dict[str, Any]:
    """Ask for an approval, wait for it up to three days, and pay.

    The body runs once up to the wait, and again from its beginning when the answer has arrived. Completed steps then
    return their stored results, so the approver is not asked twice and the invoice is not paid twice.
    """
    token = self.wait_token("approval")
    self.step("ask", ask, outbox, invoice, self.request.job.job_id, token)
    try:
        answer = self.wait_for("approval", timeout=THREE_DAYS)
    except WaitTimeout:
        return {"invoice": invoice, "state": "nobody answered"}
    if not answer.get("approved"):
        return {"invoice": invoice, "state": "declined", "by": answer.get("by")}
    self.step("pay", pay, ledger, invoice, amount, answer["by"])
    return {"invoice": invoice, "state": "paid", "by": answer["by"]}
