"""The example's order, in a process that kills itself at a chosen statement, in the order's first attempt."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from celery import shared_task

from examples import orders
from jobclaim.workers import JobTask

ROOT: Final = Path(__file__).resolve().parents[2]
WATCHED: Final = frozenset(
    str(ROOT / path)
    for path in (
        "examples/orders.py",
        "jobs/effects/collected.py",
        "jobs/repo/owning.py",
        "jobs/storage/together.py",
        "workers/attempt/effects.py",
        "workers/attempt/outcome.py",
        "workers/results/linked.py",
    )
)
"""The statements from the body's first to the one after the answer of DynamoDB."""


class Statements:
    """Counts statements as they are first come to; kills the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.seen: dict[tuple[str, int], None] = {}
        self._kill_at = kill_at

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Be what ``sys.settrace`` calls."""
        path = os.path.realpath(frame.f_code.co_filename)
        if path not in WATCHED:
            return None
        if event == "line":
            self.seen.setdefault((path, frame.f_lineno))
            if len(self.seen) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


class Killed(JobTask):
    """A task that is traced from its body's start until it is completed."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; an order's id ends in the number of the statement to be killed at, 0 for none."""
        self.request.statements = Statements(int(args[0].rpartition("-")[2]) if self.request.job.attempt == 1 else 0)
        sys.settrace(self.request.statements.trace)
        return super().__call__(*args, **kwargs)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, *rest: Any) -> None:
        """Stop counting, and write down what an order that is not killed came to."""
        sys.settrace(None)
        if args[0].endswith("-0"):
            rows = [f"{Path(path).relative_to(ROOT)}:{line}" for path, line in self.request.statements.seen]
            evidence = Path(os.environ["JOBCLAIM_TEST_EVIDENCE"])
            written = evidence.with_suffix(".tmp")
            written.write_text("\n".join(rows))
            written.rename(evidence)
        super().after_return(status, retval, task_id, args, *rest)


@shared_task(base=Killed, bind=True, name="tests.killed_order", on_orphan="retry", max_retries=2)
def killed_order(self: Any, order_id: str, account_id: str, total: str) -> Any:
    """Process an order, as the example does."""
    return orders.process_order.run.__func__(self, order_id, account_id, total)
