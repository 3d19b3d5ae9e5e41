"""What is changed, and the tests that are to notice: those that start no process and need no server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FILES: Final = (
    "jobs/transitions.py",
    "jobs/recognition.py",
    "jobs/protocol/*.py",
    "jobs/repo/rescue.py",
    "jobs/storage/table.py",
    "jobs/storage/written.py",
    "jobs/storage/expressions.py",
    "jobs/encoding/changes.py",
    "recovery/decide.py",
    "recovery/settle.py",
    "jobs/repo/claiming.py",
    "jobs/repo/owning.py",
    "jobs/repo/submitting.py",
    "jobs/repo/deciding.py",
    "workers/attempt/admission.py",
    "fleet/limits.py",
    "fleet/breaker.py",
    "fleet/rates.py",
    "fleet/starts.py",
    "recovery/sweeping.py",
    "recovery/walk.py",
    "recovery/cursor.py",
    "recovery/fleet.py",
    "jobs/storage/resilience.py",
    "jobs/repo/running.py",
    "jobs/repo/resuming.py",
)
UNIT: Final = (
    "jobs_*",
    "recovery_*",
    "plain_tasks",
    "settle",
    "soft_limit",
    "strange_messages",
    "task_submission",
    "unsent",
)
CHOSEN: Final = ("-m", "not real and not browser", "-k", "not moto and not thousand and not race and not scale")


def tests() -> list[str]:
    """Give pytest's arguments."""
    unit = sorted(str(path) for name in UNIT for path in Path("tests/unit").glob(f"test_{name}.py"))
    return [*unit, "tests/contract", *CHOSEN]
