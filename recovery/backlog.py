"""Count the messages that wait in a queue, to tell a lost message from one that is not reached yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobclaim.jobs.storage.connect import PerProcess
from jobclaim.jobs.storage.lean import client_of
from jobclaim.settings import Settings


class SqsBacklog:
    """Messages that wait in the SQS queue of a logical queue; those in flight or delayed are not counted.

    Parameters
    ----------
    sqs : optional
        A boto3 SQS client; default: made from settings on first use, once per process.
    """

    def __init__(self, settings: Settings, sqs: Any = None) -> None:
        self._settings = settings
        own = PerProcess(lambda: client_of(settings, "sqs"))
        self._client: Callable[[], Any] = (lambda: sqs) if sqs is not None else own.get
        self._urls = dict(settings.queue_urls)

    def __call__(self, queue: str) -> int:
        """Ask SQS, in one request; the first call makes two.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError
            SQS refused or did not answer.
        """
        sqs = self._client()
        if queue not in self._urls:
            self._urls[queue] = sqs.get_queue_url(QueueName=self._settings.physical_name(queue))["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=self._urls[queue], AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])
