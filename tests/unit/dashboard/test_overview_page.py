"""The overview: throughput that is honest about what it covers, and what needs a person."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

from jobclaim.dashboard.meter import metered
from jobclaim.dashboard.queries import ended, overview
from jobclaim.dashboard.queries.overview import Overview
from jobclaim.fleet.alerts import KEY as ALERTS
from jobclaim.fleet.tally import Tally
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery import alerts
from tests.unit.dashboard.conftest import Board

NOW = 1_750_000_000_000


def read(board: Board) -> Overview:
    """What the overview shows now."""
    board.services.shared.forget()
    with metered(overview.budget(board.settings)) as meter:
        return overview.read(board.services, meter)


def alive(board: Board, worker_id: str = "worker-1", version: str = "1.0") -> None:
    """Have a worker of all queues say that it lives."""
    FleetRecords.of(board.repo).beat(
        WorkerRecord(
            worker_id=worker_id,
            seen_at=board.clock(),
            queues=board.settings.queue_names,
            version=version,
            concurrency=4,
        )
    )


def texts(board: Board) -> list[str]:
    """What needs a person."""
    return [need.text for need in read(board).needs]


def value(board: Board, label: str) -> str:
    """One figure."""
    return next(figure.value for figure in read(board).figures if figure.label == label)


def test_nothing_needs_a_person_where_all_is_well(board: Board) -> None:
    alive(board)
    assert read(board).needs == []


def test_dead_letters_that_wait_need_a_person(board: Board) -> None:
    alive(board)
    board.failed()
    board.failed(error=TimeoutError("starts again by itself"))
    assert texts(board) == ["1 dead letters wait for a person."]
    assert value(board, "Wait for a person") == "1"


def test_a_late_queue_needs_a_person(board: Board) -> None:
    board.job()
    board.clock.advance(board.settings.queue("default").sla_seconds * 2)
    alive(board)
    assert "Queue default is late." in texts(board)
    assert value(board, "Longest wait") == "200%"


def test_a_queue_without_a_worker_and_a_dead_worker_need_a_person(board: Board) -> None:
    alive(board)
    board.job()
    board.clock.advance(board.settings.worker_dead_after_seconds + 1)
    told = texts(board)
    assert "No worker listens on queue default." in told
    assert "1 worker is lost: worker-1." in told
    assert "No worker is alive." in told


def test_an_alert_that_was_raised_is_told_once(board: Board) -> None:
    alive(board)
    board.job()
    board.clock.advance(board.settings.queue("default").sla_seconds * 2)
    alive(board)
    said = {"sla:default": {"since": board.clock(), "fired_at": board.clock(), "said_at": 1, "text": "it waits 9 s"}}
    item = {
        schema.FLEET_KEY: attribute(ALERTS),
        "said": attribute(json.dumps(said)),
        "evaluated_at": attribute(board.clock()),
    }
    board.repo.table.client().put_item(TableName=board.settings.fleet_table, Item=item)
    assert texts(board) == ["it waits 9 s"]


def test_a_recovery_that_is_silent_needs_a_person(board: Board) -> None:
    alerts.evaluate(board.repo)
    board.clock.advance(board.settings.alert_silence_seconds + 1)
    alive(board)
    assert any(text.startswith("Recovery was silent for") for text in texts(board))


def test_several_versions_at_once_are_told(board: Board) -> None:
    alive(board, "worker-1", "1.0")
    alive(board, "worker-2", "1.1")
    assert texts(board) == ["Several versions run at once: 1.0, 1.1."]


def test_submissions_are_drawn_by_what_the_fleet_counted(board: Board) -> None:
    tally = Tally.of(board.repo)
    tally.count("submitted", 30)
    tally.count("duplicates", 4)
    tally.flush()
    assert read(board).submitted.description.startswith("26 submitted, 4 duplicates in 1 h")


def test_completed_jobs_are_counted_where_the_table_lists_them(make_board: Callable[..., Board]) -> None:
    board = make_board(index_completed=True)
    for _ in range(6):
        job = board.job()
        board.repo.claim_job(job.job_id)
        board.repo.update_status(job.job_id, "COMPLETED")
    assert value(board, "Completed") == "0.1"
    assert read(board).ended.description.startswith("6 completed, 0 failed, 0 cancelled in 1 h")


def test_what_the_figures_leave_out_is_said(make_board: Callable[..., Board]) -> None:
    board = make_board(index_completed=False)
    assert "JOBCLAIM_INDEX_COMPLETED" in html.unescape(board.browser().get("/").text)


def entries(count: int, every_ms: int) -> list[IndexEntry]:
    """The newest entries of a partition."""
    return [IndexEntry(f"j{n}", NOW - n * every_ms) for n in range(count)]


def test_a_busy_table_is_shown_over_the_time_that_the_entries_cover() -> None:
    quiet = ended.ended({"FAILED": [entries(50, 60_000)]}, NOW)
    assert (quiet.length_ms, sum(quiet.counts.values())) == (3_600_000, 50)
    busy = ended.ended({"FAILED": [entries(ended.ENTRIES, 10_000), entries(3, 1_000_000)]}, NOW)
    assert busy.length_ms == 600_000
    assert 58 <= busy.counts["FAILED"] <= 62
    assert 5.8 <= busy.per_minute("FAILED") <= 6.2


def test_a_busier_table_than_can_be_covered_still_has_a_rate() -> None:
    found = ended.ended({"FAILED": [entries(ended.ENTRIES, 10)]}, NOW)
    assert found.length_ms == 60_000
    assert found.counts["FAILED"] == ended.ENTRIES
