"""What a job keeps over its attempts, for people and as JSON: progress with its bar, waits, finished steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobclaim.views.humane import clock_time, iso, relative, span

if TYPE_CHECKING:
    from jobclaim.jobs import Job
    from jobclaim.jobs.kept import Progress, Step, Wait

BAR: Final = 20
"""Characters of a progress bar."""
SLEEP: Final = "sleep/"
"""Begins the names of sleeps, as `jobclaim.jobs.kept` gives them; a test holds the two together."""


def lasting_record(job: Job, *, payload: bool) -> dict[str, Any]:
    """Make the fields of a job's JSON record that tell what it keeps; values only where the payload was asked for."""
    from jobclaim.jobs.encoding import codec

    wait, checkpoint = job.waiting, job.checkpoint
    hidden = {"redacted": True, "bytes": len(codec.encode(checkpoint).encode())}
    return {
        "waits_for": wait.name if wait else None,
        **_times({"waits_since": wait.since if wait else 0, "waits_until": wait.until if wait else 0}),
        "progress": progress_record(job.progress),
        "checkpoint": None if checkpoint is None else codec.plain(checkpoint) if payload else hidden,
        "steps": [step_record(step) for step in job.steps],
        "waits": [wait_record(one) for one in job.waits],
    }


def progress_record(progress: Progress | None) -> dict[str, Any] | None:
    """Make the JSON record of what an attempt told last of how far it is."""
    if progress is None:
        return None
    return {
        "state": progress.state,
        "done": progress.done,
        "total": progress.total,
        "share": progress.share,
        "rate": progress.rate,
        "message": progress.message,
        "attempt": progress.attempt,
        **_times({"at": progress.at}),
    }


def step_record(step: Step) -> dict[str, Any]:
    """Make the JSON record of a finished step; its result is not in it."""
    return {
        "name": step.name,
        "function": step.function,
        "attempt": step.attempt,
        "took_ms": step.took_ms,
        **_times({"at": step.at}),
    }


def wait_record(wait: Wait) -> dict[str, Any]:
    """Make the JSON record of a wait; what it was resumed with is not in it."""
    return {
        "name": wait.name,
        **_times({"since": wait.since, "until": wait.until, "resumed_at": wait.resumed_at}),
        "by": wait.by or None,
        "timed_out": wait.timed_out,
    }


def waits_in_words(name: str, since: int, until: int, now: int) -> str:
    """Say what a job waits for without a worker."""
    if name.startswith(SLEEP):
        return f"sleeps until {clock_time(until)} ({relative(until, now)})"
    return f"waits for {name} since {clock_time(since)}, until {clock_time(until)} ({relative(until, now)})"


def progress_in_words(progress: Progress, now: int, *, bar: bool = True) -> str:
    """Say how far a job is: a bar, what is done, the rate and the time left, as far as the body tells it."""
    parts = []
    if (share := progress.share) is not None:
        filled = round(share * BAR)
        parts.append(f"[{'#' * filled}{'-' * (BAR - filled)}] {share:.0%}" if bar else f"{share:.0%}")
    if progress.done is not None:
        of = "" if progress.total is None else f" of {number(progress.total)}"
        parts.append(f"{number(progress.done)}{of}")
    if (rate := progress.rate) is not None:
        parts.append(f"{number(rate)}/s")
    if (left := progress.seconds_left(now)) is not None:
        parts.append(f"{span(round(left * 1000))} left")
    if progress.message:
        parts.append(progress.message)
    if not parts:
        parts.append(progress.state)
    return " · ".join(parts)


def number(value: float) -> str:
    """Write a number as people read it: grouped, and with at most three digits behind a small one's point."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _times(moments: dict[str, int]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, at in moments.items():
        shown[name] = iso(at)
        shown[f"{name}_ms"] = at or None
    return shown
