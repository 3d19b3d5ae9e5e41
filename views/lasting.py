"""State that a job keeps across attempts, as text and as JSON: progress, waits and completed steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobclaim.views.humane import clock_time, relative, span, times

if TYPE_CHECKING:
    from jobclaim.jobs import Job
    from jobclaim.jobs.kept import Progress, Step, Wait

BAR: Final = 20
"""Width of a progress bar in characters."""
SLEEP: Final = "sleep/"
"""Prefix of the names of sleeps, as in `jobclaim.jobs.kept`; a test checks that the two are equal."""


def lasting_record(job: Job, *, payload: bool) -> dict[str, Any]:
    """Build the fields of a job's JSON record about its kept state; values only if the payload was requested."""
    from jobclaim.jobs.encoding import codec

    wait, checkpoint = job.waiting, job.checkpoint
    hidden = {"redacted": True, "bytes": len(codec.encode(checkpoint).encode())}
    return {
        "waits_for": wait.name if wait else None,
        **times({"waits_since": wait.since if wait else 0, "waits_until": wait.until if wait else 0}),
        "progress": progress_record(job.progress),
        "checkpoint": None if checkpoint is None else codec.plain(checkpoint) if payload else hidden,
        "steps": [step_record(step) for step in job.steps],
        "waits": [wait_record(one) for one in job.waits],
        "effects": effects_record(job),
    }


def effects_record(job: Job) -> dict[str, Any] | None:
    """Build the JSON record of the writes that were made with the job's completion: their number, and the first."""
    from jobclaim.jobs.effects.evidence import made

    number, first = made(job.effects)
    return {"count": number, "first": [one._asdict() for one in first]} if number else None


def effects_in_words(job: Job) -> str:
    """Name the writes that were made with the job's completion; empty for none."""
    from jobclaim.jobs.effects.evidence import made

    number, first = made(job.effects)
    named = [" ".join(part for part in one if part) for one in first]
    more = number - len(first)
    rest = [f"{more} more" if named else f"{more} write{'s' * (more != 1)}"] if more else []
    return "; ".join([*named, *rest])


def progress_record(progress: Progress | None) -> dict[str, Any] | None:
    """Build the JSON record of the progress that an attempt reported last."""
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
        **times({"at": progress.at}),
    }


def step_record(step: Step) -> dict[str, Any]:
    """Build the JSON record of a completed step, without its result."""
    return {
        "name": step.name,
        "function": step.function,
        "attempt": step.attempt,
        "took_ms": step.took_ms,
        **times({"at": step.at}),
    }


def wait_record(wait: Wait) -> dict[str, Any]:
    """Build the JSON record of a wait, without the value that it was resumed with."""
    return {
        "name": wait.name,
        **times({"since": wait.since, "until": wait.until, "resumed_at": wait.resumed_at}),
        "by": wait.by or None,
        "timed_out": wait.timed_out,
    }


def waits_in_words(name: str, since: int, until: int, now: int) -> str:
    """Describe what a suspended job waits for."""
    if name.startswith(SLEEP):
        return f"sleeps until {clock_time(until)} ({relative(until, now)})"
    return f"waits for {name} since {clock_time(since)}, until {clock_time(until)} ({relative(until, now)})"


def progress_in_words(progress: Progress, now: int, *, bar: bool = True) -> str:
    """Describe a job's progress as far as the body reports it: a bar, what is done, the rate and the time left."""
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
    """Format a number with grouped digits and, for a small one, at most three decimals."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
