"""The records of rates in the fleet table: each request for a start moves one of their times forward, conditionally.

`jobclaim.fleet.rates` decides what to write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobclaim.fleet.rates import HORIZON_MS, Coming, RateLimit, Seen, Turn, next_step
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in
from jobclaim.jobs.storage.records import Records

ROUNDS: Final = 6
"""Maximum writes per request; with more competing callers than that at the same moment, the answer is "later"."""
KEPT_SECONDS: Final = 8 * 86_400
"""Time after which DynamoDB deletes an unused record."""


UNPREPARED: Final = Coming()
"""A job that asks for the first time and does not wait."""


class Rates(Records):
    """Requests on the records of rates."""

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._seen: dict[str, Seen] = {}

    def reserve(self, name: str, limit: RateLimit, coming: Coming = UNPREPARED) -> Turn:
        """Take a start, or the next turn under a rate. Usually one request; one more if other jobs have moved it.

        Raises
        ------
        StoreUnavailable
        """
        now = self._clock() * 1000
        for _ in range(ROUNDS):
            step = next_step(self._seen.get(name, Seen()), limit, now, coming)
            if step is None:
                return Turn(now // 1000 + HORIZON_MS, reserved=False)
            applied, item = self._update(
                f"#rate/{name}", f"{step.expression}, #ttl = :ttl", step.condition, {}, _numbers(step.values)
            )
            after = self._seen[name] = _seen(item)
            if applied:
                return Turn(-(-step.at(after) // 1000), reserved=True, starts=step.starts)
        return Turn((now + max(limit.interval_us, 1_000_000)) // 1000, reserved=False)

    def wait_until(self, at: int) -> None:
        """Wait inside the process until a start, in epoch milliseconds."""
        self._sleep(max(0, at - self._clock()) / 1000)

    def _update(
        self, key: str, expression: str, condition: str, names: dict[str, str], values: Item
    ) -> tuple[bool, Item]:
        """Make one conditional write; return whether it was applied, and the record after it or the conflicting one."""
        return self._write(
            "update_item",
            Key={schema.FLEET_KEY: attribute(key)},
            UpdateExpression=expression,
            ConditionExpression=condition,
            ExpressionAttributeNames={**names, "#ttl": schema.FLEET_TTL},
            ExpressionAttributeValues={**values, ":ttl": attribute(self._clock() // 1000 + KEPT_SECONDS)},
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )


def _numbers(values: dict[str, int]) -> Item:
    return {name: attribute(value) for name, value in values.items()}


def _seen(item: Item) -> Seen:
    return Seen(**{name: number_in(item, name) for name in ("spent", "tat", "again", "since")})
