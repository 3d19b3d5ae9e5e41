"""Which beat sends a tick of a plain task: one note per tick, taken before the send and marked after it.

::

    beat one   take ──▶ MINE ─── send ──▶ mark as sent
    beat two         take ──▶ ELSEWHERE, asks again ──────▶ SENT
                              beat one died, or its sends fail: ──10 s──▶ MINE

A `JobTask` needs none: its tick is a job, and the job's id prevents duplicates. A beat that dies between its send and
the mark leaves a tick that another beat sends again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from jobclaim.jobs.storage.notes import Kind, Notes

STALE_MS: Final = 10_000
"""Time after which another beat takes over a tick that was taken and not marked as sent."""
KEPT_SECONDS: Final = 86_400.0
SENDING: Final = "sending"
SENT: Final = "sent"


class Taken(StrEnum):
    """State of a tick from the point of view of one beat."""

    MINE = "mine"
    ELSEWHERE = "elsewhere"
    SENT = "sent"


class TickNotes(Notes):
    """Requests on the notes about ticks; all of them raise `StoreUnavailable`."""

    def take(self, tick: str, owner: str) -> Taken:
        """Take a tick in order to send it; the same owner may take it again.

        Parameters
        ----------
        owner : str
            Unique name of the beat process.
        """
        before = self.seize(Kind.TICK, tick, SENDING, owner, stale_ms=STALE_MS, seconds=KEPT_SECONDS)
        if before is None:
            return Taken.MINE
        return Taken.SENT if before == SENT else Taken.ELSEWHERE

    def mark_as_sent(self, tick: str) -> None:
        """Note that a tick was sent, so that it is not sent again."""
        self.put(Kind.TICK, tick, SENT, seconds=KEPT_SECONDS)
