"""From an error to what is stored of it: an attempt must never fail to end for its own error's sake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import Failure, FailureKind, InvalidInput
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.failures.description import MAX_EXCEPTION, MAX_MESSAGE, MAX_TRACEBACK, describe

NOW = 1_750_000_000_000


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return caught


def test_an_exception_is_told_by_type_message_and_traceback() -> None:
    failure = describe(raised(ValueError("no such file")), NOW)

    assert (failure.kind, failure.exception, failure.message) == (FailureKind.PERMANENT, "ValueError", "no such file")
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith("ValueError: no such file\n")
    assert failure.at == NOW


def test_an_exception_of_a_library_is_told_with_its_module() -> None:
    assert describe(InvalidInput("x"), NOW).exception == "jobclaim.jobs.errors.InvalidInput"


@pytest.mark.parametrize(("error", "message"), [("disk full", "disk full"), (None, "no reason was given"), ("", "no")])
def test_a_text_is_a_message_and_nothing_is_said_to_be_nothing(error: str | None, message: str) -> None:
    assert describe(error, NOW, FailureKind.EXTERNAL).message.startswith(message)
    assert describe(error, NOW, FailureKind.EXTERNAL).kind is FailureKind.EXTERNAL


def test_a_failure_keeps_its_own_time_and_its_kind_unless_another_is_given() -> None:
    failure = Failure(kind=FailureKind.TIMEOUT, message="late", at=5)

    assert replace(describe(failure, NOW), fingerprint="") == failure
    assert describe(failure, NOW, FailureKind.TRANSIENT).kind is FailureKind.TRANSIENT
    assert describe(Failure(kind=FailureKind.TIMEOUT, message="late"), NOW).at == NOW


def test_an_exception_whose_own_text_raises_is_stored_all_the_same() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    failure = describe(raised(Rude()), NOW)

    assert failure.message == "(its __str__ raised RuntimeError)"
    assert "Rude" in failure.exception


def test_text_that_cannot_be_stored_is_replaced_and_long_text_is_cut_by_its_bytes() -> None:
    endless = type("X" * 5000, (Exception,), {})("\ud800" + "漢" * 100_000)

    failure = describe(raised(endless), NOW)

    assert failure.message.startswith("?漢")
    assert len(failure.message.encode()) <= MAX_MESSAGE
    assert len(failure.exception.encode()) <= MAX_EXCEPTION
    assert len(failure.traceback.encode()) <= MAX_TRACEBACK
    assert codec.decode_failure(codec.encode_failure(failure)) == failure


@pytest.mark.parametrize("error", [5, b"bytes", ValueError, {"message": "x"}])
def test_what_is_no_error_is_refused(error: Any) -> None:
    with pytest.raises(InvalidInput, match="error must be an exception, text or a Failure"):
        describe(error, NOW)


@pytest.mark.parametrize("kind", ["NONSENSE", 5, "transient"])
def test_a_kind_that_could_not_be_read_again_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidInput, match="is not a failure kind"):
        describe("x", NOW, kind)
    with pytest.raises(InvalidInput, match="is not a failure kind"):
        describe(Failure(kind=kind, message="x"), NOW)


def test_a_kind_may_be_given_by_its_name() -> None:
    assert describe("x", NOW, "TRANSIENT").kind is FailureKind.TRANSIENT  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [-1, 1.5, "now", 10**20])
def test_a_time_that_could_not_be_read_again_is_refused(at: Any) -> None:
    with pytest.raises(InvalidInput, match=r"failure\.at"):
        describe(Failure(kind=FailureKind.TIMEOUT, message="x", at=at), NOW)
