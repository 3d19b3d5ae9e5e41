"""Effects as the judge sees them: a completion's own are made with it, once, and a submission's with its job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.dynamodb import Write
from tests.simulation.judge.facts import Facts, require

LEDGER: Final = "ledger"
"""A table of the caller's."""


def once(name: str) -> dict[str, Any]:
    """Give the write that tells how often it was made."""
    return {
        "TableName": LEDGER,
        "Key": {"id": name},
        "UpdateExpression": "ADD times :one",
        "ExpressionAttributeValues": {":one": 1},
    }


def of_completion(job_id: str, submission: str) -> str:
    """Name the effect of a run's completion."""
    return f"done/{job_id}/{submission}"


def of_submission(job_id: str) -> str:
    """Name the effect of a job's submissions."""
    return f"made/{job_id}"


@dataclass
class Effects:
    """What was made, and what should have been."""

    made: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)

    def observe(self, write: Write) -> None:
        """Count a write to the caller's table."""
        self.made[write.key] = Facts(write.new).times

    def conclude(self) -> None:
        """Require that each was made as often as its job's own write was."""
        wrong = {name: (self.made[name], self.wanted[name]) for name in self.made | self.wanted}
        wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
        require(not wrong, "effects are made with their job, once", f"made and wanted: {wrong}")
