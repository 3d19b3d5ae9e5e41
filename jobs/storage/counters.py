"""Counters that many processes add to: one small item of the fleet table per five minutes.

Each process adds its counts ten seconds after the first of them and when it ends, so a submission costs no request of
its own; the latest counts of a killed process are lost with it. Failures of critical tasks are rare and are written at
once, by `jobclaim.jobs.repo.announcing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.pending import LAST_SECONDS, Pending
from jobclaim.jobs.storage.records import Records
from jobclaim.jobs.storage.resilience import STALE

log = get_logger("jobclaim.jobs")

PREFIX: Final = "#tally#"
WINDOW_MS: Final = 300_000
KEPT_SECONDS: Final = 86_400
FLUSH_SECONDS: Final = 10.0
"""From a count to its write."""


class Counters(Records):
    """Adds to the item of the current five minutes; thread-safe. A count that cannot be written is dropped.

    The first of several failures is logged.
    """

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        super().__init__(client, table, clock=clock, sleep=sleep)
        self._failing = False
        self._pending = Pending(self._write_pending, every=FLUSH_SECONDS, clock=clock)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a count in memory."""
        self._pending.add({name: by})

    def flush(self, *, last: bool = False) -> None:
        """Write the pending counts; ``last`` makes one short try, for a process that is about to end."""
        self._pending.flush(last=last)

    def add(self, counted: Mapping[str, int], notes: Mapping[str, str] | None = None, *, last: bool = False) -> bool:
        """Add to counters and write notes beside them, in one request; return whether it was made."""
        request = self._addition(counted, notes or {})
        try:
            if last:
                with_timeout(self._client(), LAST_SECONDS).update_item(**request)
            else:
                self._ask(lambda: self._client().update_item(**request))
        except (StoreUnavailable, ClientError, BotoCoreError, *STALE) as error:
            self._report(str(error), last=last)
            return False
        self._failing = False
        return True

    def _write_pending(self, counted: Counter[str], last: bool) -> bool:
        return self.add(counted, last=last)

    def _report(self, reason: str, *, last: bool) -> None:
        """Log the first of consecutive failures; nothing at the end of a program, where a missing count is not worth a
        warning.
        """
        if not last and not self._failing:
            log.warning("counts.not_written", reason=reason)
        self._failing = True

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


def with_timeout(client: Any, seconds: float) -> Any:
    """Return a client that tries once, for some seconds, where that is possible."""
    from jobclaim.jobs.storage.lean import LeanClient, lean

    if not isinstance(client, LeanClient):
        from botocore.client import BaseClient  # loaded already if the client is a botocore client

        if isinstance(client, BaseClient):  # a caller's own client may retry for minutes
            client = lean(client)
    return client.with_timeout(seconds) if isinstance(client, LeanClient) else client
