"""Queues, workers, schedules and reconcile: what they tell, and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobclaim.dashboard import Person, Role
from jobclaim.dashboard.meter import Meter, metered
from jobclaim.dashboard.queries import fleet, queues, reconcile, schedules, workers
from jobclaim.dashboard.services import Services
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.governance.schedules import NEVER, Entry, last_fires
from jobclaim.jobs import Job
from jobclaim.settings import QueueSpec, ScheduleSpec, Settings
from jobclaim.specs.cron import Cron
from tests.support.clock import START_MS, ManualClock
from tests.unit.dashboard.conftest import Board

SECOND = 1_000


# --- queues
def look(services: Services) -> queues.QueuesView:
    services.shared.forget()
    with metered(queues.budget(services.settings)) as meter:
        return queues.read(services, meter)


def test_the_oldest_that_waits_is_found_behind_older_ones_that_run(board: Board) -> None:
    running = []
    for _ in range(40):
        job = board.job(queue="default")
        board.repo.claim_job(job.job_id, worker_id="w")
        running.append(job.job_id)
    board.clock.advance(7)
    waits = board.job(queue="default")
    board.clock.advance(5)
    beat(board, WorkerRecord(worker_id="w", jobs=tuple(running), queues=("default",), concurrency=40))
    (queue,) = (one for one in look(board.services).queues if one.name == "default")
    assert queue.oldest is not None
    assert (queue.oldest.job_id, queue.oldest_ms) == (waits.job_id, 5 * SECOND)
    assert (queue.waiting, queue.running) == (1, 40)


def test_a_queue_that_nobody_listens_on_is_no_workers_fault_until_something_waits(board: Board) -> None:
    assert {queue.state for queue in look(board.services).queues} == {"ok"}
    board.job(queue="mail")
    board.clock.advance(1)
    (mail,) = (queue for queue in look(board.services).queues if queue.name == "mail")
    assert mail.state == "no worker"
    assert "no worker listens to mail" in mail.advice


def test_a_queue_that_does_not_exist_in_sqs_is_told_from_an_empty_one(board: Board) -> None:
    sqs = board.services.sqs
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=board.settings.physical_name("mail"))["QueueUrl"])
    (mail,) = (queue for queue in look(board.services).queues if queue.name == "mail")
    assert (mail.state, mail.depth.visible, mail.advice) == ("missing", None, "Create it: jobclaim up")


def test_sqs_that_does_not_answer_leaves_the_rest_of_the_page(board: Board) -> None:
    from botocore.exceptions import EndpointConnectionError

    class Silent:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def fail(**_: object) -> None:
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

            return fail

    board.job(queue="mail")
    board.clock.advance(2)
    seen = look(replace(board.services, sqs=Silent()))
    (mail,) = (queue for queue in seen.queues if queue.name == "mail")
    assert mail.depth.problem == "SQS is unavailable: the endpoint cannot be reached"
    assert mail.oldest_ms == 2 * SECOND


def test_breakers_are_told_in_their_three_states() -> None:
    def item(name: str, **numbers: int) -> dict[str, dict[str, str]]:
        return {"worker_id": {"S": f"#breaker#{name}"}} | {key: {"N": str(value)} for key, value in numbers.items()}

    seen = fleet.of_items([item("a", streak=1), item("b", open_until=20), item("c", open_until=5)], now=10)
    assert [(one.name, one.state) for one in seen.breakers] == [("a", "closed"), ("b", "open"), ("c", "half open")]


def test_a_record_of_an_unknown_kind_breaks_nothing() -> None:
    odd = [{"worker_id": {"S": "#new-thing"}}, {"worker_id": {"S": "#alerts"}, "said": {"S": "no json"}}]
    assert fleet.of_items(odd, now=10) == fleet.Fleet()


# --- workers
def beat(board: Board, record: WorkerRecord) -> None:
    FleetRecords.of(board.repo).beat(replace(record, seen_at=record.seen_at or board.clock(), started_at=START_MS))
    board.services.shared.forget()


def fleet_view(services: Services) -> workers.WorkersView:
    services.shared.forget()
    with metered(workers.budget(services.settings)) as meter:
        return workers.read(services, meter)


def test_a_heartbeat_shows_as_a_share_of_the_time_after_which_a_worker_is_dead(board: Board) -> None:
    beat(board, WorkerRecord(worker_id="w", concurrency=2))
    board.clock.advance(30)
    (worker,) = fleet_view(board.services).workers
    assert (worker.state, worker.silence.value) == ("alive", "50%")
    board.clock.advance(31)
    (worker,) = fleet_view(board.services).workers
    assert (worker.state, worker.silence.tone) == ("dead", "bad")


def test_draining_is_offered_to_operators_for_living_workers_only(board: Board) -> None:
    beat(board, WorkerRecord(worker_id="w-1", concurrency=2))
    assert 'value="w-1"' in board.browser().get("/workers").text
    board.person = Person("eve", Role.VIEWER)
    assert 'name="reason"' not in board.browser().get("/workers").text


def test_a_request_to_drain_is_told_as_requested_and_then_as_done(board: Board) -> None:
    beat(board, WorkerRecord(worker_id="w-1", concurrency=2))
    browser = board.browser()
    answer = browser.post("/drain", data={"id": "w-1"})
    assert answer.status_code == 303
    assert "Requested" in browser.get(answer.headers["location"]).text
    FleetRecords.of(board.repo).remove("w-1")
    board.services.shared.forget()
    assert "has stopped and deregistered" in browser.get(answer.headers["location"]).text


def test_the_fleet_page_tells_when_settings_differ_and_only_then(board: Board) -> None:
    own = board.settings.digest
    beat(board, WorkerRecord(worker_id="w-1", digest=own))
    beat(board, WorkerRecord(worker_id="w-old"))
    assert fleet_view(board.services).differing == ""
    assert "Settings differ" not in board.browser().get("/workers").text
    beat(board, WorkerRecord(worker_id="w-2", digest="0123456789ab"))
    assert "Settings differ: 1 worker (w-2) has digest 0123456789ab" in board.browser().get("/workers").text


def test_a_worker_cannot_name_itself_into_the_page(board: Board) -> None:
    beat(board, WorkerRecord(worker_id="<script>alert(1)</script>", host='"><img src=x>', version="{{ 7*7 }}"))
    html = board.browser().get("/workers").text
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "{{ 7*7 }}" in html


# --- schedules
MONDAY = datetime(2026, 11, 23, 12, 7, tzinfo=UTC)
EVERY_20 = Cron(minutes=frozenset({0, 20, 40}), hours=frozenset(range(6, 21)))


def test_last_fires_of_an_interval_are_counted_from_the_epoch() -> None:
    found = last_fires(Entry("a", "t", 900.0), MONDAY, 2)
    assert [f"{at:%H:%M}" for at in found] == ["12:00", "11:45"]


def test_last_fires_of_a_crontab_go_back_over_midnight() -> None:
    found = last_fires(Entry("a", "t", EVERY_20), MONDAY.replace(hour=6, minute=20), 3)
    assert [f"{at:%d %H:%M}" for at in found] == ["23 06:20", "23 06:00", "22 20:40"]


def test_what_never_fires_has_no_last_tick() -> None:
    assert last_fires(Entry("a", "t", NEVER), MONDAY, 3) == []
    assert last_fires(Entry("a", "t", None), MONDAY, 3) == []


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (900.0, "every 15 min"),
        (None, "not understood"),
        (EVERY_20, "*/20 6-20 * * *"),
        (Cron(minutes=frozenset({15}), hours=frozenset({2, 14})), "15 2,14 * * *"),
        (Cron(weekdays=frozenset(range(1, 6))), "* * * * 1-5"),
        (Cron(days=frozenset()), "* * never * *"),
    ],
)
def test_a_rhythm_is_written_as_people_write_it(when: Cron | float | None, words: str) -> None:
    assert schedules.words(Entry("a", "t", when)) == words


def test_a_schedule_that_never_fires_is_a_finding(make_board: Callable[..., Board]) -> None:
    board = make_board(schedules={"leap": ScheduleSpec(task="t", cron="0 0 31 2 *")})
    html = board.browser().get("/schedules").text
    assert html.count("its day of month, month and day of week never coincide") == 1


def test_a_clock_change_is_no_finding_where_our_beat_runs(make_board: Callable[..., Board]) -> None:
    spec = ScheduleSpec(task="t", cron="30 2 * * *", timezone="Europe/Berlin")
    board = make_board(schedules={"nightly": spec})
    found = schedules.findings(schedules.entries_of(board.settings), board.settings, frozenset())
    assert [one.check for one in found if one.subject == "nightly"] == []


def test_a_schedule_of_another_zone_says_so(make_board: Callable[..., Board]) -> None:
    spec = ScheduleSpec(task="t", cron="0 12 29 2 *", timezone="Europe/Berlin")
    html = make_board(schedules={"leap": spec}).browser().get("/schedules").text
    assert "0 12 29 2 * (Europe/Berlin)" in html
    [entry] = [one for one in schedules.entries_of(Settings(schedules={"leap": spec})) if one.name == "leap"]
    assert last_fires(entry, MONDAY, 1) == [datetime(2024, 2, 29, 11, tzinfo=UTC)]


def test_more_schedules_than_one_view_reads_are_shown_without_their_ticks(make_board: Callable[..., Board]) -> None:
    many = {f"s-{n:02}": ScheduleSpec(task="t", every=3600) for n in range(schedules.MOST + 5)}
    answer = make_board(schedules=many).browser().get("/schedules")
    assert answer.status_code == 200
    assert answer.text.count("not read: one view reads those of 40 schedules") == 6, "five, and recovery's own"


# --- reconcile
def judged(board: Board, job: Job, *, empty: frozenset[str] = frozenset()) -> list[str]:
    board.services.shared.forget()
    seen = fleet.read(board.services)
    return [one.check for one in reconcile.judge(job, seen, empty, board.settings, board.clock())]


def claimed(board: Board, worker: str = "w") -> Job:
    job = board.repo.claim_job(board.job().job_id, worker_id=worker)
    assert job is not None
    return job


def test_a_running_job_of_a_living_worker_that_says_so_fits(board: Board) -> None:
    job = claimed(board)
    board.clock.advance(100)
    beat(board, WorkerRecord(worker_id="w", jobs=(job.job_id,)))
    assert judged(board, job) == []


def test_a_running_job_whose_worker_is_gone_or_dead_does_not_fit(board: Board) -> None:
    job = claimed(board)
    beat(board, WorkerRecord(worker_id="w", jobs=(job.job_id,)))
    board.clock.advance(20)
    assert judged(board, job) == [], "it may take a while"
    board.clock.advance(60)
    assert judged(board, job) == ["worker-gone"]


def test_a_job_that_its_living_worker_does_not_run_does_not_fit(board: Board) -> None:
    job = claimed(board)
    board.clock.advance(90)
    beat(board, WorkerRecord(worker_id="w", jobs=()))
    assert judged(board, job) == ["not-run"]


def test_a_lease_that_is_over_is_told_whatever_the_worker_says(board: Board) -> None:
    job = claimed(board)
    board.clock.advance(board.settings.lease_seconds("default") + 31)
    beat(board, WorkerRecord(worker_id="w", jobs=(job.job_id,)))
    assert judged(board, job) == ["lease-over"]
    beat(board, WorkerRecord(worker_id="w", jobs=(job.job_id,), claims=(job.claim_token,)))
    assert judged(board, job) == [], "a worker of threads vouches for the claim"


def test_a_due_job_in_an_empty_queue_has_lost_its_message(board: Board) -> None:
    job = board.job()
    board.clock.advance(31)
    assert judged(board, job) == [], "its queue is not empty"
    assert judged(board, job, empty=frozenset({"default"})) == ["no-message"]


def test_a_job_that_nobody_sent_is_told_only_after_recovery_had_its_time(board: Board) -> None:
    job = replace(board.job(), dispatches=0)
    board.clock.advance(board.settings.redispatch_delay("default") - 1)
    assert judged(board, job) == []
    board.clock.advance(2)
    assert judged(board, job) == ["not-sent"]


def test_an_attempt_that_ended_twice_is_a_fault_of_ours(board: Board) -> None:
    job = claimed(board)
    ended = board.repo.reschedule(job.job_id, error="again")
    twice = replace(ended, history=ended.history * 2)
    assert "double-run" in judged(board, twice)


def test_recovery_that_is_silent_is_told(make_board: Callable[..., Board]) -> None:
    assert "does its schedule run? jobclaim recover" in make_board().browser().get("/reconcile").text


# --- errors
def test_dynamodb_that_does_not_answer_says_what_to_do(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobclaim.jobs import StoreUnavailable

    def down(*_: object) -> None:
        raise StoreUnavailable("DynamoDB did not answer for 10 s")

    monkeypatch.setattr(board.services.fleet, "pages", down)
    answer = board.browser().get("/workers")
    assert answer.status_code == 503
    assert "DynamoDB did not answer for 10 s" in answer.text
    assert "jobclaim doctor" in answer.text
    assert "Nothing was changed" in answer.text


def test_a_page_that_does_not_exist_leads_back(board: Board) -> None:
    answer = board.browser().get("/nowhere")
    assert answer.status_code == 404
    assert "Browse the jobs" in answer.text


def test_queues_of_a_setting_without_jobs_cost_no_items(board: Board) -> None:
    board.services.shared.forget()
    meter = Meter(queues.budget(board.settings))
    with metered(meter.budget) as used:
        queues.read(board.services, used)
    assert used.requests <= 3 * 2 + 4 * 3 + 1, "partitions, queues with their dead-letter queues, the fleet"


def test_a_clock_that_only_the_test_moves_is_what_pages_show(board: Board, clock: ManualClock) -> None:
    assert "Seen 2096-10-02 07:06:40Z" in re.sub(r"<[^>]+>", "", board.browser().get("/queues").text)
    assert QueueSpec(name="default") in board.settings.queues
