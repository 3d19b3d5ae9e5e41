"""A body's progress reports, kept until a write is due."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from jobclaim.jobs.encoding import codec
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.kept import Progress
from jobclaim.jobs.model import Job

MAX_MESSAGE: Final = 500
"""Maximum stored bytes of a message."""
MAX_META: Final = 4_000
"""Maximum bytes of the data passed to Celery's ``update_state``."""
MAX_STATE: Final = 50


class Reports:
    """The reports of one attempt; of several reports between two writes the last one counts.

    Attributes
    ----------
    progress : Progress or None
        Reported and not written yet; ``None`` if there is nothing to write.
    checkpoint
        Checkpoint that is reported and not written yet; ``...`` if there is nothing to write.
    written_at : int
        When a write was last tried, in epoch milliseconds.
    """

    def __init__(self, claim: Job, seconds: float) -> None:
        self.progress: Progress | None = None
        self.checkpoint: Any = ...
        self.written_at: int | None = None
        self._attempt = claim.attempt
        self._every_ms = round(seconds * 1000)
        self._first: tuple[float, int] | None = None

    def tell(self, done: float | None, total: float | None, message: str, checkpoint: Any, now: int) -> None:
        """Store a report. Raises `InvalidInput`, `InvalidPayload`."""
        done, total = _number(done, "done"), _number(total, "total")
        if not isinstance(message, str):
            raise InvalidInput(f"message={message!r} must be text")
        if checkpoint is not ...:
            self.checkpoint = _copied(checkpoint)
        elif done is None and total is None and not message:
            raise InvalidInput("progress() was called without a value; pass done and total, a message or a checkpoint")
        if done is None and total is None and not message:
            return
        self._take(Progress(done=done, total=total, message=codec.cut(message, MAX_MESSAGE)), now)

    def tell_state(self, state: Any, meta: Any, now: int) -> None:
        """Store what was passed to Celery's ``update_state``. Raises `InvalidInput`, `InvalidPayload`."""
        if not isinstance(state, str) or not 0 < len(state) <= MAX_STATE:
            raise InvalidInput(f"state={state!r} must be text of 1 to {MAX_STATE} characters")
        codec.encode(meta, what="meta", limit=MAX_META)
        fields = meta if isinstance(meta, dict) else {}
        done, total = _maybe(fields.get("current", fields.get("done"))), _maybe(fields.get("total"))
        self._take(Progress(done=done, total=total, state=state, meta=_copied(meta)), now)

    def is_due(self, now: int) -> bool:
        """Check whether the last report should be written now: always for the first one of an attempt."""
        return self.written_at is None or not 0 <= now - self.written_at < self._every_ms  # clocks are put back, too

    def written(self, now: int) -> None:
        """Note that a write of any kind included the report."""
        if self.progress is not None or self.checkpoint is not ...:
            self.progress, self.checkpoint, self.written_at = None, ..., now

    def _take(self, progress: Progress, now: int) -> None:
        if self._first is None and progress.done is not None:
            self._first = (progress.done, now)
        first_done, first_at = self._first or (None, 0)
        self.progress = replace(progress, attempt=self._attempt, at=now, first_done=first_done, first_at=first_at)


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{what}={value!r} must be a number, or None if it is not known")
    return value


def _maybe(value: Any) -> float | None:
    """Return a number from a user's metadata; ``None`` if it is not a number."""
    try:
        return _number(value, "")
    except InvalidInput:
        return None


def _copied(value: Any) -> Any:
    """Copy a value, so that later changes by the body to its list or map have no effect."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    return codec.decode(codec.encode(value, what="checkpoint"))
