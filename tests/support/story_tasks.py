"""Tasks of a small shop, for people who watch them on the dashboard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import shared_task

from jobclaim.workers import JobTask


class NotInStock(Exception):
    """The warehouse has none of it."""


@shared_task(base=JobTask, bind=True, name="shop.pick")
def pick(self: Any, shelf: str, item: str) -> str:
    """Take an item from a shelf, a file of the test's; without it the job fails for good."""
    if not Path(shelf).exists():
        raise NotInStock(f"no {item}")
    return f"picked {item}"


@shared_task(base=JobTask, bind=True, name="shop.deliver")
def deliver(self: Any, until: str) -> str:
    """Drive until a file exists, at most ten minutes; ends early when somebody cancels it."""
    deadline = time.monotonic() + 600
    while not Path(until).exists() and not self.cancelled:
        if time.monotonic() > deadline:
            raise TimeoutError(until)
        time.sleep(0.05)
    return "delivered"


@shared_task(base=JobTask, bind=True, name="shop.price")
def price(self: Any, cents: int) -> int:
    """Say what it costs."""
    return cents


@shared_task(base=JobTask, bind=True, name="shop.add_tax")
def add_tax(self: Any, cents: int) -> int:
    """Add a fifth."""
    return cents * 6 // 5


@shared_task(base=JobTask, bind=True, name="shop.invoice")
def invoice(self: Any, cents: int) -> str:
    """Write the invoice."""
    return f"{cents / 100:.2f} EUR"
