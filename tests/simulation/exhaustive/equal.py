"""Which states are equal, and which requests are no event: what makes a search of all orders feasible."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from tests.simulation.expressions import plain
from tests.simulation.judge.facts import Facts
from tests.simulation.judge.oracle import Oracle

GUARDS: Final = ("attempt", "dispatches", "claim_token", "submission")


def digest(state: str) -> bytes:
    """Give what stands for a state and for its mirror image: which of the two workers is which is no difference."""
    renamed = state.replace("worker0", "worker-").replace("worker1", "worker0").replace("worker-", "worker1")
    mirrored = json.dumps(json.loads(renamed), sort_keys=True)
    return hashlib.blake2b(min(state, mirrored).encode(), digest_size=16).digest()


def is_void(request: dict[str, Any], stored: Facts, judge: Oracle) -> bool:
    """Check whether a late request can never be carried out any more, so that its arrival is no event.

    It names an attempt that has gone by, a number of messages that has been passed, or a claim or a run that was
    stored and is no longer. None of them comes back: the judge sees to that.
    """
    values = request["ExpressionAttributeValues"]
    named = {name: plain(values[f":if_{name}"]) for name in GUARDS if f":if_{name}" in values}
    attempt, dispatches = named.get("attempt", stored.attempt), named.get("dispatches", stored.dispatches)
    token, run = named.get("claim_token", stored.claim_token), named.get("submission", stored.submission)
    key = request["Key"]["job_id"]["S"]
    return (
        attempt < stored.attempt
        or (attempt == stored.attempt and dispatches < stored.dispatches)
        or (token != stored.claim_token and (key, token) in judge.owners)
        or (run != stored.submission and run in judge.submissions)
    )
