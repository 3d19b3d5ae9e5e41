"""A transport for SQS: a worker survives SQS's errors, does not over-prefetch, and releases unstarted messages.

kombu 5.7's transport crashes on one failed ReceiveMessage, polls each queue regardless of the others, deletes messages
one at a time in the worker's event loop and loses messages that a poll returns during a stop. Here, by subclassing
kombu's virtual transport, on which its own for SQS is built too:

- `plan` decides, as a pure function, which queue is polled for how many messages; `poller` makes those requests;
- `http` sends them: each one ends, and each end is an answer; `outage` logs once that SQS fails, and waits;
- `batches` deletes and releases messages ten at a time, from threads;
- `queues` sends messages as kombu's own transport does, with the one `client` of a process;
- `channel` ties it together behind kombu's interface;
- `compatibility` refuses a kombu or Celery whose internals differ from those that this relies on.
"""

from jobclaim.workers.transport.channel import Channel, Transport

__all__ = ["Channel", "Transport"]
