"""The records of rates in the fleet table: whoever asks for a start moves one of their times on, conditionally.

What to write is decided in `jobclaim.fleet.rates`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobclaim.fleet.rates import HORIZON_MS, Coming, RateLimit, Seen, Turn, next_step
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.storage.records import Records

ROUNDS: Final = 6
"""Writes of one question: more than that many others at the same moment, and the answer is "later"."""
KEPT_SECONDS: Final = 8 * 86_400
"""A record that nobody has used for so long is deleted by DynamoDB."""


UNPREPARED: Final = Coming()
"""Comes for the first time, and does not wait."""


class Rates(Records):
    """Asks the records of rates."""

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._seen: dict[str, Seen] = {}

    def reserve(self, name: str, limit: RateLimit, coming: Coming = UNPREPARED) -> Turn:
        """Take a start, or the next turn under a rate. Mostly one request; one more where others have moved it on.

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
        """Wait inside the process for a start, epoch milliseconds."""
        self._sleep(max(0, at - self._clock()) / 1000)

    def _update(
        self, key: str, expression: str, condition: str, names: dict[str, str], values: Item
    ) -> tuple[bool, Item]:
        """Make one conditional write; give whether it was applied, and the record after it or in its way."""
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
    names = ("spent", "tat", "again", "since")
    return Seen(**{name: int(item[name]["N"]) for name in names if name in item})
