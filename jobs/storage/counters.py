"""Counters that many processes add to: one small item of the fleet table per five minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.records import Records

log = get_logger("jobclaim.jobs")

PREFIX: Final = "#tally#"
WINDOW_MS: Final = 300_000
KEPT_SECONDS: Final = 86_400
LAST_SECONDS: Final = 3.0
"""How long an ending process waits for its last counts to be written."""


class Counters(Records):
    """Adds to the item of the current five minutes. A count that cannot be written is logged and dropped."""

    def add(self, counted: Mapping[str, int], notes: Mapping[str, str] | None = None, *, last: bool = False) -> None:
        """Add to counters and write notes beside them, in one request; ``last`` makes one short try."""
        request = self._addition(counted, notes or {})
        try:
            if last:
                _with_timeout(self._client()).update_item(**request)
            else:
                self._ask(lambda: self._client().update_item(**request))
        except (StoreUnavailable, ClientError, BotoCoreError) as error:
            log.warning("counts.not_written", reason=str(error))

    def _addition(self, counted: Mapping[str, int], notes: Mapping[str, str]) -> dict[str, Any]:
        now = self._clock()
        sets = ", ".join(["#ttl = :ttl", *(f"#{name} = :{name}" for name in notes)])
        adds = ", ".join(f"#{name} :{name}" for name in counted)
        return {
            "TableName": self._table,
            "Key": window_key(now),
            "UpdateExpression": f"SET {sets} ADD {adds}",
            "ExpressionAttributeNames": {"#ttl": schema.FLEET_TTL} | {f"#{name}": name for name in (*counted, *notes)},
            "ExpressionAttributeValues": {
                ":ttl": attribute(now // 1000 + KEPT_SECONDS),
                **{f":{name}": attribute(number) for name, number in counted.items()},
                **{f":{name}": attribute(text) for name, text in notes.items()},
            },
        }


def window_key(at: int) -> Item:
    """Return the key of the five minutes that contain a time."""
    return {schema.FLEET_KEY: attribute(f"{PREFIX}{at // WINDOW_MS * WINDOW_MS}")}


def _with_timeout(client: Any) -> Any:
    """Return a client with short timeouts if there is one; boto3's own takes its full timeouts, twice."""
    with_timeout = getattr(client, "with_timeout", None)
    return client if with_timeout is None else with_timeout(LAST_SECONDS)
