"""What is changed, and the tests that are to notice: those that start no process and need no server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

CORE: Final = (
    "jobs/transitions.py",
    "jobs/recognition.py",
    "jobs/protocol/*.py",
    "jobs/repo/rescue.py",
    "jobs/storage/table.py",
    "jobs/storage/written.py",
    "jobs/storage/expressions.py",
    "jobs/encoding/changes.py",
    "recovery/decide.py",
    "recovery/handling.py",
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
    "jobs/storage/resilience.py",
    "jobs/repo/running.py",
    "jobs/repo/resuming.py",
)
"""What decides and writes: tried first."""
AROUND: Final = (
    "recovery/*.py",
    "recovery/dead/*.py",
    "fleet/*.py",
    "workers/attempt/*.py",
    "jobs/repo/*.py",
    "jobs/storage/*.py",
    "jobs/effects/*.py",
    "jobs/encoding/*.py",
    "jobs/failures/*.py",
    "jobs/durable/*.py",
    "jobs/*.py",
)
UNIT: Final = (
    "access",
    "acting",
    "adoption",
    "async_bodies",
    "attempt_*",
    "async_submission",
    "bodies",
    "bulk",
    "cancels",
    "canvas",
    "celery_features",
    "claims_of_threads",
    "cli_dead",
    "cli_operate",
    "concurrency_slots",
    "dead_*",
    "diagnosis",
    "eager_calls",
    "editing",
    "effect_writes",
    "figures_per_task",
    "fleet_*",
    "followed_cancels",
    "followups",
    "governance",
    "heartbeat",
    "idempotency_keys",
    "interruption",
    "jobclaim_testing",
    "jobs_*",
    "large_payloads",
    "lasting_*",
    "lean_*",
    "leaving",
    "metrics",
    "oldest",
    "on_commit",
    "pending",
    "plain_messages",
    "plain_tasks",
    "poison",
    "prebuilt_messages",
    "rate_records",
    "rates",
    "recovery_*",
    "redaction",
    "remote_control",
    "results",
    "resume_refusals",
    "retry_policy",
    "revoke",
    "search",
    "signing",
    "soft_limit",
    "statistics*",
    "strange_messages",
    "tags",
    "task_*",
    "taxonomy",
    "two_apps",
    "typed_payloads",
    "unreported",
    "unsent",
    "worker_gate",
    "worker_pauses",
)
IN_MODEL: Final = "TESTS_IN_MODEL"
"""Variable that lets tests which need a server otherwise run on the simulation's model (`tests.support.recovery`)."""
CHOSEN: Final = ("-m", "not real and not browser", "-k", "not moto and not thousand and not _race and not scale")


def arguments(files: Sequence[str] = ()) -> list[str]:
    """Give pytest's arguments, for some files of tests or for all."""
    unit = sorted(str(path) for name in UNIT for path in Path("tests/unit").glob(f"test_{name}.py"))
    return [*(files or (*unit, "tests/contract")), *CHOSEN]
