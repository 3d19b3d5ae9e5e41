"""The fault proxy does to requests what its faults say: what chaos shows rests on it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jobclaim.verify.faults import MESSAGE_REPLAYED
from tests.support.faults import MESSAGE_COPIED, MESSAGE_LOST, RESET, RESPONSE_LOST, Fault, FaultyProxy, error

QUEUE = "http://queues/default"


class Upstream(ThreadingHTTPServer):
    """Answers each request with its number, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        """Take the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(json.loads(body))
        answer = str(len(self.server.seen)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultyProxy]:
    made = FaultyProxy(f"http://127.0.0.1:{upstream.server_address[1]}")
    made.discard_url = "http://queues/discarded"
    made.start()
    yield made
    made.stop()


def ask(proxy: FaultyProxy, operation: str, **request: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        body = json.dumps({"QueueUrl": QUEUE, **request})
        connection.request("POST", "/", body, {"X-Amz-Target": f"AmazonSQS.{operation}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def meets(proxy: FaultyProxy, fault: Fault) -> None:
    proxy.choose_fault = lambda operation: fault


def test_fair_weather_changes_nothing(proxy: FaultyProxy, upstream: Upstream) -> None:
    assert ask(proxy, "SendMessage", MessageBody="a") == (200, b"1")
    assert upstream.seen == [{"QueueUrl": QUEUE, "MessageBody": "a"}]
    assert (proxy.requests, proxy.failed) == ({"SendMessage": 1}, {})


def test_a_lost_answer_leaves_its_effect(proxy: FaultyProxy, upstream: Upstream) -> None:
    meets(proxy, RESPONSE_LOST)
    with pytest.raises(ConnectionError):
        ask(proxy, "SendMessage", MessageBody="a")
    assert len(upstream.seen) == 1
    assert proxy.failed == {"response lost": 1}


@pytest.mark.parametrize("fault", [RESET, error(503)])
def test_a_refused_request_leaves_none(proxy: FaultyProxy, upstream: Upstream, fault: Fault) -> None:
    meets(proxy, fault)
    if fault.status:
        assert ask(proxy, "SendMessage")[0] == 503
    else:
        with pytest.raises(ConnectionError):
            ask(proxy, "SendMessage")
    assert upstream.seen == []


def test_a_copied_message_arrives_twice_and_is_answered_once(proxy: FaultyProxy, upstream: Upstream) -> None:
    meets(proxy, MESSAGE_COPIED)
    assert ask(proxy, "SendMessage", MessageBody="a") == (200, b"2")
    copy, original = upstream.seen
    assert original == {"QueueUrl": QUEUE, "MessageBody": "a"}
    assert 0 <= copy.pop("DelaySeconds") <= MESSAGE_COPIED.copied_within
    assert copy == original


def test_each_message_of_a_batch_is_copied(proxy: FaultyProxy, upstream: Upstream) -> None:
    meets(proxy, MESSAGE_COPIED)
    ask(proxy, "SendMessageBatch", Entries=[{"Id": "1", "DelaySeconds": 900}, {"Id": "2"}])
    copy, original = upstream.seen
    assert original["Entries"] == [{"Id": "1", "DelaySeconds": 900}, {"Id": "2"}]
    assert [entry["Id"] for entry in copy["Entries"]] == ["1", "2"]
    assert copy["Entries"][0]["DelaySeconds"] == 900


def test_a_message_gone_astray_is_answered_and_never_arrives(proxy: FaultyProxy, upstream: Upstream) -> None:
    meets(proxy, MESSAGE_LOST)
    assert ask(proxy, "SendMessage", MessageBody="a") == (200, b"1")
    assert upstream.seen == [{"QueueUrl": "http://queues/discarded", "MessageBody": "a"}]


@pytest.mark.parametrize("fault", [MESSAGE_COPIED, MESSAGE_LOST])
def test_only_sends_are_copied_or_lost(proxy: FaultyProxy, upstream: Upstream, fault: Fault) -> None:
    meets(proxy, fault)
    ask(proxy, "ReceiveMessage", MaxNumberOfMessages=1)
    assert upstream.seen == [{"QueueUrl": QUEUE, "MaxNumberOfMessages": 1}]


def test_a_message_is_sent_again_only_after_it_may_have_arrived(proxy: FaultyProxy, upstream: Upstream) -> None:
    meets(proxy, MESSAGE_REPLAYED)
    ask(proxy, "SendMessage", MessageBody="next week", DelaySeconds=900)
    assert [request["MessageBody"] for request in upstream.seen] == ["next week"]
    ask(proxy, "SendMessage", MessageBody="now")
    assert [request["MessageBody"] for request in upstream.seen] == ["next week", "now", "now"]
    assert proxy.failed == {"old message replayed": 1}


def test_while_it_refuses_connections_nobody_else_gets_its_port(proxy: FaultyProxy) -> None:
    proxy.refuse()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", proxy.port))
        with pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.1", proxy.port))
    proxy.accept()
    socket.create_connection(("127.0.0.1", proxy.port), 10).close()
