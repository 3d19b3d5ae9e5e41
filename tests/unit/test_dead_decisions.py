"""Decisions on dead letters: what is stored, what an action on many reports, and what is sent, on the model."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.fleet.audit import Audit
from jobclaim.fleet.tally import Tally, Window
from jobclaim.jobs import FailureKind, InvalidInput, Job, JobRepo, JobUnreadable, StoreUnavailable
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import lifecycle
from jobclaim.recovery import many
from jobclaim.recovery.dead import OPEN_STATES, DeadLetters, Filter, letters, resolve_edited, retry, settle
from jobclaim.recovery.dead.healing import Healing, healing, healing_of
from jobclaim.recovery.many import ActReport
from jobclaim.settings import Settings
from jobclaim.workers import apps
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.failed_jobs import failed

SETTINGS = Settings(_env_file=None, index_shards=2)
DAY = 86_400


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def test_a_decision_is_stored_with_who_and_why_and_refused_if_the_job_has_changed(
    repo: JobRepo, clock: ManualClock
) -> None:
    first, second = failed(repo, "a", "b")
    clock.advance(5)
    revived = retry(repo, first, by="ada", why="again")
    settled = settle(repo, second, "resolve", by="bob", why="paid")

    assert revived is not None
    assert settled is not None
    assert (revived.available_at, revived.decisions[-1].by, revived.decisions[-1].why) == (clock(), "ada", "again")
    assert (settled.dead_state, settled.decisions[-1].by, settled.decisions[-1].why) == (
        DeadState.RESOLVED,
        "bob",
        "paid",
    )
    assert retry(repo, first, by="ada") is None
    assert settle(repo, second, "abandon", by="ada") is None


def test_a_job_that_another_does_the_work_of_is_resolved(repo: JobRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(repo, "a", "b", "c")
    new = repo.create_job("shop.charge", job_id="new")
    monkeypatch.setattr("jobclaim.recovery.dead.decisions.whoami", lambda: "me@here")

    assert [resolve_edited(repo, "a", new, by="ada"), resolve_edited(repo, "b", new)] == ["", ""]
    decisions = [repo.get_job(job_id).decisions[-1] for job_id in "ab"]
    assert [(one.by, one.why) for one in decisions] == [
        ("ada", "run again with another payload as new"),
        ("me@here", "run again with another payload as new"),
    ]
    assert resolve_edited(repo, "new", new) == "it is PENDING, not a dead letter"
    read = repo.get_job("c")
    settle(repo, read, "abandon", by="bob")
    with patch.object(JobRepo, "get_job", return_value=read) as get_job:
        assert resolve_edited(repo, "c", new) == "it changed meanwhile"
    get_job.assert_called_once_with("c", large=False)


def test_healing_is_the_share_of_retries_that_completed() -> None:
    assert Healing().rate is None
    assert healing_of([Window(1, healed=2, failed_again=1), Window(2, healed=1)]).rate == 0.75
    assert Healing(0, 2).rate == 0


def test_healing_is_read_from_the_counts_of_the_last_day(repo: JobRepo) -> None:
    Tally.of(repo).add({"healed": 3, "failed_again": 1}, {})
    assert healing(repo) == Healing(3, 1)


# --- actions on many
def test_an_action_lists_each_job_that_it_did_not_act_on_with_the_reason(repo: JobRepo, clock: ManualClock) -> None:
    failed(repo, "ok", "abandoned", "raced")
    repo.create_job("t", job_id="open")
    dead, done, sizes = DeadLetters(repo, send=lambda *_: None), list[str](), list[int]()
    dead.act("abandon", ["abandoned"], by="ada")
    real = repo.table.get

    def get(job_id: str, **how: Any) -> Any:
        found: Any = real(job_id, **how)
        if job_id == "raced":
            settle(repo, found, "abandon", by="bob")
        return found

    with patch.object(repo.table, "get", get):
        report = dead.act(
            "resolve",
            ["ok", "open", "abandoned", "never", "raced"],
            by="ada",
            reason="done by hand",
            progress=lambda so_far: sizes.append(so_far.matched),
            on_done=done.append,
        )

    assert (report.matched, report.done, report.limited, done, sizes) == (5, 1, False, ["ok"], [1, 2, 3, 4, 5])
    assert report.refused == [
        ("open", "it is PENDING, not FAILED"),
        ("abandoned", "it is already ABANDONED"),
        ("never", "the job does not exist"),
        ("raced", "it changed meanwhile; look at it again"),
    ]
    [entry] = [each for each in Audit.of(repo).entries() if each.verb == "resolve"]
    assert (entry.verb, entry.by, entry.why, entry.what) == (
        "resolve",
        "ada",
        "done by hand",
        "ok open abandoned never raced",
    )
    assert (entry.done, entry.refused) == (1, 4)
    decision = repo.get_job("ok").decisions[-1]
    assert (decision.by, decision.why) == ("ada", "done by hand")
    assert dead.act("retry", ["abandoned"], by="ada").done == 1


def test_a_job_that_cannot_be_read_or_written_is_refused_and_one_that_expired_does_not_exist(repo: JobRepo) -> None:
    failed(repo, "a")
    dead = DeadLetters(repo, send=lambda *_: None)
    with patch.object(letters, "settle", side_effect=StoreUnavailable("no answer")):
        assert dead.act("resolve", ["a"], by="ada").refused == [("a", "no answer")]
    with patch.object(repo.table, "get", side_effect=JobUnreadable("a", "status", ValueError("rubbish"))):
        [(job_id, why)] = dead.act("resolve", ["a"], by="ada").refused
    assert (job_id, "this version does not understand its attribute 'status'" in why) == ("a", True)
    with patch.object(lifecycle, "is_gone", return_value=True):
        assert dead.act("resolve", ["a"], by="ada").refused == [("a", "the job does not exist")]


def test_the_audit_trail_has_the_filter_in_words(repo: JobRepo) -> None:
    failed(repo, "a")
    DeadLetters(repo).act("resolve", Filter(task="shop.charge", kind="PERMANENT", since=5), by="ada")
    assert Audit.of(repo).entries()[0].what == "task=shop.charge kind=PERMANENT since=5"


def test_a_filter_selects_what_had_failed_when_it_began(clock: ManualClock) -> None:
    repo = model_repo(SETTINGS.model_copy(update={"index_shards": 1}), clock)
    dead, later = DeadLetters(repo, send=lambda *_: None), list[Job]()
    failed(repo, "before")

    def fail_more(_: ActReport) -> None:
        clock.advance(1)
        later.extend(failed(repo, f"later{len(later)}"))

    with patch.object(many, "PAGE", 1):
        assert dead.act("resolve", Filter(), by="ada", progress=fail_more).done == 1
    assert dead.act("resolve", Filter(until=clock() - 1), by="ada").done == 0
    assert dead.act("resolve", Filter(since=clock() + 5), by="ada").done == 0
    assert dead.act("resolve", Filter(since=clock(), until=clock() + 9), by="ada").done == 1


@pytest.mark.parametrize(
    ("verb", "at", "text"),
    [
        ("mend", None, "verb='mend' must be one of"),
        ("resolve", 5, "at=5 is for retry only, resolve takes effect at once"),
        ("retry", -1, "at=-1 must be epoch milliseconds"),
        ("retry", START_MS + 401 * DAY * 1000, "more than 400 days ahead"),
    ],
)
def test_an_action_that_cannot_be_is_refused_before_anything_is_done(
    repo: JobRepo, verb: Any, at: int | None, text: str
) -> None:
    failed(repo, "a")
    with pytest.raises(InvalidInput, match=text):
        DeadLetters(repo).act(verb, ["a"], by="ada", at=at)
    assert Audit.of(repo).entries() == []


def test_retried_jobs_are_sent_with_their_delay_and_one_that_could_not_be_is_counted(
    repo: JobRepo, clock: ManualClock
) -> None:
    failed(repo, "now", "soon", "far", "fails")
    sent: list[tuple[str, float]] = []

    def send(job: Job, delay: float) -> None:
        if job.job_id == "fails":
            raise ConnectionError
        sent.append((job.job_id, delay))

    dead = DeadLetters(repo, send=send)
    reports = [dead.act("retry", ["now", "fails"], by="ada", reason="mended")]
    reports += [
        dead.act("retry", [job_id], by="ada", at=clock() + ms) for job_id, ms in (("soon", 60_000), ("far", DAY * 1000))
    ]

    assert sent == [("now", 0.0), ("soon", 60.0)]
    assert [(report.done, report.unsent) for report in reports] == [(2, 1), (1, 0), (1, 0)]
    assert repo.get_job("now").decisions[-1].why == "mended"
    failed(repo, "by_app")
    with patch.object(apps, "send") as by_app:
        DeadLetters(repo).act("retry", ["by_app"], by="ada")
    assert by_app.call_args.args == (SETTINGS, repo.get_job("by_app"), 0.0)
    assert dead.act("resolve", ["by_app"], by="ada").done == 0
    failed(repo, "resolved")
    assert (dead.act("resolve", ["resolved"], by="ada").unsent, len(sent)) == (0, 2)


def test_a_limit_and_a_rate_are_kept(repo: JobRepo, clock: ManualClock) -> None:
    failed(repo, *"abcd")
    slept: list[float] = []
    times = iter([10.0, 10.0, 10.25, 12.0])
    dead = DeadLetters(repo, sleep=slept.append, timer=lambda: next(times))

    report = dead.act("resolve", list("abcd"), by="ada", limit=3, rate=2)

    assert (report.matched, report.done, report.limited) == (3, 3, True)
    assert slept == [0.0, 0.25, 0.0]


def test_each_job_that_a_filter_selects_is_acted_on_once_as_it_was_read(repo: JobRepo) -> None:
    failed(repo, "a", "b")
    sent: list[str] = []

    def fail_again(job: Job, _: float) -> None:
        sent.append(job.job_id)
        repo.claim_job(job.job_id)
        repo.update_status(job.job_id, "FAILED", error="again", kind=FailureKind.TRANSIENT)

    with patch.object(repo.table, "get", side_effect=AssertionError("it was read already")):
        report = DeadLetters(repo, send=fail_again).act("retry", Filter(states=tuple(reversed(OPEN_STATES))), by="ada")
    assert (sorted(sent), report.done, report.refused) == (["a", "b"], 2, [])
