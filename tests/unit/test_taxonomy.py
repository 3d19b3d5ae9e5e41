"""What an exception means for what to do next."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from jobclaim.jobs import FailureKind, InvalidInput, classify, register_kind
from jobclaim.jobs.failures import taxonomy
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.failures.known_errors import http_status
from tests.support.real_errors import CASES

NOW = 1_750_000_000_000


@pytest.fixture(autouse=True)
def _registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxonomy, "_registered", {task: dict(kinds) for task, kinds in taxonomy._registered.items()})


def caught(act: Callable[[], Any]) -> BaseException:
    try:
        act()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def test_the_table_is_long_enough_to_be_trusted() -> None:
    assert len(CASES) >= 60
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("kind", "act"), [pytest.param(kind, act, id=name) for name, kind, act in CASES])
def test_an_exception_as_its_library_raises_it_is_told_as(kind: FailureKind, act: Callable[[], Any]) -> None:
    error = caught(act)
    assert classify(error) is kind, f"{type(error).__mro__}: {error}"


class Declined(Exception):
    pass


class DeclinedForNow(Declined):
    pass


def test_what_nobody_knows_is_permanent_until_it_is_registered() -> None:
    assert classify(DeclinedForNow()) is FailureKind.PERMANENT
    register_kind(Declined, FailureKind.EXTERNAL)
    assert classify(DeclinedForNow()) is FailureKind.EXTERNAL


def test_a_task_knows_better_than_everybody_and_other_tasks_do_not_care() -> None:
    register_kind(Declined, "EXTERNAL")
    register_kind(Declined, "TRANSIENT", task="shop.charge")
    register_kind(ConnectionRefusedError, "CONFIGURATION", task="shop.charge")
    assert classify(Declined(), "shop.charge") is FailureKind.TRANSIENT
    assert classify(ConnectionRefusedError(), "shop.charge") is FailureKind.CONFIGURATION
    assert classify(Declined(), "shop.refund") is FailureKind.EXTERNAL
    assert classify(ConnectionRefusedError(), "shop.refund") is FailureKind.TRANSIENT


def test_a_class_that_is_not_imported_is_registered_by_its_name() -> None:
    register_kind(f"{__name__}.Declined", "CONFIGURATION")
    assert classify(DeclinedForNow()) is FailureKind.CONFIGURATION


def test_a_function_may_look_at_the_exception_or_leave_it_to_others() -> None:
    register_kind(OSError, lambda error: FailureKind.EXTERNAL if "partner" in str(error) else None)
    assert classify(ConnectionResetError("partner")) is FailureKind.EXTERNAL
    with capture_logs() as lines:
        assert classify(ConnectionResetError("ours")) is FailureKind.TRANSIENT
    assert lines == [], "neither is at fault"


def test_an_exception_may_tell_its_own_kind() -> None:
    class Busy(Exception):
        failure_kind = FailureKind.TRANSIENT

    assert classify(Busy()) is FailureKind.TRANSIENT


def test_a_context_that_was_suppressed_does_not_count() -> None:
    def act() -> None:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("the amount is negative") from None

    assert classify(caught(act)) is FailureKind.PERMANENT


def test_a_chain_that_goes_round_in_a_circle_ends() -> None:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert classify(one) is FailureKind.PERMANENT


def test_an_exception_made_by_hand_without_what_its_library_gives_it_is_told_all_the_same() -> None:
    import requests

    assert classify(requests.HTTPError()) is FailureKind.EXTERNAL


@pytest.mark.parametrize(
    ("exception", "kind"), [(5, "TRANSIENT"), ("", "TRANSIENT"), (int, "TRANSIENT"), (ValueError, "x")]
)
def test_nonsense_is_not_registered(exception: Any, kind: Any) -> None:
    with pytest.raises(InvalidInput):
        register_kind(exception, kind)


def raise_here(message: str) -> None:
    raise ValueError(message)


def raise_there(message: str) -> None:
    raise ValueError(message)


def test_a_fingerprint_is_the_same_for_other_messages_and_another_for_other_places() -> None:
    one, two, other = (
        describe(caught(lambda act=act, text=text: act(text)), NOW)  # type: ignore[misc]
        for act, text in ((raise_here, "a"), (raise_here, "b"), (raise_there, "a"))
    )
    assert one.where == "unit/test_taxonomy.py:raise_here"
    assert one.fingerprint == two.fingerprint
    assert len({one.fingerprint, other.fingerprint, describe("a", NOW).fingerprint}) == 3


def test_the_place_is_the_users_own_code_not_the_library_that_it_called() -> None:
    import json

    def read() -> None:
        json.loads("{")

    error = caught(read)
    assert describe(error, NOW).where.endswith("<locals>.read")
    within = error.__traceback__
    while within and "json" not in within.tb_frame.f_code.co_filename:
        within = within.tb_next
    assert describe(error.with_traceback(within), NOW).where.startswith("json/decoder.py:")


def raises(_: BaseException) -> FailureKind:
    raise AttributeError("'Declined' object has no attribute 'response'")


NO_KINDS: dict[str, Any] = {"raises": raises, "another word": lambda _: "GONE", "true": lambda _: True}


@pytest.mark.parametrize("rule", NO_KINDS)
def test_a_users_rule_that_fails_leaves_the_kind_to_others_and_the_failure_keeps_its_traceback(rule: str) -> None:
    register_kind(Declined, NO_KINDS[rule], task="shop.charge")
    register_kind(Declined, "EXTERNAL")
    with capture_logs() as lines:
        failure = describe(caught(lambda: _raise(Declined("no"))), NOW, task="shop.charge")
    assert failure.kind is FailureKind.EXTERNAL
    assert "Declined: no" in failure.traceback
    assert [line["event"] for line in lines] == ["failure.classifier_failed"]


def test_without_any_other_rule_the_failure_is_what_it_is_by_default() -> None:
    register_kind(ConnectionRefusedError, raises)
    register_kind(Declined, raises)
    assert classify(ConnectionRefusedError()) is FailureKind.TRANSIENT
    assert classify(Declined()) is FailureKind.PERMANENT


class Confused(ConnectionError):
    @property
    def failure_kind(self) -> FailureKind:
        raise ValueError("no kind yet")


class Unsure(ConnectionError):
    def __init__(self, kind: Any) -> None:
        self.failure_kind = kind


@pytest.mark.parametrize(
    ("error", "kind"), [(Confused(), "NoneType"), (Unsure("GONE"), "GONE"), (Unsure(["GONE"]), "list")]
)
def test_a_kind_of_its_own_that_fails_or_is_none_is_logged_and_passed_over(error: Exception, kind: str) -> None:
    with capture_logs() as lines:
        assert classify(error) is FailureKind.TRANSIENT
    assert [(line["event"], line["kind"]) for line in lines] == [("failure.classifier_failed", kind)]


def wrapped(*errors: BaseException) -> BaseException:
    """Give the first error, raised from the second, and so on."""
    for outer, cause in pairwise(errors):
        outer.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(("wrappers", "kind"), [(19, FailureKind.TRANSIENT), (20, FailureKind.PERMANENT)])
def test_the_first_twenty_of_a_chain_are_looked_at(wrappers: int, kind: FailureKind) -> None:
    assert classify(wrapped(*(RuntimeError() for _ in range(wrappers)), ConnectionError())) is kind


class DataError(Exception):
    """Named as an error of databases is."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), FailureKind.PERMANENT),  # decides itself
        (DataError(), FailureKind.TRANSIENT),  # of no driver
        (sqlite3.ProgrammingError(), FailureKind.CONFIGURATION),
        (sqlite3.OperationalError("database is locked"), FailureKind.TRANSIENT),
        (sqlite3.OperationalError("the device is busy"), FailureKind.TRANSIENT),
        (sqlite3.OperationalError("disk I/O error"), FailureKind.TRANSIENT),
        (sqlite3.OperationalError("no such table"), FailureKind.CONFIGURATION),
        (OperationalError("q", {}, DataError("gone")), FailureKind.TRANSIENT),
        (OperationalError("q", {}, sqlite3.OperationalError("no such table")), FailureKind.CONFIGURATION),
    ],
    ids=repr,
)
def test_what_is_known_of_an_error_counts_before_its_cause(error: Exception, kind: FailureKind) -> None:
    assert classify(wrapped(error, ConnectionError())) is kind


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((408, 425, 429), FailureKind.TRANSIENT),
        ((401, 403, 407), FailureKind.CONFIGURATION),
        ((500, 501, 599), FailureKind.EXTERNAL),
        ((400, 402, 404, 409, 426, 430, 499), FailureKind.PERMANENT),
    ],
)
def test_a_status_of_http_has_a_kind(statuses: tuple[int, ...], kind: FailureKind) -> None:
    assert {http_status(status) for status in statuses} == {kind}


def _raise(error: BaseException) -> None:
    raise error
