"""Exceptions by which a child tells its main process that a message did not become a job, or a claim had no answer.

Until the job of a plain Celery message is written, the message is the only record of its work. So the main process
deletes it only when the child has answered, and not at all if the child is lost: a redelivered copy finds the job, and
its claim is refused.
"""

from __future__ import annotations

from celery.exceptions import Ignore, Reject


class NotAdopted(Reject):
    """No job was made, and there may be none: the message is redelivered.

    With ``requeue`` at once, for other workers; else when its visibility timeout ends, and SQS's redrive policy ends it
    after ``max_receive_count`` times.
    """


class Unadoptable(NotAdopted):
    """The message can never become a job: it is moved to the dead-letter queue, with the reason."""


class Misaddressed(Unadoptable):
    """The message names a job of another task, which is left alone: it is moved to the dead-letter queue, with the
    reason.
    """


class Unanswered(Ignore):
    """The claim had no answer: the body has not begun, but DynamoDB may hold the claim."""
