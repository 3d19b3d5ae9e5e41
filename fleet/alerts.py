"""Which alerts were published, and when they were last evaluated: one record in the fleet table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in
from jobclaim.jobs.encoding.rows import record
from jobclaim.jobs.storage.records import Records

KEY: Final = "#alerts"
_KEY: Final = {schema.FLEET_KEY: attribute(KEY)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedAlert:
    """The published state of one alert. Times are epoch milliseconds; ``said_at`` is 0 until it was published."""

    since: int
    fired_at: int
    said_at: int
    text: str


class PublishedAlerts(Records):
    """The record of published alerts in DynamoDB; all methods raise `StoreUnavailable`."""

    def read(self) -> tuple[int, dict[str, PublishedAlert]]:
        """Return when the alerts were last evaluated, in epoch milliseconds, and the published state of each."""
        answer = self._ask(lambda: self._client().get_item(TableName=self._table, Key=_KEY))
        return published_in(answer.get("Item", {}))

    def take(self, seen: int, now: int) -> bool:
        """Claim the right to evaluate the alerts now."""
        condition = "evaluated_at = :seen" if seen else "attribute_not_exists(evaluated_at)"
        values = {":now": attribute(now)} | ({":seen": attribute(seen)} if seen else {})
        return self._write(
            "update_item",
            Key=_KEY,
            UpdateExpression="SET evaluated_at = :now",
            ConditionExpression=condition,
            ExpressionAttributeValues=values,
        )[0]

    def write(self, published: Mapping[str, PublishedAlert]) -> None:
        """Store the published states."""
        text = json.dumps({alert: asdict(one) for alert, one in published.items()}, ensure_ascii=False)
        values = {":said": attribute(text)}
        self._write("update_item", Key=_KEY, UpdateExpression="SET said = :said", ExpressionAttributeValues=values)


def published_in(item: Item) -> tuple[int, dict[str, PublishedAlert]]:
    """Read the record; text that cannot be read counts as nothing published."""
    at = number_in(item, "evaluated_at")
    try:
        return at, {alert: record(PublishedAlert, row) for alert, row in json.loads(item["said"]["S"]).items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return at, {}
