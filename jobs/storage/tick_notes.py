"""Which beat sends a tick of a plain task: a note per tick, taken before the send and marked after it.

::

    beat one   take ──▶ MINE ─── send ──▶ mark as sent
    beat two         take ──▶ ELSEWHERE, asks again ──────▶ SENT
                              beat one died, or its sends fail: ──10 s──▶ MINE

A `JobTask` needs none: its tick is a job, and the job's id tells the two apart. A beat that dies between its send and
the mark leaves a tick that another one sends again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from botocore.exceptions import ClientError

from jobclaim.jobs.storage import schema
from jobclaim.jobs.storage.item import attribute
from jobclaim.jobs.storage.notes import Kind, Notes, key
from jobclaim.jobs.storage.resilience import condition_failed

STALE_MS: Final = 10_000
"""Time after which another beat takes a tick that was taken and not marked as sent."""
KEPT_SECONDS: Final = 86_400.0
SENDING: Final = "sending"
SENT: Final = "sent"

_FREE: Final = "attribute_not_exists(#text) OR #text = :sending AND (#owner = :owner OR #at < :stale OR #at > :ahead)"
"""Nobody has it; or I have it; or whoever has it is silent, or has a clock that is not to be believed."""


class Taken(StrEnum):
    """Whose a tick is."""

    MINE = "mine"
    ELSEWHERE = "elsewhere"
    SENT = "sent"


class TickNotes(Notes):
    """The notes about ticks; all requests raise `StoreUnavailable`."""

    def take(self, tick: str, owner: str) -> Taken:
        """Take a tick in order to send it; the same owner may take it again.

        Parameters
        ----------
        owner : str
            Names the beat, and no other one that ever ran.
        """
        now = self._clock()
        request = {
            "UpdateExpression": "SET #text = :sending, #owner = :owner, #at = :now, #ttl = :ttl",
            "ConditionExpression": _FREE,
            "ExpressionAttributeNames": {"#text": "text", "#owner": "owner", "#at": "taken_at", "#ttl": schema.TTL},
            "ExpressionAttributeValues": {
                ":sending": attribute(SENDING),
                ":owner": attribute(owner),
                ":now": attribute(now),
                ":stale": attribute(now - STALE_MS),
                ":ahead": attribute(now + STALE_MS),
                ":ttl": attribute(self._end(KEPT_SECONDS)),
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._ask(lambda: self._client().update_item(TableName=self._table, Key=key(Kind.TICK, tick), **request))
        except ClientError as error:
            if not condition_failed(error):
                raise
            response: Any = error.response
            return Taken.SENT if response.get("Item", {}).get("text", {}).get("S") == SENT else Taken.ELSEWHERE
        return Taken.MINE

    def mark_as_sent(self, tick: str) -> None:
        """Note that a tick was sent: nobody sends it any more."""
        self.put(Kind.TICK, tick, SENT, seconds=KEPT_SECONDS)
