"""What holds a job that waits, and what a person can do about it, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobclaim.views.humane import iso

if TYPE_CHECKING:
    from jobclaim.jobs.kept import Release

WORDS: Final = {
    "rate-limit": ("held by its rate limit", "A higher `rate_limit` of its task lets more jobs start."),
    "concurrency-limit": (
        "held by its concurrency limit",
        "It starts when one of the others has ended; a higher `concurrency_limit` lets more run together.",
    ),
    "breaker": (
        "held by an open breaker",
        "The breaker closes when the service answers again; see what fails there.",
    ),
    "worker-stop": ("released by a worker that stopped", "Nothing needs to be done: any worker of its queue runs it."),
    "unknown-task": (
        "held because a worker does not know its task",
        "Deploy the task to the workers of its queue, or route it to a queue whose workers have it.",
    ),
    "snooze": ("snoozed by its task", "Its task decides when it continues."),
    "requeue": ("sent back by its task", "Its task raised Reject(requeue=True)."),
    "store": (
        "released because DynamoDB or S3 did not answer",
        "It starts when they answer again; `jobclaim doctor` checks them.",
    ),
    "late": ("released because its start came too late", "Its body did not run; the next attempt does."),
    "caller": ("released by a program", "The program that claimed it released it."),
}
"""By `jobclaim.jobs.protocol.releases.Held`: what holds a job, and what to do; a test checks that none is missing."""
RELEASED: Final = ("released uncharged", "")
"""The same for a release by an older or a newer version."""


def held_in_words(held: str | None) -> str:
    """Name what holds a job."""
    return WORDS.get(held or "", RELEASED)[0]


def hold_in_words(release: Release, *, advice: bool = False) -> str:
    """Describe a release with its reason and, if requested, what to do about it."""
    title, then = WORDS.get(release.held, RELEASED)
    text = f"{title}: {release.reason}" if release.reason else title
    return f"{text}. {then}".rstrip() if advice else text


def release_record(release: Release | None) -> dict[str, Any] | None:
    """Build the JSON record of a release."""
    if release is None:
        return None
    return {
        "held": release.held or None,
        "reason": release.reason,
        "at": iso(release.at),
        "at_ms": release.at or None,
    }


def charged_in_words(charged: int, max_attempts: int) -> str:
    """Write how many of a job's attempts are charged: a release is not, however often it happens."""
    return f"{charged} of {max_attempts}"
