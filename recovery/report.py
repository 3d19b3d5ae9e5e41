"""What one recovery pass did, in counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from jobclaim.recovery.cursor import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """The report of one pass. All fields but the cursor are counts.

    Attributes
    ----------
    examined : int
        Jobs read and decided on.
    orphaned : int
        Orphans whose outcome was recorded: FAILED, or PENDING again.
    retried : int
        Orphans among ``orphaned`` that became PENDING again.
    redispatched : int
        PENDING jobs whose message was sent again.
    scheduled : int
        PENDING jobs whose first message was sent because they are due soon.
    given_up : int
        PENDING jobs that became FAILED because none of their messages was claimed.
    expired : int
        PENDING jobs that became CANCELLED because they expired before they started.
    revived : int
        FAILED jobs that became PENDING again by their dead-letter rule.
    refused : int
        Writes refused because the job had changed meanwhile, which is normal.
    held : int
        Messages put off because their queue has a backlog or sends keep failing.
    unsent : int
        Messages that could not be sent; a later pass sends them.
    failed : int
        Reads and writes that failed; a later pass tries again.
    dead_workers : int
        Lost workers whose jobs all have an outcome and whose records were removed.
    truncated : int
        Parts of the index with more to read than one pass may; the next pass continues there.
    cursor : Cursor
        Where the next pass continues.
    """

    examined: int = 0
    orphaned: int = 0
    retried: int = 0
    redispatched: int = 0
    scheduled: int = 0
    given_up: int = 0
    expired: int = 0
    revived: int = 0
    refused: int = 0
    held: int = 0
    unsent: int = 0
    failed: int = 0
    dead_workers: int = 0
    truncated: int = 0
    cursor: Cursor = field(default_factory=Cursor)

    def counts(self) -> dict[str, int]:
        """Return all counts by name, for a log line or a table."""
        return {name: value for name, value in asdict(replace(self, cursor=Cursor())).items() if name != "cursor"}
