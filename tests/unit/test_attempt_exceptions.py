"""Exceptions of failed jobs: found by name, rebuilt so that they print alike, and the raised one behind Celery's."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from celery.exceptions import Retry, WorkerLostError
from celery.utils.serialization import UnpickleableExceptionWrapper, get_pickleable_exception

from jobclaim.jobs import FailureKind
from jobclaim.jobs.model import Failure
from jobclaim.workers.attempt.exceptions import JobFailed, exception_of, find_exception
from jobclaim.workers.attempt.original import cause_of, original


class Plain(Exception):
    """One that takes a text."""


class Two(Exception):
    """One that takes two arguments, and prints the first."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first, second)

    def __str__(self) -> str:
        return str(self.args[0])


class Deaf(Exception):
    """One that prints its own words only."""

    def __str__(self) -> str:
        return "my words"


class Strict(Exception):
    """One that can neither be made with a text nor without one, and prints nothing of it."""

    def __new__(cls, *args: Any) -> Strict:
        if len(args) != 2:
            raise TypeError("two arguments")
        return super().__new__(cls, *args)


class Outer:
    """A class around an exception."""

    class Inner(Exception):
        """A nested one."""


def failure(exception: str, message: str = "sold out", kind: FailureKind = FailureKind.PERMANENT) -> Failure:
    return Failure(kind=kind, message=message, exception=exception)


@pytest.mark.parametrize("known", [Plain, Two, Deaf, Outer.Inner])
def test_an_exception_of_a_known_class_is_made_and_prints_as_it_did(known: type[Exception]) -> None:
    made = exception_of(failure(f"{__name__}.{known.__qualname__}"))
    assert isinstance(made, known)
    assert str(made) == "sold out"
    assert type(made).__name__ == known.__name__
    assert type(made).__module__ == __name__


@pytest.mark.parametrize("name", ["KeyError", "builtins.KeyError"])
def test_a_builtin_one_is_found_by_its_name_with_and_without_its_module(name: str) -> None:
    assert type(exception_of(failure(name))) is KeyError
    assert find_exception(name) is KeyError


@pytest.mark.parametrize(
    "name",
    [
        "SystemExit",
        "KeyboardInterrupt",
        "celery.exceptions.Ignore",
        "no.such.Error",
        f"{__name__}.Outer",
        f"{__name__}.Strict",
        "print",
        f"{__name__}.pytest",
    ],
)
def test_one_that_is_unknown_or_would_end_who_waits_is_named_in_the_text(name: str) -> None:
    made = exception_of(failure(name))
    assert (type(made), str(made)) == (JobFailed, f"{name}: sold out")


@pytest.mark.parametrize(
    ("kind", "made"), [(FailureKind.ORPHANED, WorkerLostError), (FailureKind.PERMANENT, JobFailed)]
)
def test_a_failure_without_an_exception_is_a_lost_worker_or_a_text(kind: FailureKind, made: type[Exception]) -> None:
    found = exception_of(failure("", kind=kind))
    assert (type(found), str(found)) == (made, "sold out")


def test_only_exceptions_are_found_and_nothing_is_imported() -> None:
    assert find_exception(f"{__name__}.Plain") is Plain
    assert find_exception(f"{__name__}.Outer.Inner") is Outer.Inner
    assert find_exception(f"{__name__}.Outer") is None
    assert find_exception("turtledemo.Error") is None
    assert find_exception("") is None


def test_an_exception_in_a_module_that_its_package_does_not_know_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = ModuleType("lonely.module")
    vars(lonely)["Outer"] = Outer
    monkeypatch.setitem(sys.modules, "lonely.module", lonely)
    assert find_exception("lonely.module.Outer.Inner") is Outer.Inner


# --- the raised one
class Unpickled(Exception):
    """One that cannot be pickled."""

    def __init__(self, *, needed: int) -> None:
        super().__init__(needed)
        self.lock = lambda: needed


def wrapper(error: Exception) -> Any:
    found: Any = get_pickleable_exception(error)
    return found


def test_the_raised_exception_is_found_behind_celerys_wrapper_or_base_class() -> None:
    raised, wrapped = Unpickled(needed=1), UnpickleableExceptionWrapper(__name__, "Unpickled", (), "text")
    assert original(wrapped, raised) is raised
    assert original(Exception("base"), raised) is raised
    try:
        raise raised
    except Unpickled:
        assert original(wrapped) is raised


@pytest.mark.parametrize("module", [__name__, "shop"])
@pytest.mark.parametrize("name", ["Unpickled", "Plain"])
def test_an_exception_of_another_class_is_not_taken_for_the_raised_one(module: str, name: str) -> None:
    raised, wrapped = Unpickled(needed=1), UnpickleableExceptionWrapper(module, name, (), "text")
    found = original(wrapped, raised)
    assert (found is raised) is ((module, name) == (__name__, "Unpickled"))


def test_without_a_raised_one_it_is_restored_with_its_traceback() -> None:
    try:
        raise Plain("x")
    except Plain as caught:
        error = caught
    assert original(error) is error
    assert original(error, error) is error
    assert original(error, KeyError("another")) is error
    assert original(error).__traceback__ is error.__traceback__ is not None


def retry(exc: Any, *, cause: BaseException | None = None, context: BaseException | None = None) -> Retry:
    made = Retry(exc=exc)
    made.__cause__, made.__context__ = cause, context
    return made


def test_the_cause_of_a_retry_is_what_was_raised_if_that_is_known() -> None:
    raised, base = Unpickled(needed=1), Exception("base")
    assert cause_of(retry(base, cause=raised)) is raised
    assert cause_of(retry(base, context=raised)) is raised
    assert cause_of(retry(base, cause=raised, context=Plain("handled meanwhile"))) is raised
    assert cause_of(retry(base)) is base
    assert cause_of(retry(None, context=raised)) is None
    assert cause_of(Retry()) is None
    try:
        raise Plain("another one is being handled")
    except Plain:
        assert cause_of(retry(base)) is base
