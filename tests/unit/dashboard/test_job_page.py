"""One job's page: the evidence of every claim, what it is bound to, what can be done, and what has become of it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from jobclaim.dashboard import create_app
from jobclaim.dashboard.queries import attempts, links
from jobclaim.dashboard.queries.job import actions, notice, read
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.model import Attempt
from jobclaim.recovery import sweep
from jobclaim.workers.messages.envelope import seal
from tests.unit.dashboard.conftest import Board


def beat(board: Board, worker_id: str, *jobs: Job) -> FleetRecords:
    """Have a worker say that it lives and runs some jobs."""
    fleet = FleetRecords.of(board.repo)
    running = tuple(job.job_id for job in jobs)
    fleet.beat(
        WorkerRecord(
            worker_id=worker_id,
            seen_at=board.clock(),
            started_at=board.clock(),
            queues=("default",),
            jobs=running,
            version="1.0",
            host="h",
            pid=1,
            concurrency=2,
        )
    )
    return fleet


def text_of(board: Board, job: Job, more: str = "") -> str:
    """The page of a job, as a person reads it."""
    answer = board.browser().get(f"/job?id={job.job_id}{more}")
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def allowed(job: Job) -> set[str]:
    """What can be done about a job."""
    return {action.verb for action in actions(job) if not action.why_not}


def test_an_orphan_s_claim_is_told_with_who_held_it_until_when_and_who_ended_it(board: Board) -> None:
    job = board.job(on_orphan="fail")
    claim = board.repo.claim_job(job.job_id, worker_id="worker-7")
    assert claim is not None
    board.clock.advance((claim.lease_expires_at - board.clock()) / 1000 + 30)
    sweep(board.repo, send=lambda job, delay: None)
    held = read(board.services, job.job_id)[1].attempts
    assert [(one.worker_id, one.lease_expires_at, one.ended_by) for one in held] == [
        ("worker-7", claim.lease_expires_at, "recovery")
    ]
    assert held[0].recovered
    assert "30 s after its lease had ended" in held[0].story
    assert "worker-7" in text_of(board, job)


def test_an_orphan_of_a_dead_worker_ended_before_its_lease() -> None:
    attempt = Attempt(
        attempt=1, outcome="orphan-fail", worker_id="w", claimed_at=1_000, lease_expires_at=9_000, ended_at=5_000
    )
    job = Job(job_id="j", task="t", queue="q", status=JobStatus.FAILED, attempt=1, claimed_at=1_000, history=(attempt,))
    (held,) = attempts.attempts(job, 10_000)
    assert not held.lease_over
    assert "because worker" in held.story
    assert held.held_ms == 4_000


def test_a_running_attempt_is_told_beside_the_ended_ones(board: Board) -> None:
    job = board.job(max_attempts=3)
    board.repo.claim_job(job.job_id, worker_id="worker-1")
    board.repo.reschedule(job.job_id, error=ValueError("once more"))
    board.repo.claim_job(job.job_id, worker_id="worker-2")
    held = read(board.services, job.job_id)[1].attempts
    assert [(one.number, one.worker_id, one.outcome, one.running) for one in held] == [
        (1, "worker-1", "retry", False),
        (2, "worker-2", "running", True),
    ]


def test_a_completed_attempt_is_told(board: Board) -> None:
    job = board.job()
    board.repo.claim_job(job.job_id, worker_id="worker-1")
    board.clock.advance(2)
    board.repo.update_status(job.job_id, "COMPLETED", result=1)
    (held,) = read(board.services, job.job_id)[1].attempts
    assert (held.outcome, held.ended_by, held.held_ms) == ("complete", "its own worker", 2_000)


def test_a_chain_can_be_followed_in_both_directions(board: Board) -> None:
    second = board.job("shop.pack")
    envelope = seal(
        {
            "root_id": "root-1",
            "parent_id": "parent-1",
            "chain": [
                {"task": "shop.send", "options": {"task_id": "third-1"}},
                {"task": "shop.pack", "options": {"task_id": second.job_id}},
            ],
            "link_error": [{"task": "shop.alarm", "options": {"task_id": "alarm-1"}}],
        }
    )
    job = board.job(envelope=envelope)
    found = read(board.services, job.job_id)[1].links
    assert [(link.relation, link.job_id, link.status) for link in (*found.before, *found.after)] == [
        ("root", "root-1", ""),
        ("parent", "parent-1", ""),
        ("next", second.job_id, "PENDING"),
        ("later", "third-1", ""),
        ("on failure", "alarm-1", ""),
    ]
    assert f"/job?id={second.job_id}" in text_of(board, job)


@pytest.mark.parametrize("envelope", ["not json", "z:broken", "[1, 2]", '{"chain": 5, "link": {"options": 7}}'])
def test_links_that_cannot_be_read_do_not_hide_the_job(board: Board, envelope: str) -> None:
    job = board.job(envelope=envelope)
    assert job.job_id in text_of(board, job)


def test_many_links_cost_one_bounded_read(board: Board) -> None:
    steps = [{"task": "shop.pack", "options": {"task_id": f"step-{n}"}} for n in range(500)]
    job = board.job(envelope=seal({"chain": steps}))
    assert len(links.links_of(job).job_ids()) == links.MOST
    assert job.job_id in text_of(board, job)


def test_what_can_be_done_follows_the_state(board: Board) -> None:
    waiting, failed = board.job(), board.failed()
    settled = board.failed()
    board.services.letters.act("resolve", [settled.job_id], by="ada")
    done = board.job()
    board.repo.claim_job(done.job_id)
    by_hand = board.repo.get_job(done.job_id)
    board.repo.update_status(done.job_id, "COMPLETED")
    assert allowed(board.repo.get_job(waiting.job_id)) == {"cancel"}
    assert allowed(board.repo.get_job(failed.job_id)) == {"retry", "resolve", "abandon"}
    assert allowed(board.repo.get_job(settled.job_id)) == {"retry"}
    assert allowed(board.repo.get_job(done.job_id)) == set()
    assert allowed(by_hand) == set()


def test_every_action_has_its_command(board: Board) -> None:
    job = board.failed(job_id="it's; rm -rf")
    assert [action.cli for action in actions(job)] == [
        """jobclaim retry 'it'"'"'s; rm -rf'""",
        """jobclaim cancel 'it'"'"'s; rm -rf'""",
        """jobclaim dead resolve 'it'"'"'s; rm -rf'""",
        """jobclaim dead abandon 'it'"'"'s; rm -rf'""",
    ]


def test_a_request_to_cancel_is_called_requested_until_the_job_says_cancelled(board: Board) -> None:
    job = board.job()
    board.repo.claim_job(job.job_id, worker_id="worker-1")
    fleet = beat(board, "worker-1", job)
    answer = board.browser().post("/act", data={"verb": "cancel", "id": job.job_id, "reason": "sent twice"})
    assert answer.status_code == 303
    page = answer.headers["location"]
    assert "Requested: worker-1 reads it" in html.unescape(board.browser().get(page).text)
    fleet.beat(WorkerRecord(worker_id="worker-1", seen_at=board.clock(), jobs=(job.job_id,)), done=[job.job_id])
    assert "worker-1 has read it" in html.unescape(board.browser().get(page).text)
    board.repo.update_status(job.job_id, "CANCELLED", error="cancelled by ada: sent twice")
    assert "Done: it is cancelled" in html.unescape(board.browser().get(page).text)


def test_a_job_that_ends_before_it_is_cancelled_is_not_called_cancelled(board: Board) -> None:
    job = board.job()
    board.repo.claim_job(job.job_id, worker_id="worker-1")
    beat(board, "worker-1", job)
    board.browser().post("/act", data={"verb": "cancel", "id": job.job_id})
    board.repo.update_status(job.job_id, "COMPLETED", result=1)
    assert "Not cancelled: it was COMPLETED" in text_of(board, job, "&asked=cancel")


def test_a_retry_is_done_when_the_job_completed(board: Board) -> None:
    job = board.failed()
    page = board.browser().post("/act", data={"verb": "retry", "id": job.job_id}).headers["location"]
    assert "Requested: it is PENDING again" in html.unescape(board.browser().get(page).text)
    assert board.sent == [job.job_id]
    board.repo.claim_job(job.job_id, worker_id="worker-2")
    assert "attempt 1 of 3 runs in worker-2" in html.unescape(board.browser().get(page).text)
    board.repo.update_status(job.job_id, "COMPLETED", result=1)
    assert "Done: it was retried and completed" in html.unescape(board.browser().get(page).text)


def test_a_hold_is_shown_as_a_hold_with_what_to_do_and_what_is_charged(board: Board) -> None:
    job, secret = board.job(), board.job()
    for one, held, why in ((job, "rate-limit", "the rate limit of 1/m is used up"), (secret, "snooze", "no 4711 yet")):
        board.repo.claim_job(one.job_id, worker_id="worker-1")
        board.repo.release(one.job_id, reason=why, held=held, started=False)
    shown = text_of(board, job)
    assert "Held by its rate limit: the rate limit of 1/m is used up. A higher <code>rate_limit</code>" in shown
    assert "0 of 3 charged, 1 claimed" in shown
    assert "Last failure" not in shown
    assert "Snoozed by its task: [hidden]" in text_of(board, secret), "a body's own words may hold what is secret"
    listed = html.unescape(board.browser().get("/jobs").text)
    assert "held by its rate limit" in listed
    assert '0<span class="muted"> of 3</span>' in listed


def test_a_notice_about_no_verb_says_nothing(board: Board) -> None:
    job, seen = read(board.services, board.job().job_id)
    assert notice("<script>", job, seen) is None


def test_what_settings_hide_is_hidden_and_the_page_says_how_to_see_it(board: Board) -> None:
    job = board.failed(
        payload={"args": ["tok_1"], "kwargs": {"card": "card-4111-1111"}}, error=ValueError("no card-4111-1111")
    )
    text = text_of(board, job)
    assert "tok_1" not in text
    assert "card-4111-1111" not in text
    assert "JOBCLAIM_DASHBOARD_ARGUMENTS" in text
    assert "JOBCLAIM_DASHBOARD_RESULTS" in text


def test_names_that_settings_allow_are_shown_and_no_others(make_board: Callable[..., Board]) -> None:
    board = make_board(dashboard_arguments=("currency",), dashboard_results=True)
    job = board.failed(
        payload={"args": ["tok_1"], "kwargs": {"card": "card-4111-1111", "currency": "EUR"}},
        error=ValueError("declined"),
    )
    text = text_of(board, job)
    assert "EUR" in text
    assert "declined" in text
    assert "tok_1" not in text
    assert "card-4111-1111" not in text


def test_everything_is_shown_by_a_star(make_board: Callable[..., Board]) -> None:
    board = make_board(dashboard_arguments=("*",), dashboard_results=True)
    assert "tok_1" in text_of(board, board.job(payload={"args": ["tok_1"], "kwargs": {}}))


@pytest.mark.parametrize("job_id", ["a/b", "../etc", "a b", "ä&=?#%", "..", "'\"<b>"])
def test_any_id_can_be_looked_at_and_acted_on(board: Board, job_id: str) -> None:
    board.failed(job_id=job_id)
    browser = board.browser()
    assert browser.get("/job", params={"id": job_id}).status_code == 200
    answer = browser.post("/act", data={"verb": "resolve", "id": job_id})
    assert answer.status_code == 303
    assert "Done: it is RESOLVED" in html.unescape(browser.get(answer.headers["location"]).text)


@pytest.mark.parametrize(("job_id", "status"), [("no-such-job", 404), ("", 400), ("x" * 2000, 400), ("a\x1fb", 400)])
def test_no_such_job_is_said_plainly(board: Board, job_id: str, status: int) -> None:
    assert board.browser().get("/job", params={"id": job_id}).status_code == status


def test_a_key_leads_to_all_jobs_that_had_it(board: Board) -> None:
    job = board.job(idempotency_key="order-4711")
    text = html.unescape(board.browser().get("/job", params={"id": job.job_id}).text)
    link = re.search(r'href="(/jobs\?idempotency_key=order-4711[^"]*status=COMPLETED[^"]*)"', text)
    assert link is not None
    assert job.job_id in board.browser().get(link[1]).text


def test_a_hook_masks_what_settings_would_show(make_board: Callable[..., Board]) -> None:
    board = make_board(dashboard_arguments=("*",), dashboard_results=True)
    job = board.failed(payload={"args": [], "kwargs": {"iban": "DE89"}}, error=ValueError("DE89"))

    def mask(job: Job) -> Job:
        assert job.failure is not None
        failure = replace(job.failure, message="masked", traceback="")
        return replace(job, payload={"iban": "masked"}, failure=failure, history=())

    app = create_app(board.settings, services=board.services, access=lambda _: board.person, redact=mask)
    browser = TestClient(app, base_url="http://127.0.0.1")
    for path in (f"/job?id={job.job_id}", f"/api/v1/job?id={job.job_id}", "/api/v1/jobs?status=FAILED", "/dead"):
        text = browser.get(path).text
        assert "masked" in text
        assert "DE89" not in text


def test_cancelling_a_link_of_a_chain_tells_the_rest_through_the_dashboard_s_own_app(board: Board) -> None:
    job = board.job(envelope=seal({"chain": [{"task": "shop.pack", "options": {"task_id": "step-2"}}]}))
    board.browser().post("/act", data={"verb": "cancel", "id": job.job_id})
    (told,) = board.sent
    assert told.startswith(f"{job.job_id}.told.")


@pytest.mark.parametrize(("results", "key"), [(True, "id=<7>"), (False, "[hidden]")])
def test_effects_are_shown_by_kind_and_table_and_their_keys_where_results_are(
    board: Board, results: bool, key: str
) -> None:
    job = board.job()
    board.repo.claim_job(job.job_id)
    board.repo.update_status(job.job_id, "COMPLETED")
    board.repo.table.client().update_item(
        TableName=board.settings.job_table,
        Key={"job_id": {"S": job.job_id}},
        UpdateExpression="SET effects = :made",
        ExpressionAttributeValues={":made": {"S": '2:ab [["put","ledger","id=<7>"]]'}},
    )
    settings = board.settings.model_copy(update={"dashboard_results": results})
    app = create_app(settings, services=replace(board.services, settings=settings), access=lambda scope: board.person)
    page = TestClient(app, base_url="http://127.0.0.1:8484").get(f"/job?id={job.job_id}").text
    assert "2 written with its completion; the first 1 are shown" in page
    assert f'<td data-label="Key" class="mono break">{html.escape(key)}</td>' in page
