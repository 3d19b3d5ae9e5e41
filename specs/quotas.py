"""Limits that AWS sets, and names that follow from them."""

from __future__ import annotations

from typing import Final

SQS_MAX_VISIBILITY: Final = 43_200
"""Seconds; 12 hours is SQS's own cap on a visibility timeout (AWS, "Amazon SQS message quotas")."""
SQS_MAX_DELAY: Final = 900
"""Seconds; the longest ``DelaySeconds`` that SQS takes (AWS, "Amazon SQS message quotas")."""
SQS_MAX_NAME: Final = 80
"""Characters; the longest queue name that SQS takes."""
ITEM_BUDGET: Final = 335_000
"""Bytes that payload and result may take together: DynamoDB's item limit of 400 KB less room for all that a job holds
besides: ids of the longest kind, what its messages carry, and ten ended attempts with their failures."""
FARGATE_MEMORY: Final = {
    256: (512, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16_384),
    4096: (8192, 30_720),
    8192: (16_384, 61_440),
    16384: (32_768, 122_880),
}
"""MiB, least and most, that Fargate gives a task of so many CPU units (AWS, "Task CPU and memory")."""
DEAD_LETTER_SUFFIX: Final = "-dlq"


def dead_letters_of(queue: str) -> str:
    """Name the dead-letter queue of an SQS queue: its name from the queue's name, its URL from the queue's URL."""
    return queue.rstrip("/") + DEAD_LETTER_SUFFIX
