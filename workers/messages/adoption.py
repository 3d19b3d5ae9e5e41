"""Exceptions with which a child reports to its main process that a message did not become a job, or a claim had no
answer.

Until the job of a plain Celery message is written, the message is the only record of its work. So the main process
deletes it only when the child has answered, and not at all if the child is lost: a redelivered copy finds the job, and
its claim is refused.
"""

from __future__ import annotations

from celery.exceptions import Ignore, Reject


class NotAdopted(Reject):
    """No job was made yet: the message is redelivered.

    With ``requeue`` it is redelivered at once, to other workers; otherwise when its visibility timeout ends. After
    ``max_receive_count`` deliveries SQS's redrive policy moves it to the dead-letter queue.
    """


class Unadoptable(NotAdopted):
    """The message can never become a job: it is moved to the dead-letter queue, with the reason."""


class Misaddressed(Unadoptable):
    """The message names a job of another task, which is left alone: it is moved to the dead-letter queue, with the
    reason.
    """


class Unanswered(Ignore):
    """The claim had no answer, or was not requested: the body has not begun, but DynamoDB may hold the claim."""
