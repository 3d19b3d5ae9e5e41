"""What a child tells its main process when a message became no job, or a job's claim had no answer.

Until the job of a message of plain Celery is written, the message is all that there is of its work. So the main process
deletes it when the child has answered, and not at all where the child is gone: a copy that comes back finds the job,
and its claim is refused.
"""

from __future__ import annotations

from celery.exceptions import Ignore, Reject


class NotAdopted(Reject):
    """No job was made, and none may be there: the message comes back.

    With ``requeue`` at once, for other workers; else when its visibility timeout ends, and SQS's redrive policy ends it
    after ``max_receive_count`` times.
    """


class Unadoptable(NotAdopted):
    """No job can ever be made of it: the message becomes a dead letter, with the reason."""


class Misaddressed(Unadoptable):
    """It names a job of another task, which is left alone: the message becomes a dead letter, with the reason."""


class Unanswered(Ignore):
    """The claim had no answer: the body has not begun, and DynamoDB may hold the claim all the same."""
