"""The records of the fleet table in detail: pauses, runs by hand, tasks, alerts and counts, on the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from jobclaim.fleet import pauses as module
from jobclaim.fleet import registered
from jobclaim.fleet.alerts import KEY as ALERTS
from jobclaim.fleet.alerts import PublishedAlert, PublishedAlerts
from jobclaim.fleet.audit import Audit
from jobclaim.fleet.by_hand import KEPT_SECONDS as KEPT_BY_HAND
from jobclaim.fleet.by_hand import PREFIX as BY_HAND
from jobclaim.fleet.by_hand import RunByHand, RunsByHand, runs_in
from jobclaim.fleet.pauses import KEPT_MS, MAX_AHEAD_MS, MOST, PauseRecords, Subject, check, pause, unpause
from jobclaim.fleet.person import whoami
from jobclaim.fleet.registered import AGAIN_MS, Announcement, RegisteredTasks, digest_of, of_live_workers, own, tasks_of
from jobclaim.fleet.tally import Counts, Tally, Window, windows_in
from jobclaim.fleet.workers import KEPT_SECONDS, FleetRecords, WorkerRecord
from jobclaim.jobs import IllegalTransition, InvalidInput, JobRepo, StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.storage.counters import PREFIX as TALLY
from jobclaim.jobs.storage.counters import WINDOW_MS
from jobclaim.jobs.storage.pauses import Pause, PauseKind, Pauses
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.fleet_records import stored

SETTINGS = Settings(_env_file=None)
TASK = Subject(PauseKind.TASK, "shop.charge")


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def stop(repo: JobRepo, subject: Subject = TASK, **how: Any) -> Pause:
    return pause(repo, subject, **{"by": "ann", "reason": "prices are wrong", **how})


# --- pauses
def test_each_change_adds_one_to_the_version_and_names_what_in_the_trail(repo: JobRepo, clock: ManualClock) -> None:
    stop(repo)
    clock.advance(1)
    unpause(repo, TASK, by="bob", reason="prices are right")
    assert PauseRecords.of(repo).read().version == 2
    assert [(entry.verb, entry.what, entry.why, entry.by) for entry in Audit.of(repo).entries()] == [
        ("unpause", "task shop.charge", "prices are right", "bob"),
        ("pause", "task shop.charge", "prices are wrong", "ann"),
    ]


def test_a_pause_ends_in_the_future_within_ten_years(repo: JobRepo, clock: ManualClock) -> None:
    for until in (clock(), clock() + MAX_AHEAD_MS + 1):
        with pytest.raises(InvalidInput, match="in the past, or more than ten years ahead"):
            stop(repo, until=until)
    assert stop(repo, until=clock() + 1).until == clock() + 1
    assert stop(repo, until=clock() + MAX_AHEAD_MS).until == clock() + MAX_AHEAD_MS


def test_one_of_so_many_pauses_may_be_changed_and_another_needs_one_to_end(repo: JobRepo) -> None:
    for number in range(MOST):
        stop(repo, Subject(PauseKind.TASK, f"t{number}"))
    assert stop(repo, Subject(PauseKind.TASK, "t0"), reason="another").reason == "another"
    with pytest.raises(IllegalTransition):
        stop(repo)
    unpause(repo, Subject(PauseKind.TASK, "t0"), by="ann")
    assert stop(repo).name == "shop.charge"


def test_what_is_not_paused_is_not_ended(repo: JobRepo) -> None:
    with pytest.raises(IllegalTransition, match="is not paused"):
        unpause(repo, TASK, by="ann")


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        (Subject(PauseKind.QUEUE, "default"), True),
        (Subject(PauseKind.SCHEDULE, "jobclaim.nightly"), True),
        (Subject(PauseKind.TASK, "recovery"), True),
        (Subject(PauseKind.TASK, "jobclaim.recovery"), False),
        (Subject(PauseKind.QUEUE, "recovery"), False),
        (Subject(PauseKind.QUEUE, "never"), False),
        (Subject(PauseKind.TASK, ""), False),
    ],
)
def test_what_recovery_needs_and_what_is_unknown_is_not_paused(subject: Subject, allowed: bool) -> None:
    if allowed:
        check(SETTINGS, subject)
        return
    with pytest.raises(InvalidInput):
        check(SETTINGS, subject)


def test_the_last_pauses_that_ended_within_a_week_are_kept(repo: JobRepo, clock: ManualClock) -> None:
    def ended(name: str, until: int) -> Pause:
        return Pause(kind="task", name=name, by="ann", reason="x", since=1, until=until)

    old, edge = ended("old", START_MS - KEPT_MS - 1), ended("edge", START_MS - KEPT_MS)
    active = [ended("active", START_MS + 1), ended("for ever", 0)]
    many = [ended(f"t{number}", START_MS - number) for number in range(MOST)]
    records = PauseRecords.of(repo)
    for known, names in (
        ([old, edge, *active], {"edge", "active", "for ever"}),
        ([edge, *many], {one.name for one in many}),
    ):
        pauses = replace(PauseRecords.of(repo).read(), known=tuple(known))
        with patch.object(records, "read", return_value=pauses):
            records.change(lambda _: replace(active[0], name="new"))
        assert sorted(one.name for one in PauseRecords.of(repo).read().known) == sorted([*names, "new"])


def test_a_change_whose_answer_was_lost_is_taken_for_made_and_one_that_was_overtaken_is_not(
    repo: JobRepo,
) -> None:
    records, made = PauseRecords.of(repo), stop(repo)
    before = replace(records.read(), version=0)
    assert records._put(before), "it is stored already"
    assert not records._put(Pauses((replace(made, reason="another"),), 0))
    with patch.object(records, "_put", return_value=False) as put, pytest.raises(StoreUnavailable, match="10 times"):
        records.change(lambda _: made)
    assert put.call_count == module.ROUNDS


# --- runs by hand, alerts, counts
def test_a_run_by_hand_is_kept_for_a_month(repo: JobRepo) -> None:
    RunsByHand.of(repo).note("nightly", RunByHand(START_MS, "ada", "j1"))
    item = stored(repo, f"{BY_HAND}nightly")
    assert runs_in([item, {schema.FLEET_KEY: attribute("w1")}]) == {"nightly": RunByHand(START_MS, "ada", "j1")}
    assert item[schema.FLEET_TTL] == attribute(START_MS // 1000 + KEPT_BY_HAND)


def test_published_alerts_come_back_as_written_and_one_process_evaluates(repo: JobRepo) -> None:
    record, said = (
        PublishedAlerts.of(repo),
        {"waiting": PublishedAlert(since=1, fired_at=2, said_at=3, text="zu viele: ü")},
    )
    assert record.read() == (0, {})
    assert [record.take(0, 5), record.take(0, 6), record.take(5, 7), record.take(5, 8)] == [True, False, True, False]
    record.write(said)
    assert record.read() == (7, said)
    assert "ü" in stored(repo, ALERTS)["said"]["S"], "it is read by people in the table too"


def test_counts_are_those_of_this_window_and_the_one_before(repo: JobRepo, clock: ManualClock) -> None:
    tally = Tally.of(repo)
    for number, job in enumerate(("j1", "j2", "j3")):
        clock.advance(WINDOW_MS / 1000)
        tally.add({"critical": 10**number, "submitted": 1}, {"last_task": "t", "last_job": job})
    assert Tally.of(repo).read() == Counts(submitted=2, critical=110, last_task="t", last_job="j3")
    clock.advance(2 * WINDOW_MS / 1000)
    assert Tally.of(repo).read() == Counts()


def test_windows_are_read_by_their_names_oldest_first() -> None:
    def item(name: str, **counts: int) -> Item:
        return {schema.FLEET_KEY: attribute(name), **{key: attribute(value) for key, value in counts.items()}}

    found = windows_in(
        [item(f"{TALLY}20", submitted=2, healed=1), item(f"{TALLY}10", failed_again=3), item("30"), item(f"{TALLY}x")]
    )
    assert found == [Window(10, failed_again=3), Window(20, submitted=2, healed=1)]


@pytest.mark.parametrize(("error", "name"), [(None, "ada"), (KeyError(), "unknown"), (OSError(), "unknown")])
def test_the_user_of_the_machine_is_named_even_without_a_name(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, name: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    with patch("getpass.getuser", side_effect=error, return_value="ada"):
        assert whoami() == f"{name}@here"


# --- registered tasks
NAMES = ("shop.charge", "shop.refund")


def beat(repo: JobRepo, worker_id: str, names: tuple[str, ...] | None, **more: Any) -> WorkerRecord:
    tasks = digest_of(names) if names is not None else ""
    record = WorkerRecord(worker_id=worker_id, seen_at=repo.clock(), started_at=repo.clock(), tasks=tasks, **more)
    return FleetRecords.of(repo).beat(record)


def test_a_set_of_tasks_is_kept_for_a_day_and_is_the_same_whatever_its_order(repo: JobRepo) -> None:
    RegisteredTasks.of(repo).write(reversed(NAMES))
    assert digest_of(NAMES) == digest_of(reversed(NAMES)) != digest_of(NAMES[:1])
    assert len(digest_of(NAMES)) == 16
    assert RegisteredTasks.of(repo).read(digest_of(NAMES)) == list(NAMES)
    item = stored(repo, f"{registered.PREFIX}{digest_of(NAMES)}")
    assert item[schema.FLEET_TTL] == attribute(START_MS // 1000 + KEPT_SECONDS)
    assert own(["shop.b", "celery.chord", "shop.a"]) == ["shop.a", "shop.b"]


def test_tasks_of_live_workers_are_those_that_are_known_and_of_some_only_if_all_are(
    repo: JobRepo, clock: ManualClock
) -> None:
    RegisteredTasks.of(repo).write(["lost.task"])
    gone = beat(repo, "gone", ("lost.task",))
    clock.advance(SETTINGS.worker_dead_after_seconds)
    RegisteredTasks.of(repo).write(NAMES)
    known, older, missing = beat(repo, "w1", NAMES), beat(repo, "w2", None), beat(repo, "w3", ("never.written",))

    assert of_live_workers(repo) == list(NAMES)
    assert [tasks_of(repo, some) for some in ([known], [known, gone], [known, older], [known, missing], [])] == [
        frozenset(NAMES),
        frozenset((*NAMES, "lost.task")),
        None,
        None,
        None,
    ]


def test_tasks_are_announced_again_long_before_their_item_goes_and_at_once_after_a_failure(repo: JobRepo) -> None:
    records = RegisteredTasks.of(repo)
    announcement, refused = Announcement(records, NAMES), ClientError({"Error": {"Code": "AccessDenied"}}, "UpdateItem")
    with patch.object(records, "write", side_effect=[refused, None, None]) as write:
        for now in (0, 0, 1, AGAIN_MS - 1, AGAIN_MS):
            announcement.write_if_due(now)
    assert [one.args for one in write.call_args_list] == [(NAMES,)] * 3
