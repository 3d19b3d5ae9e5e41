"""From an error to what is stored of it: an attempt must never fail to end for its own error's sake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.jobs import EffectRefused, Failure, FailureKind, InvalidInput, Job, JobStatus
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.failures.dead import as_dead_letter, is_critical, is_due, rule_of, seal_policy
from jobclaim.jobs.failures.description import MAX_EXCEPTION, MAX_MESSAGE, MAX_TRACEBACK, bounded, describe
from jobclaim.jobs.failures.hooks import call_hooks, forget, on_dead, on_failure
from jobclaim.jobs.model import DeadState
from jobclaim.settings import DeadLetterRule, Settings, TaskSpec

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
    assert describe(error, NOW).at == NOW


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
    assert failure.traceback.endswith("漢\n")
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


@pytest.mark.parametrize("at", [-1, 1.5, "now", 10**15 + 1])
def test_a_time_that_could_not_be_read_again_is_refused(at: Any) -> None:
    with pytest.raises(InvalidInput, match=r"failure\.at"):
        describe(Failure(kind=FailureKind.TIMEOUT, message="x", at=at), NOW)


def test_an_exceptions_kind_may_be_given_and_an_error_that_was_not_raised_has_no_place() -> None:
    assert describe(raised(ValueError("x")), NOW, FailureKind.EXTERNAL).kind is FailureKind.EXTERNAL
    assert describe(ValueError("x"), NOW).where == ""
    assert bounded(Failure(kind=FailureKind.TIMEOUT, message="x", at=0)).at == 0


def test_an_exception_that_cannot_be_formatted_is_stored_all_the_same() -> None:
    class Rude(Exception):
        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise RuntimeError("no notes")

    assert describe(raised(Rude("x")), NOW).traceback == "(it cannot be formatted: RuntimeError)"


# --- the task's own rules
def job(**values: Any) -> Job:
    return Job(**{"job_id": "j", "task": "t", "queue": "q", "status": JobStatus.FAILED, **values})


def test_a_tasks_own_rules_go_with_its_jobs_and_the_fleets_hold_for_all_others() -> None:
    settings = Settings(tasks={"critical": TaskSpec(critical=True)})
    rule = DeadLetterRule(retries=7)
    sealed = seal_policy({FailureKind.TIMEOUT: rule, "EXTERNAL": {"retries": 8}}, critical=True)

    assert rule_of(job(failure_policy=sealed), FailureKind.TIMEOUT, settings) == rule
    assert rule_of(job(failure_policy=sealed), "EXTERNAL", settings).retries == 8
    for other in (job(failure_policy=sealed), job()):
        assert rule_of(other, "TRANSIENT", settings) == settings.dead_letter_rule("t", "TRANSIENT")
    assert is_critical(job(failure_policy=sealed), settings)
    assert is_critical(job(task="critical"), settings)
    assert not is_critical(job(failure_policy=seal_policy({"TIMEOUT": rule})), settings)
    assert seal_policy(None) == seal_policy({}) == ""


@pytest.mark.parametrize(("kind", "rule"), [("NONSENSE", {"retries": 1}), ("TIMEOUT", {"retries": -1})])
def test_rules_that_make_no_sense_are_refused(kind: str, rule: Any) -> None:
    with pytest.raises(InvalidInput, match=f"dead_letters.'{kind}'"):
        seal_policy({kind: rule})


def test_recovery_starts_a_failed_job_again_when_it_is_time_and_only_then() -> None:
    later, never = as_dead_letter(job(), NOW, 1.5), as_dead_letter(job(retry_at=5), NOW, None)

    assert (later.retry_at, is_due(later, NOW + 1499), is_due(later, NOW + 1500)) == (NOW + 1500, False, True)
    assert (never.retry_at, never.dead_state, is_due(never, NOW)) == (0, DeadState.WAITING, False)


# --- hooks
def test_hooks_are_called_by_what_follows_and_one_that_raises_stops_no_other() -> None:
    called: list[str] = []

    @on_failure
    def rude(job: Job) -> None:
        called.append("rude")
        raise RuntimeError("no channel")

    @on_failure
    def fails(job: Job) -> None:
        called.append("failed")

    @on_dead
    def dead(job: Job) -> None:
        called.append("dead")

    try:
        for ended in (as_dead_letter(job(), NOW, 1), as_dead_letter(job(), NOW, None), job(status=JobStatus.COMPLETED)):
            call_hooks(ended)
    finally:
        for hook in (rude, fails, dead):
            forget(hook)
    call_hooks(as_dead_letter(job(), NOW, None))

    assert called == ["rude", "failed", "rude", "failed", "dead"]


def test_a_refused_effect_names_its_item_if_it_is_known() -> None:
    assert EffectRefused("no").key == {}
    assert EffectRefused("no", key={"id": "1"}).key == {"id": "1"}
