"""kombu's SQS transport, mended: a worker outlives SQS's errors, hoards nothing, and gives back what it did not start.

kombu 5.7's own dies on one failed ReceiveMessage, polls each queue without regard to the others, deletes messages one
at a time in the worker's event loop and loses what a poll brings during a stop. Here, by subclassing:

- `plan` decides what is asked of which queue, as a pure function; `poller` keeps those requests going;
- `http` makes them: each one ends, and each end is an answer; `outage` says once that SQS fails, and waits;
- `batches` deletes and gives back messages ten at a time, from threads;
- `channel` ties it together behind kombu's interface;
- `compatibility` refuses a kombu or Celery whose insides are not those that this stands on.
"""

from jobclaim.workers.transport.channel import Channel, Transport

__all__ = ["Channel", "Transport"]
