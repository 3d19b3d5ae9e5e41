"""What a child answers its worker's main process: any exception in a form that every process can read."""

from __future__ import annotations

import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TaskPredicate
from celery.utils.serialization import UnpickleableExceptionWrapper

from jobclaim.workers.attempt.answer import einfo_of, make_readable, readable, wrapped
from jobclaim.workers.attempt.closing import answering
from jobclaim.workers.attempt.returning import Snoozed


class Own(Exception):
    """An exception of a user, which the main process may not know."""

    def __str__(self) -> str:
        return "own words"


class OwnIgnore(Ignore):
    """One of a user's that means "record nothing"."""


class OwnPredicate(TaskPredicate):
    """One that Celery does not know either."""


class Code(int):
    """A number of a class of the user's."""


def shown(error: Any) -> tuple[Any, ...]:
    """Give what an answer consists of."""
    if isinstance(error, UnpickleableExceptionWrapper):
        return ("wrapped", error.exc_module, error.exc_cls_name, error.exc_args, str(error))
    if isinstance(error, Retry):
        return (Retry, error.message, error.exc and shown(error.exc), error.when)
    if isinstance(error, Reject):
        return (Reject, error.reason, error.requeue)
    return (type(error), error.args)


OWN = ("wrapped", __name__, "Own", ("own words",), "Own('own words')")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (Own(), OWN),
        (wrapped(Own()), ("wrapped", __name__, "Own", (OWN[-1],), f"Own({OWN[-1]!r})")),
        (SoftTimeLimitExceeded("x"), (SoftTimeLimitExceeded, ())),
        (SystemExit(3), (SystemExit, (3,))),
        (SystemExit("bye"), (SystemExit, ("bye",))),
        (SystemExit(None), (SystemExit, (None,))),
        (SystemExit(2.5), (SystemExit, (2.5,))),
        (SystemExit(Own()), (SystemExit, ("own words",))),
        (SystemExit(Code(4)), (SystemExit, ("4",))),
        (KeyboardInterrupt("x"), (KeyboardInterrupt, ())),
        (Retry("again", exc=Own(), when=5), (Retry, "again", OWN, 5)),
        (Retry(Own()), (Retry, "own words", None, None)),
        (Reject(Own(), requeue=1), (Reject, "own words", True)),
        (OwnIgnore("x"), (Ignore, ("x",))),
        (OwnPredicate("x"), ("wrapped", __name__, "OwnPredicate", ("x",), "OwnPredicate('x')")),
    ],
)
def test_an_exception_is_told_in_a_form_that_every_process_reads(error: BaseException, answer: tuple[Any, ...]) -> None:
    told = readable(error)
    assert shown(told) == answer
    assert shown(pickle.loads(pickle.dumps(told))) == answer  # noqa: S301 - what is read was written here


def test_our_own_exceptions_for_the_main_process_stay_as_they_are() -> None:
    snoozed = Snoozed("later")
    assert readable(snoozed) is snoozed


@pytest.mark.parametrize("hidden", [False, True])
def test_the_result_of_a_tracer_is_made_readable_in_place(hidden: bool) -> None:
    error = Own()
    einfo = SimpleNamespace(exception=ExceptionWithTraceback(error, "trace") if hidden else error, type=Own)
    make_readable(einfo)
    assert (shown(einfo.exception), einfo.type) == (OWN, UnpickleableExceptionWrapper)


def test_an_exception_that_was_never_raised_gets_a_traceback() -> None:
    found = einfo_of(Own())
    assert isinstance(found, ExceptionInfo)
    assert "own words" in found.traceback


# --- the tracer around it
def raising(*_: Any, **__: Any) -> Any:
    raise Own


def in_a_thread(call: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(60)
    return found[0]


def test_what_a_tracer_does_not_catch_leaves_the_process_readable_and_is_an_answer_in_a_thread() -> None:
    trace = answering(raising)
    with pytest.raises(UnpickleableExceptionWrapper) as caught:
        trace()
    assert shown(caught.value) == OWN
    assert caught.traceback[-1].name == "raising"
    told = in_a_thread(trace)
    assert (shown(told.retval.exception.exc), told.info.state, told.runtime) == (OWN, "FAILURE", 0.0)
    assert shown(told.info.retval) == OWN


@pytest.mark.parametrize("failed", [False, True])
def test_what_a_tracer_gives_back_is_passed_on_and_a_failure_is_made_readable(failed: bool) -> None:
    error = Own()
    result: Any = SimpleNamespace(exception=error, type=Own) if failed else 7
    traced = trace_ok_t(result, TraceInfo("FAILURE", error) if failed else None, 0.1, "7")
    asked: list[Any] = []

    def tracer(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return traced

    assert answering(tracer)(1, two=2) is traced
    assert asked == [((1,), {"two": 2})]
    assert shown(result.exception) == OWN if failed else result == 7
