"""The claims that a worker's children hold: a page of memory in which a child notes each claim before requesting it.

::

    0                    16,384
    | one byte a slot:   | slot: delivery 16 | claim token 64 | length 2 | job id |  slot ...
    | is it in use       |

A `JobTask` claims the job that its message names, with a token that the main process created. A body that calls
`JobRepo.claim_job` decides by itself, so its claim is noted here: if its process is lost, the main process still knows
the claims. Each child writes to its own region, by its index in the pool, so there are no locks and a child that is
stopped in the middle of a note does not block others. The main process reads the notes, and clears those of a lost
child.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from billiard import current_process

from jobclaim.jobs.log import get_logger

log = get_logger("jobclaim.worker")

REGIONS: Final = 256
"""Limit of children of one pool that can write notes."""
PER_REGION: Final = 64
"""Limit of noted claims per child."""
SLOTS: Final = REGIONS * PER_REGION
USED: Final = b"\1"
FREE: Final = b"\0"
LONGEST_ID: Final = 302
"""Limit of a job id in a note, bytes."""
_SLOT: Final = struct.Struct(f"=16s64sH{LONGEST_ID}s")


@dataclass(frozen=True, slots=True)
class NotedClaim:
    """A claim that a body made, or is about to make."""

    job_id: str
    token: str


class ClaimNotes:
    """The notes of one worker; created before its pool forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * (1 + _SLOT.size))
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, delivery: str, claim: NotedClaim) -> bool:
        """Note a claim; ``False`` if there is no space: then only the lease bounds it, which is logged."""
        job_id = claim.job_id.encode()
        with self._lock:
            place = self._free() if len(job_id) <= LONGEST_ID else -1
            if place < 0:
                log.error("claim.not_tracked", job_id=claim.job_id, count=len(self._places))
                return False
            content = _SLOT.pack(delivery.encode(), claim.token.encode(), len(job_id), job_id)
            at = SLOTS + place * _SLOT.size
            self._memory[at : at + _SLOT.size] = content
            self._memory[place : place + 1] = USED  # written last: an incomplete note does not count
            self._places[claim.token] = place
            return True

    def drop(self, token: str) -> None:
        """Remove the note of a claim of this process that has ended."""
        with self._lock:
            if (place := self._places.pop(token, None)) is not None:
                self._memory[place : place + 1] = FREE

    def clear(self, delivery: str) -> None:
        """Remove the notes of a delivery whose child is lost."""
        for place in self._used():
            if self._read(place)[0] == delivery:
                self._memory[place : place + 1] = FREE

    def of(self, delivery: str) -> list[NotedClaim]:
        """Return the claims that are held under a delivery."""
        return [claim for owner, claim in map(self._read, self._used()) if owner == delivery]

    def all(self) -> dict[str, list[NotedClaim]]:
        """Return all claims by delivery."""
        found: dict[str, list[NotedClaim]] = {}
        for owner, claim in map(self._read, self._used()):
            found.setdefault(owner, []).append(claim)
        return found

    def _used(self) -> Iterator[int]:
        place = self._memory.find(USED, 0, SLOTS)
        while place >= 0:
            yield place
            place = self._memory.find(USED, place + 1, SLOTS)

    def _free(self) -> int:
        index = getattr(current_process(), "index", None)  # ``None``: not a child, so there is no other writer
        if index is None:
            return self._memory.find(FREE, 0, SLOTS)
        if index >= REGIONS:
            return -1
        return self._memory.find(FREE, index * PER_REGION, (index + 1) * PER_REGION)

    def _read(self, place: int) -> tuple[str, NotedClaim]:
        at = SLOTS + place * _SLOT.size
        delivery, token, length, job_id = _SLOT.unpack(self._memory[at : at + _SLOT.size])
        return delivery.rstrip(FREE).decode(), NotedClaim(job_id[:length].decode(), token.rstrip(FREE).decode())
