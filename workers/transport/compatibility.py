"""A check at start that the internals of Celery and kombu on which jobclaim relies are unchanged.

A worker that starts on other internals would look healthy and lose messages, so it does not start. Differences between
the supported releases are not listed here: the code handles each, with a comment at each place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

from celery.exceptions import ImproperlyConfigured
from kombu.utils.imports import symbol_by_name

SUPPORTED: Final = {"celery": ("5.6", "5.7"), "kombu": ("5.6", "5.7")}
"""Release series that jobclaim was written and tested on."""

CALLED: Final = {
    "kombu.transport.virtual:Channel.basic_consume": "self, queue, no_ack, callback, consumer_tag, **kwargs",
    "kombu.transport.virtual:Channel.basic_cancel": "self, consumer_tag",
    "kombu.transport.virtual:Channel.basic_ack": "self, delivery_tag, multiple=False",
    "kombu.transport.virtual:Channel.basic_reject": "self, delivery_tag, requeue=False",
    "kombu.transport.virtual:Channel.close": "self",
    "kombu.transport.virtual:Channel.queue_declare": "self, queue=None, passive=False, **kwargs",
    "kombu.transport.virtual:Channel._new_queue": "self, queue, **kwargs",
    "kombu.transport.virtual:Channel._delete": "self, queue, *args, **kwargs",
    "kombu.transport.virtual:Channel._put": "self, queue, message",
    "kombu.transport.virtual:Channel._get": "self, queue, timeout=None",
    "kombu.transport.virtual:Channel._size": "self, queue",
    "kombu.transport.virtual:Channel._purge": "self, queue",
    "kombu.transport.virtual:Channel._restore": "self, message",
    "kombu.transport.virtual:QoS.append": "self, message, delivery_tag",
    "kombu.transport.virtual:QoS.ack": "self, delivery_tag",
    "kombu.transport.virtual:QoS.get": "self, delivery_tag",
    "kombu.transport.virtual:QoS._flush": "self",
    "kombu.transport.virtual:Transport.register_with_event_loop": "self, connection, loop",
    "kombu.asynchronous:set_event_loop": "loop: 'Hub | None'",
    "kombu.asynchronous.hub:Hub._pop_ready": "self",
    "kombu.asynchronous.hub:Hub.call_soon": "self, callback, *args",
    "kombu.asynchronous.hub:Hub.call_repeatedly": "self, delay, callback, *args",
    "kombu.asynchronous.http.base:Request.__init__": "self, url, method='GET', on_ready=None, ...",
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
    "celery.worker.consumer:Consumer.on_close": "self",
    "celery.worker.consumer:Consumer.apply_eta_task": "self, task",
    "celery.worker.consumer:Consumer._limit_post_eta": "self, request, bucket, tokens",
    "celery.worker.request:Request.revoked": "self",
    "celery.worker.request:Request.acknowledge": "self",
    "celery.worker.request:Request.reject": "self, requeue=False",
    "celery.worker.request:Request.on_accepted": "self, pid, time_accepted",
    "celery.worker.request:Request.on_timeout": "self, soft, timeout",
    "celery.worker.request:Request.on_success": "self, failed__retval__runtime, **kwargs",
    "celery.worker.request:Request.on_failure": "self, exc_info, send_failed_event=True, return_ok=False",
    "celery.worker.request:Request.on_retry": "self, exc_info",
    "celery.worker.request:Request.cancel": "self, pool, signal=None, emit_retry=True",
    "celery.worker.request:Request.terminate": "self, pool, signal=None",
    "celery.worker.state:task_ready": "request, successful=False, ...",
    "celery.concurrency.asynpool:ResultHandler._recv_message": "self, add_reader, fd, callback, ...",
    "celery.concurrency.asynpool:AsynPool.register_with_event_loop": "self, hub",
    "celery.concurrency.prefork:TaskPool.terminate_job": "self, pid, signal=None",
    "celery.backends.base:BaseBackend.mark_as_done": (
        "self, task_id, result, request=None, store_result=True, state='SUCCESS'"
    ),
    "celery.backends.base:BaseBackend.mark_as_failure": (
        "self, task_id, exc, traceback=None, request=None, store_result=True, call_errbacks=True, state='FAILURE'"
    ),
    "celery.backends.base:BaseBackend.mark_as_revoked": (
        "self, task_id, reason='', request=None, store_result=True, state='REVOKED'"
    ),
    "celery.backends.base:BaseBackend._get_result_meta": (
        "self, result, state, traceback, request, format_date=True, encode=False"
    ),
    "celery.backends.base:BaseBackend.on_chord_part_return": "self, request, state, result, **kwargs",
    "celery.app.trace:TraceInfo.handle_error_state": "self, task, req, eager=False, call_errbacks=True",
    "celery.app.trace:trace_ok_t": "retval, info, runtime, retstr",
    "celery.beat:Scheduler.apply_async": "self, entry, producer=None, advance=True, **kwargs",
    "celery.utils.dispatch:Signal._live_receivers": "self, sender",
    "billiard.pool:Pool._join_exited_workers": "self, shutdown=False",
    "billiard.pool:TimeoutHandler.on_hard_timeout": "self, job",
    "billiard.pool:soft_timeout_sighandler": "signum, frame",
}
"""Functions that are called or overridden, with their parameters; a trailing ``=`` allows any default, ``...`` allows
any further parameters.
"""

READ: Final = {
    "kombu.transport.virtual:Channel": ("_tag_to_queue", "_active_queues", "closed", "do_restore", "Message"),
    "kombu.transport.virtual:QoS": ("_delivered", "_dirty"),
    "kombu.transport.virtual:Transport": ("channels", "_avail_channels", "_callbacks", "polling_interval"),
    "kombu.message:Message": ("_state", "delivery_info", "ack_log_error", "reject_log_error"),
    "kombu.asynchronous.hub:Hub": ("on_tick", "on_close", "timer", "readers", "consolidate_callback"),
    "kombu.asynchronous.semaphore:LaxBoundedSemaphore": ("_waiting",),
    "kombu.asynchronous.timer:Timer": ("_queue",),
    "kombu.asynchronous.http.curl:CurlClient": (
        "_curls",
        "_free_list",
        "_pending",
        "_multi",
        "_timeout_check_tref",
    ),
    "vine:promise": ("fun",),
    "celery.worker.consumer:Consumer": ("controller", "pool", "hub", "timer", "app"),
    "celery.worker.request:Request": ("_request_dict", "_context", "acknowledged", "message"),
    "celery.concurrency.asynpool": ("SCHED_STRATEGY_FAIR",),
    "celery.concurrency.asynpool:AsynPool": (
        "sched_strategy",
        "outbound_buffer",
        "write_stats",
        "_all_inqueues",
        "_busy_workers",
        "_active_writes",
        "_fileno_to_inq",
    ),
    "billiard.pool:ApplyResult": ("_accepted", "_accept_callback", "_write_to"),
    "billiard.common": ("_should_have_exited",),
    "billiard.process:BaseProcess": ("_parent_pid",),
    "celery.worker.state": ("active_requests", "reserved_requests"),
}
"""Attributes that are read or set, by the class that has them or whose constructor sets them, or by their module."""


def differences(called: Mapping[str, str] = CALLED, read: Mapping[str, Sequence[str]] = READ) -> list[str]:
    """List the differences, a sentence each; empty if there are none."""
    wrong = [name for name, series in SUPPORTED.items() if not any(_is_in(name, one) for one in series)]
    found = [f"{name} is {version(name)}, not {_any_of(SUPPORTED[name])}" for name in wrong]
    for path, expected in called.items():
        actual = _parameters(path)
        if actual is None:
            found.append(f"{path} is gone")
        elif not _fits(actual, expected):
            found.append(f"{path} takes ({actual}), not ({expected})")
    found += [f"{path} has no {name}" for path, names in read.items() for name in _missing(path, names)]
    if find_spec("pycurl") is None:
        found.append("pycurl is not installed; install celery[sqs]")
    return found


def ensure_supported() -> None:
    """Raise if `differences` finds any.

    Raises
    ------
    celery.exceptions.ImproperlyConfigured
    """
    found = differences()
    if found:
        versions = " and ".join(f"{name} {_any_of(series)}" for name, series in SUPPORTED.items())
        raise ImproperlyConfigured(
            f"this jobclaim supports {versions}; here {'; '.join(found)}. Install supported versions, or a release "
            "of jobclaim that supports these"
        )


def _is_in(name: str, series: str) -> bool:
    return f"{version(name)}.".startswith(f"{series}.")


def _any_of(series: Iterable[str]) -> str:
    return " or ".join(f"{one}.x" for one in series)


def _fits(actual: str, expected: str) -> bool:
    known, _, left_open = expected.partition("...")
    return actual == expected or (expected.endswith("...") and not left_open and actual.startswith(known))


def _missing(path: str, names: Sequence[str]) -> list[str]:
    """List the names that the class or module does not have and that no constructor of the class sets."""
    module, _, attribute = path.partition(":")
    try:
        owner: Any = symbol_by_name(path) if attribute else import_module(module)
    except (ImportError, AttributeError):
        return list(names)
    found_names: set[str] = set()
    for base in getattr(owner, "__mro__", ()):
        code = getattr(vars(base).get("__init__"), "__code__", None)
        found_names.update(code.co_names if code is not None else ())
    return [name for name in names if name not in found_names and not hasattr(owner, name)]


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
