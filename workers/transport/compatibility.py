"""A guard at start: the insides of Celery and kombu that jobclaim stands on are still what they were.

A worker that starts on other insides would look healthy and lose messages, so it does not start.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

from celery.exceptions import ImproperlyConfigured
from kombu.utils.imports import symbol_by_name

SUPPORTED: Final = {"celery": "5.7", "kombu": "5.7"}
"""Release series that the transport was written and tested on."""

CALLED: Final = {
    "kombu.transport.SQS:Channel.basic_consume": "self, queue, no_ack, callback, consumer_tag, *args, **kwargs",
    "kombu.transport.SQS:Channel.basic_cancel": "self, consumer_tag",
    "kombu.transport.SQS:Channel.basic_ack": "self, delivery_tag, multiple=False",
    "kombu.transport.SQS:Channel.basic_reject": "self, delivery_tag, requeue=False",
    "kombu.transport.SQS:Channel.close": "self",
    "kombu.transport.SQS:Channel.sqs": "self, queue=None",
    "kombu.transport.SQS:Channel._schedule_queue": "self, queue",
    "kombu.transport.SQS:Channel._new_queue": "self, queue, **kwargs",
    "kombu.transport.SQS:Channel._envelope_payload": "self, payload, raw_text, message, q_url",
    "kombu.transport.virtual:Channel.queue_declare": "self, queue=None, passive=False, **kwargs",
    "kombu.transport.virtual:Channel.basic_ack": "self, delivery_tag, multiple=False",
    "kombu.transport.virtual:QoS.append": "self, message, delivery_tag",
    "kombu.transport.virtual:QoS.ack": "self, delivery_tag",
    "kombu.transport.virtual:QoS._flush": "self",
    "kombu.transport.SQS:Transport.register_with_event_loop": "self, connection, loop",
    "kombu.asynchronous.aws.connection:AsyncHTTPSConnection.getrequest": "self",
    "kombu.asynchronous.aws.connection:AsyncConnection.get_http_connection": "self",
    "kombu.asynchronous.aws.sqs.connection:AsyncSQSConnection.receive_message": (
        "self, queue, queue_url, number_messages=1, visibility_timeout=None, attributes=None, wait_time_seconds=None, "
        "callback=None"
    ),
    "kombu.asynchronous.aws.sqs.connection:AsyncSQSConnection._on_list_ready": (
        "self, parent, markers, operation, response"
    ),
    "kombu.asynchronous.http.curl:CurlClient.__init__": "self, hub: 'Hub | None' = None, max_clients: 'int' = 10",
    "kombu.asynchronous.http.curl:CurlClient.add_request": "self, request",
    "kombu.asynchronous.http.curl:CurlClient.close": "self",
    "kombu.asynchronous.http.curl:CurlClient._timeout_check": "self, _pycurl=",
    "kombu.asynchronous.http.curl:CurlClient._on_event": "self, fd, event, _pycurl=",
    "kombu.asynchronous.http.curl:CurlClient._pop_from_hub": "self",
    "kombu.asynchronous.http.curl:CurlClient._process": "self, curl, errno=None, reason=None, _pycurl=",
    "celery.worker.consumer:Consumer.on_unknown_message": "self, body, message",
    "celery.worker.consumer:Consumer.on_unknown_task": "self, body, message, exc",
    "celery.worker.consumer:Consumer.on_invalid_task": "self, body, message, exc",
    "celery.worker.consumer:Consumer.on_decode_error": "self, message, exc",
    "celery.concurrency.prefork:_run_ready_callbacks": "hub",
    "celery.worker.state:task_ready": (
        "request, successful=False, remove_request=, discard_active_request=, discard_reserved_request=, "
        "discard_scheduled_request="
    ),
}
"""What is called or overridden, with its parameters; ``=`` at an end leaves a default open that is no plain value."""


def differences(called: Mapping[str, str] = CALLED) -> list[str]:
    """List what is not as it was, a sentence each; empty when all is well."""
    wrong = [name for name, series in SUPPORTED.items() if not _is_in(name, series)]
    found = [f"{name} is {version(name)}, not {SUPPORTED[name]}.x" for name in wrong]
    for path, expected in called.items():
        actual = _parameters(path)
        if actual != expected:
            found.append(f"{path} takes ({actual}), not ({expected})" if actual is not None else f"{path} is gone")
    if find_spec("pycurl") is None:
        found.append("pycurl is not installed; install celery[sqs]")
    return found


def ensure_supported() -> None:
    """Refuse to go on where `differences` finds any.

    Raises
    ------
    celery.exceptions.ImproperlyConfigured
    """
    found = differences()
    if found:
        versions = " and ".join(f"{name} {series}.x" for name, series in SUPPORTED.items())
        raise ImproperlyConfigured(
            f"this jobclaim supports {versions}; here {'; '.join(found)}. Install supported versions, or a jobclaim "
            "that knows these"
        )


def _is_in(name: str, series: str) -> bool:
    return f"{version(name)}.".startswith(f"{series}.")


def _parameters(path: str) -> str | None:
    module, _, attribute = path.partition(":")
    try:
        found: Any = symbol_by_name(f"{module}:{attribute.split('.')[0]}")
        for part in attribute.split(".")[1:]:
            found = getattr(found, part)
        parameters = inspect.signature(found).parameters.values()
    except (ImportError, AttributeError, ValueError):
        return None
    return ", ".join(_show(parameter) for parameter in parameters)


def _show(parameter: inspect.Parameter) -> str:
    plain = parameter.default is inspect.Parameter.empty or isinstance(parameter.default, int | str | None)
    return str(parameter if plain else f"{parameter.name}=")
