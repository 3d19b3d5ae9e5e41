"""Features for durable work of each peer as shipped, from its documentation; nothing here is measured."""

from __future__ import annotations

from typing import Final

WHO: Final = ("**jobclaim**", "Celery", "Celery + Powertools", "dramatiq-sqs", "taskiq-aio-sqs")
FEATURES: Final = (
    (
        "submission in your transaction",
        "✓ DynamoDB; SQL after the commit",
        "after the commit (Django)",
        "after the commit (Django)",
        "✗",
        "✗",
    ),
    ("effects with the completion", "✓ DynamoDB, fenced", "✗", "✗", "✗", "✗"),
    (
        "finished steps are not run again",
        "✓ with the job: 1 write, no read",
        "✗ chains of tasks",
        "a function at a time: 2 writes, and kept by hand",
        "✗ pipelines of tasks",
        "✗ pipelines of tasks",
    ),
    (
        "progress",
        "✓ fenced, with a checkpoint",
        "`update_state`, with a result backend",
        "`update_state`, with a result backend",
        "✗",
        "`ProgressTracker`, with a result backend",
    ),
    ("waits without a worker", "✓ for a name, a token, a time", "✗", "✗", "✗", "✗"),
)
"""Rows: the feature, and how each of `WHO` supports it."""
