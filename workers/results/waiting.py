"""Classify a chord's members without a result: they run, they are still to come, or they never will.

::

    its job, or a step before it, is open                            wait
    it was counted, and there is no result                           lost: deleted, or past retention
    a step before it ended long ago, and nothing came of it          lost
    unknown, and the job that submits it is open                     wait: that job, or its next attempt, sends it
    unknown, and the submitter has been silent for too long          lost: the submitter died between its members
    unknown, and it may be a plain task in a queue                   wait, as long as SQS may keep its message
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jobclaim.jobs import Job
from jobclaim.specs.quotas import SQS_MAX_RETENTION
from jobclaim.workers.messages.links import original_id
from jobclaim.workers.results.meta import successor_of_result

SUBMISSION_SECONDS: Final = 900
"""How long after its latest activity a submitter that has not sent the last member counts as lost."""
QUEUE_SECONDS: Final = SQS_MAX_RETENTION
"""As long as SQS may keep a message: a plain task that waits in a queue leaves no other trace."""
MOST_NAMED: Final = 5


def ancestors(leaf: Any, chord_job_id: Any) -> Iterator[str]:
    """Return the ids of the jobs before a member's, nearest first."""
    node = leaf.parent
    while node is not None:
        yield chord_job_id(node.id) if hasattr(node, "results") else node.id
        node = node.parent


def lost(
    missing: Sequence[Any],
    jobs: Mapping[str, Job],
    *,
    counted: set[str],
    plain: set[str],
    announced: bool,
    submitter: Job | None,
    begun_at: int,
    now: int,
    chord_job_id: Any,
) -> list[str]:
    """Return the members that will never have a result.

    Parameters
    ----------
    missing : sequence of AsyncResult
        Members without a result that ended.
    jobs : mapping
        The jobs found for the members and for the steps before them.
    counted : set of str
        Ids of members that were counted.
    plain : set of str
        Ids of members that may be plain tasks, or follow one.
    announced : bool
        Whether the submitter reached its last member.
    submitter : Job or None
        The job whose body, or whose end, submits the chord; ``None`` if it is not a job, or no longer exists.
    begun_at : int
        When the chord's job was written, epoch milliseconds.
    """
    latest = max([begun_at, *(job.created_at for job in jobs.values())])
    still_for = (now - latest) / 1000
    found = []
    for leaf in missing:
        before = [jobs[one] for one in ancestors(leaf, chord_job_id) if one in jobs]
        job = jobs.get(leaf.id)
        if (job and job.status.is_open) or (before and before[0].status.is_open):
            continue
        if leaf.id in counted or original_id(leaf.id) in counted:
            found.append(leaf.id)
        elif any(successor_of_result(one.result) for one in (job, *before[:1]) if one):
            if still_for > QUEUE_SECONDS:  # the steps that replaced it are not known here
                found.append(leaf.id)
        elif submitter is None or not submitter.status.is_open:
            patience = QUEUE_SECONDS if leaf.id in plain and announced else SUBMISSION_SECONDS
            if still_for > patience and _ended_long_ago(before, now):
                found.append(leaf.id)
    return found


def _ended_long_ago(before: Sequence[Job], now: int) -> bool:
    return not before or now - before[0].finished_at > SUBMISSION_SECONDS * 1000


def explain(lost_ids: Sequence[str], total: int) -> str:
    """Describe the missing members and the remedy."""
    named = ", ".join(lost_ids[:MOST_NAMED]) + (", ..." if len(lost_ids) > MOST_NAMED else "")
    return (
        f"{len(lost_ids)} of {total} members will never have a result: {named}. Their submitter died before it sent "
        "them, or their results were forgotten or have expired; submit the chord again"
    )
