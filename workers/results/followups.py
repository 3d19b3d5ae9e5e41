"""Fail follow-ups of a task that cannot be submitted: their own results fail, and their error callbacks are called.

::

    a job's body has succeeded ──▶ callbacks, next step ──refused for good──▶ FAILURE under the follow-up's own id,
    a chord's members have     ──▶ body                                      its error callbacks, the rest of its
                                                                             chain and its chord are notified

The previous step has succeeded and stays so. A temporary error (no answer from DynamoDB) is not a refusal: it is
retried as long as the claim holds. A caller's own submission, in a body or anywhere else, raises as usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery
from celery.app.task import Context
from celery.canvas import _chain, _chord, group, maybe_signature
from kombu.exceptions import OperationalError

from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.workers.messages.links import CHORD_TASK, FIELDS, as_list

log = get_logger("jobclaim.chords")

PASSING: Final = (StoreUnavailable, OSError, OperationalError, BotoCoreError, ClientError)
"""Errors of a submission that may not recur if it is repeated."""
_NAMES: Final = {**FIELDS, "task_id": "id"}

_refused: ContextVar[list[BaseException] | None] = ContextVar("refused", default=None)


@contextmanager
def submitting() -> Iterator[list[BaseException]]:
    """Make jobs that are permanently refused in this block fail under their own ids; return the list of their
    errors.
    """
    errors: list[BaseException] = []
    token = _refused.set(errors)
    try:
        yield errors
    finally:
        _refused.reset(token)


def take(app: Celery, task: str, task_id: str | None, options: Mapping[str, Any], error: BaseException) -> bool:
    """Fail a refused call if it is a follow-up; ``False`` if its caller is to get the error."""
    errors = _refused.get()
    if errors is None or not task_id or task == CHORD_TASK or isinstance(error, PASSING):
        return False
    errors.append(error)
    _fail_task(app, task, {**options, "task_id": task_id}, error)
    return True


def send(app: Celery, request: Any, result: Any) -> None:
    """Send the callbacks and the next step of a task that has succeeded; each refused one fails separately.

    Raises
    ------
    StoreUnavailable, kombu.exceptions.OperationalError, OSError
        It could not be sent while the claim held.
    """
    known = {"parent_id": request.id, "root_id": request.root_id or request.id}
    if app.conf.task_inherit_parent_priority:
        known["priority"] = (request.delivery_info or {}).get("priority")
    for callback in request.callbacks or ():
        _send_one(app, callback, result, known)
    if request.chain:
        _send_one(app, request.chain[-1], result, {**known, "chain": request.chain[:-1]})


def _send_one(app: Celery, given: Any, result: Any, options: Mapping[str, Any]) -> None:
    signature = maybe_signature(given, app=app)
    try:
        with submitting():
            publish = getattr(app.amqp, "_retry_publish", None)  # since Celery 5.7
            if publish is None:
                signature.apply_async((result,), **options)
            else:
                publish(signature.apply_async, (result,), **options)
    except PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - a task's own checks may raise anything
        fail(app, signature, error, chain=options.get("chain"))


def fail(app: Celery, given: Any, error: BaseException, *, chain: Any = None) -> None:
    """Fail a canvas that cannot be started: fail every result that a caller may wait for, and notify their links.

    Parameters
    ----------
    chain : list, optional
        Later steps, in the form of a request.
    """
    signature = maybe_signature(given, app=app)
    options = signature.options if chain is None else {**signature.options, "chain": chain}
    if isinstance(signature, group):
        errbacks = as_list(options.get("link_error"))
        for member in _members(signature):
            _with_errbacks(app, member, errbacks, error)
        app.backend._fail_chain(options.get("chain"), error)
    elif isinstance(signature, _chord):
        _fail_chord(app, signature, error, options)
    elif isinstance(signature, _chain):
        _fail_steps(app, signature, error, options)
    else:
        _fail_task(app, signature.task, options, error)


def _fail_chord(app: Celery, signature: Any, error: BaseException, options: Mapping[str, Any]) -> None:
    """Fail a chord whose header was not sent completely, through its own job, which fails the body."""
    header = signature.tasks if isinstance(signature.tasks, group) else group(signature.tasks, app=app)
    group_id = header.id or signature.options.get("task_id")
    for member in _members(header):
        for one in _ids(app, member):
            app.backend.store_result(one, error, "FAILURE")
            app.backend.on_chord_part_return(Context(id=one, group=group_id), "FAILURE", error)
    if group_id and app.backend.has_begun(group_id):
        return
    if signature.body is not None:
        _with_errbacks(app, signature.body, as_list(options.get("link_error")), error)
    app.backend._fail_chain(options.get("chain"), error)


def _fail_steps(app: Celery, signature: Any, error: BaseException, options: Mapping[str, Any]) -> None:
    steps = _members(signature)
    for number, step in enumerate(steps):
        _with_errbacks(app, step, [] if number else as_list(options.get("link_error")), error, only_result=number > 0)
    app.backend._fail_chain(options.get("chain"), error)


def _with_errbacks(
    app: Celery, given: Any, errbacks: list[Any], error: BaseException, *, only_result: bool = False
) -> None:
    signature = maybe_signature(given, app=app).clone()
    known = [] if only_result else as_list(signature.options.get("link_error"))
    signature.options["link_error"] = known + [one for one in errbacks if one not in known]
    fail(app, signature, error)


def _fail_task(app: Celery, task: str, options: Mapping[str, Any], error: BaseException) -> None:
    known = {_NAMES[name]: value for name, value in options.items() if name in _NAMES and value is not None}
    if "id" not in known:
        return  # no caller can wait for it
    known = {name: as_list(value) if name in ("callbacks", "errbacks") else value for name, value in known.items()}
    request = Context(**{"root_id": known["id"], **known}, task=task, delivery_info={})
    log.error("links.refused", job_id=request.id, task=task, error=type(error).__name__)
    app.backend.mark_as_failure(request.id, error, None, request)


def _ids(app: Celery, given: Any) -> Iterator[str]:
    signature = maybe_signature(given, app=app)
    if isinstance(signature, _chord):
        yield from _ids(app, signature.body) if signature.body is not None else ()
    elif isinstance(signature, (group, _chain)):
        for member in _members(signature):
            yield from _ids(app, member)
    elif one := signature.options.get("task_id"):
        yield one


def _members(signature: Any) -> list[Any]:
    """Return the members of a frozen group. Its tasks may be a group, which is a dict: iterating over it gives its
    keys.
    """
    tasks = signature.tasks
    return list(getattr(tasks, "tasks", tasks))
