"""Which job is an edited retry of which: a note for each of the two, kept as long as dead letters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from jobclaim.jobs.storage.notes import Kind, Notes

KEPT: Final = 10
"""Edited retries that a job names."""


@dataclass(frozen=True, slots=True)
class Edited:
    """The edited retries around a job.

    Attributes
    ----------
    edited_from : str
        Id of the job that it was made from; empty for any other job.
    edited_as : tuple of str
        Ids of the last jobs that were made from it, oldest first.
    """

    edited_from: str = ""
    edited_as: tuple[str, ...] = ()


class Edits(Notes):
    """Requests on the notes about edited retries; all of them raise `StoreUnavailable`."""

    def around(self, job_id: str) -> Edited:
        """Return the edited retries around a job, with one read."""
        known = json.loads(self.get(Kind.EDITED, job_id) or "{}")
        return Edited(str(known.get("edited_from", "")), tuple(known.get("edited_as", ())))

    def link(self, old: str, new: str, *, seconds: float) -> None:
        """Note that a job was made from another one, with two reads and two writes."""
        before, after = self.around(old), self.around(new)
        known = [one for one in before.edited_as if one != new]
        self._note(new, replace(after, edited_from=old), seconds)
        self._note(old, replace(before, edited_as=(*known, new)[-KEPT:]), seconds)

    def _note(self, job_id: str, edited: Edited, seconds: float) -> None:
        self.put(Kind.EDITED, job_id, json.dumps(asdict(edited), separators=(",", ":")), seconds=seconds)
