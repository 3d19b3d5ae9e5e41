"""Where passes stopped in the index, so that the next one continues there: a small value in the fleet table.

Losing it costs reads, never a job. Two passes in parallel may overwrite each other's: everything that a stored cursor
marks as read was read, and the pass whose cursor is lost only reads again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery.decide import LOOK_AHEAD_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The state of one index partition. Times are epoch milliseconds.

    Attributes
    ----------
    overdue : IndexEntry or None
        Last entry read in an unfinished round over the due jobs; ``None`` starts at the oldest.
    round_since : int
        When that round began; 0 if it missed something, so that it proves nothing about lost workers.
    complete_since : int
        When the last complete round began that took more than one pass and missed nothing.
    ahead : IndexEntry or None
        Last entry read among the jobs that are not due yet: up to there all have their messages.
    """

    overdue: IndexEntry | None = None
    round_since: int = 0
    complete_since: int = 0
    ahead: IndexEntry | None = None

    @property
    def latest(self) -> int:
        """The latest of its times."""
        entries = (entry.at for entry in (self.overdue, self.ahead) if entry)
        return max(self.round_since, self.complete_since, *entries)


NOTHING_KNOWN = Mark()


@dataclass(frozen=True, slots=True)
class Cursor:
    """The marks of all partitions that have one, by index partition."""

    marks: Mapping[str, Mark] = field(default_factory=dict)

    def believed(self, now: int) -> Cursor:
        """Drop marks that a clock that was ahead has set: they would count as read what has come since."""
        latest = now + LOOK_AHEAD_MS + BELIEVED_AHEAD_MS
        return Cursor({partition: mark for partition, mark in self.marks.items() if mark.latest <= latest})

    def trimmed(self, now: int, *, keep_rounds: bool) -> Cursor:
        """Drop obsolete marks: look-ahead that is due by now, and finished rounds unless kept."""
        marks = {}
        for partition, mark in self.marks.items():
            ahead = mark.ahead if mark.ahead and mark.ahead.at >= now else None
            kept = replace(mark, ahead=ahead, complete_since=mark.complete_since if keep_rounds else 0)
            if kept != NOTHING_KNOWN:
                marks[partition] = kept
        return Cursor(marks)

    def encode(self) -> str:
        """Write as compact JSON."""
        rows = {
            partition: [_pair(mark.overdue), mark.round_since, mark.complete_since, _pair(mark.ahead)]
            for partition, mark in sorted(self.marks.items())
        }
        return json.dumps(rows, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read what `encode` wrote; any other text gives an empty cursor, so a fresh start."""
        try:
            rows = json.loads(text)
            return cls({partition: _mark(*row) for partition, row in rows.items()})
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            return cls()


def _mark(overdue: Any, round_since: Any, complete_since: Any, ahead: Any) -> Mark:
    return Mark(
        overdue=_entry(overdue), round_since=int(round_since), complete_since=int(complete_since), ahead=_entry(ahead)
    )


def _pair(entry: IndexEntry | None) -> list[Any]:
    return [entry.at, entry.job_id] if entry else []


def _entry(pair: Any) -> IndexEntry | None:
    return IndexEntry(str(pair[1]), int(pair[0])) if pair else None
