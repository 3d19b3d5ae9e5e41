"""WSGI app of the embedded AWS: moto's DynamoDB and SQS, with two faults fixed that would break a job framework.

moto's backends are plain Python objects without locks. Two of its threads can both find a condition true and both write
(so two workers claim one job), and its queues fail with "Set changed size during iteration". Here each service is a
monitor: one request at a time.

moto also serves a long poll for a client that has disconnected: the message goes to a closed socket and stays invisible
for the whole visibility timeout, so a killed worker takes the next message with it. Here a long poll is a series of
short ones that ends when its client disconnects. Waiting releases the lock.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import run_wsgi_app

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]

MAX_WAIT_SECONDS: Final = 20
"""SQS refuses a longer long poll, and so does moto when it receives the number."""
POLL_SECONDS: Final = 0.5
"""Longest time until a waiting consumer polls again; covers delays and visibility timeouts that ended."""
_BRINGS_MESSAGES: Final = frozenset(
    {"SendMessage", "SendMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch"}
)


class LocalApp:
    """WSGI application.

    Parameters
    ----------
    account : str
        AWS account of all requests; separates two servers in one process.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._dynamodb = create_backend_app("dynamodb")
        self._dynamodb_lock = threading.Lock()
        self._sqs = create_backend_app("sqs")
        self._sqs_lock = threading.Lock()
        self._arrivals: dict[str, threading.Condition] = {}
        self._others = DomainDispatcherApplication(create_backend_app)
        self._stopping = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if service.startswith("DynamoDB_"):
            with self._dynamodb_lock:
                return list(self._dynamodb(environ, start_response))
        if service != "AmazonSQS":
            return list(self._others(environ, start_response))
        if operation == "ReceiveMessage":
            return self._receive(environ, start_response)
        with self._sqs_lock:
            answer = list(self._sqs(environ, start_response))
            if operation in _BRINGS_MESSAGES:
                self._arrived(_queue_of(_request(environ))).notify_all()
        return answer

    def wake_all(self) -> None:
        """End all waiting polls with an empty response."""
        with self._sqs_lock:
            self._stopping = True
            for condition in self._arrivals.values():
                condition.notify_all()

    def forget(self) -> None:
        """Delete all tables, queues and messages."""
        for service in ("dynamodb", "sqs"):
            get_backend(service).pop(self._account, None)

    def _receive(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Try to receive; if there is nothing and time is left, wait for a message and try again."""
        request = _request(environ)
        with self._sqs_lock:
            deadline = time.monotonic() + self._wait_seconds(environ, request)
            arrived = self._arrived(_queue_of(request))
            if deadline > time.monotonic():
                request["WaitTimeSeconds"] = 0
            while True:
                _end_with_client(environ)
                chunks, status, headers = _ask(self._sqs, environ, request)
                left = deadline - time.monotonic()
                if left <= 0 or self._stopping or not status.startswith("200") or json.loads(chunks).get("Messages"):
                    start_response(status, headers)
                    return [chunks]
                arrived.wait(min(left, POLL_SECONDS))

    def _wait_seconds(self, environ: Environ, request: dict[str, Any]) -> float:
        """Return how long to wait, seconds: the request's wait time, else the queue's."""
        requested = request.get("WaitTimeSeconds")
        if requested is not None:
            return float(requested) if requested in range(MAX_WAIT_SECONDS + 1) else 0.0
        name = "ReceiveMessageWaitTimeSeconds"
        question = {"QueueUrl": request.get("QueueUrl"), "AttributeNames": [name]}
        body, status, _ = _ask(self._sqs, {**environ, "HTTP_X_AMZ_TARGET": "AmazonSQS.GetQueueAttributes"}, question)
        return float(json.loads(body).get("Attributes", {}).get(name, 0)) if status.startswith("200") else 0.0

    def _arrived(self, queue: str) -> threading.Condition:
        return self._arrivals.setdefault(queue, threading.Condition(self._sqs_lock))


def _request(environ: Environ) -> dict[str, Any]:
    body = environ["wsgi.input"].getvalue()
    parsed = json.loads(body or b"{}")
    return parsed if isinstance(parsed, dict) else {}


def _queue_of(request: dict[str, Any]) -> str:
    return str(request.get("QueueUrl", "")).rsplit("/", 1)[-1]


def _ask(app: Any, environ: Environ, request: dict[str, Any]) -> tuple[bytes, str, list[tuple[str, str]]]:
    body = json.dumps(request).encode()
    request_environ = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    chunks, status, headers = run_wsgi_app(app, request_environ, buffered=True)
    return b"".join(chunks), status, list(headers)


def _end_with_client(environ: Environ) -> None:
    """Raise when the client has closed its connection: a message received for it would stay invisible."""
    connection: socket.socket = environ["werkzeug.socket"]
    try:
        alive = connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        alive = True
    except OSError:
        alive = False
    if not alive:
        raise ConnectionAbortedError("the client of a long poll has disconnected")
