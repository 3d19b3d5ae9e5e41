"""What a run may have beside its faults: each dimension is drawn apart, so that older seeds stay what they were."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

DIMENSIONS: Final[Mapping[str, str]] = {
    "queues": "two queues and two shards of the index",
    "short": "pages of a query end before their limit, and a batch leaves keys unread, in calm times too",
    "refusals": "DynamoDB answers with any of the 4xx that pass by themselves, refused access among them",
    "ttl": "DynamoDB deletes what has expired, at some time; jobs are kept for little longer than messages",
    "retention": "SQS forgets what it has kept for long",
    "releases": "the table holds items of the release before and of the next one",
    "large": "payloads are in S3, which fails as well",
    "beside": "payloads are in items of their own",
    "effects": "completions and submissions are transactions with writes to a table of the caller's",
    "limits": "jobs have a rate, and a concurrency key that one of them may hold",
    "breaker": "bodies call a service that is down for a while, under a breaker",
    "children": "children of workers die, and their main processes record it",
    "cancels": "people cancel jobs in whatever state they are, and rely on the answer",
}
ALONE: Final = 0.3
"""Probability of each."""
REFUSED: Final = {"refusal": 0.1}
"""Rate of the fault that a dimension brings."""
BRINGS: Final[Mapping[str, Mapping[str, float]]] = {"refusals": REFUSED}


def drawn(seed: int) -> frozenset[str]:
    """Draw the dimensions of a seed."""
    random = Random(f"{seed}/dimensions")
    return frozenset(name for name in DIMENSIONS if random.random() < ALONE)


def faults_of(dimensions: frozenset[str]) -> dict[str, float]:
    """Give the faults that dimensions bring."""
    return {fault: rate for name in sorted(dimensions) for fault, rate in BRINGS.get(name, {}).items()}
