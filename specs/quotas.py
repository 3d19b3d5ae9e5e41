"""Limits set by AWS, and names that follow from them."""

from __future__ import annotations

from typing import Final

SQS_MAX_VISIBILITY: Final = 43_200
"""Maximum visibility timeout of SQS in seconds, 12 hours (AWS, "Amazon SQS message quotas")."""
SQS_MAX_RETENTION: Final = 1_209_600
"""Longest time that SQS keeps a message, seconds: 14 days (AWS, "Amazon SQS message quotas")."""
SQS_RETENTION: Final = 345_600
"""Seconds that SQS keeps a queue's message, 4 days: its default, which queues for jobs have."""
SQS_MAX_DELAY: Final = 900
"""Maximum ``DelaySeconds`` of SQS (AWS, "Amazon SQS message quotas")."""
SQS_MAX_NAME: Final = 80
"""Maximum length in characters of an SQS queue name."""
ITEM_BUDGET: Final = 330_000
"""Maximum bytes of payload and result together: DynamoDB's item limit of 400 KB minus everything else that a job holds:
ids of maximum length, the content of its messages, its progress, and ten ended attempts with their failures."""
FARGATE_MEMORY: Final = {
    256: (512, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16_384),
    4096: (8192, 30_720),
    8192: (16_384, 61_440),
    16384: (32_768, 122_880),
}
"""Minimum and maximum MiB that Fargate allows for a task by CPU units (AWS, "Task CPU and memory")."""
DEAD_LETTER_SUFFIX: Final = "-dlq"


def dead_letters_of(queue: str) -> str:
    """Return the dead-letter queue of an SQS queue: its name from the queue's name, its URL from the queue's URL."""
    return queue.rstrip("/") + DEAD_LETTER_SUFFIX
