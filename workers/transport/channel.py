"""The transport and its channel, as kombu uses them; the other modules of this package do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError
from kombu.asynchronous import set_event_loop
from kombu.transport import virtual

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.lean import requests_of
from jobclaim.workers.transport import batches
from jobclaim.workers.transport.client import sqs_client
from jobclaim.workers.transport.http import MARGIN_SECONDS, Answer, PatientClient, PollConnection
from jobclaim.workers.transport.inspect import Poison, bounded, build_message, read_envelope
from jobclaim.workers.transport.plan import KEPT_RECEIVES, Policy, Poll, Unserved
from jobclaim.workers.transport.poisoned import Poisoned, leave
from jobclaim.workers.transport.poller import Poller
from jobclaim.workers.transport.queues import QueueChannel, received

log = get_logger("jobclaim.transport")


class Channel(QueueChannel):
    """A channel whose polls share the worker's processes, and whose deletes do not block the event loop.

    Attributes
    ----------
    on_poison : callable
        Called with each message that cannot be run; the default leaves it to SQS's redrive policy.
    """

    do_restore = False  # unstarted messages are released when the consumer stops, long before kombu would

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.on_poison: Callable[[Poisoned], None] = leave
        self._queue_callbacks: dict[str, Callable[[Any], None]] = {}
        self._pollers: list[Poller] = []
        self._web: PatientClient | None = None
        self._connection_for_polls: PollConnection | None = None
        self._timer: Any = None
        super().__init__(*args, **kwargs)
        known = self.settings
        self.deletes = batches.Batcher("deleting messages", batches.delete(partial(sqs_client, known)))
        self.returns = batches.Batcher("releasing messages", batches.release(partial(sqs_client, known)))
        # hides messages of a paused queue until other workers' polls in progress end, which would get them one by one
        polls_end = known.wait_time_seconds + MARGIN_SECONDS
        self.postponed = batches.Batcher("postponing messages", batches.release(partial(sqs_client, known), polls_end))

    # --- polling
    @property
    def poller(self) -> Poller:
        """The polls of this channel, created on first use: most channels only send."""
        if not self._pollers:
            known = self.settings
            policy = Policy(known.wait_time_seconds, known.polling_interval_seconds, known.strict_priority)
            self._pollers.append(Poller(policy, self._ask, self._deliver))
            self._pollers[0].release = self._release_unserved
            self._web = PatientClient(self.hub, known.wait_time_seconds + MARGIN_SECONDS)
            self._connection_for_polls = PollConnection(requests_of(self.sqs()), self._web)
            self.hub.on_tick.add(self._tick)
            # the loop must run at least this often, because some requests become due by time alone
            self._timer = self.hub.call_repeatedly(known.polling_interval_seconds, lambda: None)
        return self._pollers[0]

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], None], consumer_tag: str, **kwargs: Any
    ) -> Any:
        """Consume from a queue; its polls start with the event loop."""
        self._queue_callbacks[queue] = callback
        if no_ack:
            self._noack_queues.add(queue)
        if self.hub:
            self.hub.call_soon(self._schedule_queue, queue)
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop polling the consumer's queue; messages of a poll in progress are released."""
        queue = self._tag_to_queue.get(consumer_tag, "")
        self._queue_callbacks.pop(queue, None)
        self._noack_queues.discard(queue)
        for poller in self._pollers:
            poller.remove(queue)
        return super().basic_cancel(consumer_tag)

    def _schedule_queue(self, queue: str) -> None:
        """Start polling a queue, if it still has a consumer."""
        if queue in self._queue_callbacks:
            known = self.settings.queue(queue) if queue in self.settings.queue_names else None
            if known is None:
                self.poller.add(queue, 0, releasable=False)
            else:
                self.poller.add(queue, known.priority, releasable=known.max_receive_count > KEPT_RECEIVES)

    def _tick(self) -> None:
        """Make due requests; the event loop calls this in each round, after the timers and before it waits."""
        poller, web = self._pollers[0], self._web
        asked = poller.asked
        poller.tick()
        if web is not None and poller.asked > asked:
            web.send_now()

    def _ask(self, poll: Poll, done: Callable[[Answer], None]) -> None:
        assert self._connection_for_polls is not None
        self._connection_for_polls.poll(self._new_queue(poll.queue), poll.count, poll.wait, done)

    # --- the messages of a poll
    def _deliver(self, queue: str, messages: list[dict[str, Any]]) -> None:
        url, callback = self._queue_cache[queue] if self.connection else "", self._queue_callbacks.get(queue)
        if callback is None or self._is_leaving():
            self._release_all((url, message.get("ReceiptHandle", "")) for message in messages)
            return
        if self.poller.is_paused(queue):
            for message in messages:
                self.postponed.put(url, message.get("ReceiptHandle", ""))
            return
        for message in messages:
            self._deliver_one(queue, url, message, callback)

    def _release_unserved(self, queue: str, message: dict[str, Any], fate: Unserved) -> None:
        """Release a message that a spare poll brought while no process was free."""
        if self.connection:
            later = fate is Unserved.POSTPONE and not self._is_leaving()
            (self.postponed if later else self.returns).put(self._queue_cache[queue], message.get("ReceiptHandle", ""))

    def _is_leaving(self) -> bool:
        return self._web is not None and self._web.leaving

    def _deliver_one(self, queue: str, url: str, raw: dict[str, Any], callback: Callable[[Any], None]) -> None:
        receipt = raw["ReceiptHandle"]
        headers: dict[str, Any] = {}
        try:
            envelope = read_envelope(raw.get("Body"))
            headers = envelope.get("headers") or {}
            envelope = bounded(envelope)
            payload = received(envelope, raw, url)
            message = build_message(lambda: self.Message(payload, channel=self))
            message.delivery_info["routing_key"] = queue  # the queue that it came from, whatever its headers name
        except Poison as poison:
            self.on_poison(Poisoned(queue, url, receipt, raw.get("Body") or "", str(poison), headers))
        else:
            self._hand_over(queue, url, message, callback)

    def _hand_over(self, queue: str, url: str, message: Any, callback: Callable[[Any], None]) -> None:
        self.qos.append(message, message.delivery_tag)
        try:
            callback(message)
        except Exception:  # a worker must survive every message; SQS counts the deliveries and moves it away
            log.exception("message.intake_failed", queue=queue)
            self.qos.ack(message.delivery_tag)
            self._release_all([(url, message.delivery_tag)])

    def poisoned(self, message: Any, reason: str, *, unregistered: bool = False) -> None:
        """Remove a delivered message from the worker, because it cannot be run for this reason."""
        info = message.delivery_info
        queue = next((name for name, url in self._queue_cache.items() if url == info["sqs_queue"]), "")
        self.qos.ack(message.delivery_tag)
        message._state = "ACK"
        body = info["sqs_message"].get("Body") or ""
        self.on_poison(
            Poisoned(queue, info["sqs_queue"], message.delivery_tag, body, reason, message.headers, unregistered)
        )

    # --- the end of a delivery
    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Delete a message soon, in a batch."""
        url = self._url_of(delivery_tag)
        if url is not None:
            self.deletes.put(url, delivery_tag)
        virtual.Channel.basic_ack(self, delivery_tag, multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Release a message at once, or keep it as a dead letter."""
        url = self._url_of(delivery_tag)
        if url is not None and requeue:
            self.release(delivery_tag)
        elif url is not None:
            self.poisoned(self.qos.get(delivery_tag), "the task rejected its message")

    def release(self, delivery_tag: str) -> None:
        """Release a message that was not started here: it is visible to every worker at once."""
        url = self._url_of(delivery_tag)
        if url is not None:
            self.qos.ack(delivery_tag)
            self.returns.put(url, delivery_tag)

    def _restore(self, message: Any) -> None:
        self.returns.put(message.delivery_info["sqs_queue"], message.delivery_tag)

    def leave(self, delivery_tag: str) -> None:
        """Neither delete nor release a message: SQS redelivers it when its visibility timeout ends."""
        self.qos.ack(delivery_tag)

    def unstarted(self) -> int:
        """Count the messages here that are not deleted: no process has started them, or they have no job yet."""
        return len(self.qos._delivered) - len(self.qos._dirty)

    def _url_of(self, delivery_tag: str) -> str | None:
        """Return the queue URL of a delivery that is still open here."""
        message = self.qos._delivered.get(delivery_tag)
        if message is None or delivery_tag in self.qos._dirty:
            return None
        return message.delivery_info.get("sqs_queue")  # type: ignore[no-any-return]

    def _release_all(self, messages: Iterable[tuple[str, str]]) -> None:
        for url, receipt in messages:
            self.returns.put(url, receipt)

    # --- the end of the channel
    def retire(self) -> int:
        """Stop polling and release every message that is not deleted; return their number."""
        for poller in self._pollers:
            poller.paused = lambda: True
        self.qos._flush()
        unstarted = list(self.qos._delivered)
        for tag in unstarted:
            self.release(tag)
        if self._web is not None:
            self._web.retire()
        return len(unstarted)

    def abandon_polls(self) -> None:
        """Do not wait for polls in progress; for a cold shutdown."""
        if self._web is not None:
            self._web.abandon_polls()

    def close(self) -> None:
        """Close, after the last deletes were sent."""
        if not self.closed:
            if self._pollers:
                self.hub.on_tick.discard(self._tick)
                self._timer.cancel()
            super().close()
            self.returns.close()
            self.postponed.close()
            self.deletes.close()


class Transport(virtual.Transport):
    """SQS transport of jobclaim's apps; it has the attributes of kombu's."""

    Channel = Channel
    connection_errors = (*virtual.Transport.connection_errors, BotoCoreError, OSError)
    channel_errors = (*virtual.Transport.channel_errors, BotoCoreError)
    driver_type = driver_name = "sqs"
    polling_interval, wait_time_seconds = 1, 0
    implements = virtual.Transport.implements.extend(asynchronous=True, exchange_type=frozenset(["direct"]))

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """The parameters that a connection has if its URL names no others."""
        return {"port": self.default_port}

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Register the channels with the loop. After a reconnect, kombu's transport would have none, and never poll
        again.
        """
        set_event_loop(loop)
        for channel in [*self.channels, *self._avail_channels]:
            channel.hub = loop
        super().register_with_event_loop(connection, loop)
