"""Dead letters in groups, and acts on a group: preview, rate, progress, every refusal."""

from __future__ import annotations

import html
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from jobclaim.cli.commands import dead
from jobclaim.cli.session import Session
from jobclaim.dashboard import Person, Role
from jobclaim.dashboard.queries.dead import Act
from jobclaim.jobs import Job, JobStatus, StoreUnavailable
from jobclaim.recovery.dead import Filter
from tests.support.waiting import wait_until
from tests.unit.dashboard.conftest import Board


def group_of(board: Board) -> str:
    """Fingerprint of the only group."""
    return board.services.letters.groups(Filter())[0].fingerprint


def until(event: threading.Event) -> Callable[[float], None]:
    """Stand for the pause between two jobs, which lasts until the test has seen enough."""

    def sleep(_: float) -> None:
        event.wait(10)

    return sleep


def test_a_group_is_shown_once_with_its_count(board: Board) -> None:
    for _ in range(3):
        board.failed()
    text = board.browser().get("/dead").text
    assert "3" in text
    assert text.count(group_of(board)) >= 1


def test_a_group_is_retried_after_a_preview(board: Board) -> None:
    jobs = [board.failed() for _ in range(3)]
    browser, mark = board.browser(), group_of(board)
    preview = browser.get("/dead/act", params={"verb": "retry", "fingerprint": mark, "kind": "PERMANENT"})
    assert preview.status_code == 200
    fields = dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', preview.text))
    answer = browser.post("/dead/act/start", data={**fields, "rate": "500", "reason": "the bank is back"})
    assert answer.status_code == 303
    page = board.finished(answer.headers["location"])
    assert "3" in page
    assert sorted(board.sent) == sorted(job.job_id for job in jobs)
    after = [board.repo.get_job(job.job_id) for job in jobs]
    assert {job.status for job in after} == {JobStatus.PENDING}
    assert {(job.decisions[-1].by, job.decisions[-1].why) for job in after} == {("ada", "the bank is back")}


def start(board: Board, **fields: str) -> str:
    """Begin an act on the only group; give the address of its page."""
    mark = fields.pop("fingerprint", "") or group_of(board)
    asked = {"verb": "retry", "fingerprint": mark, "rate": "500", **fields}
    answer = board.browser().post("/dead/act/start", data=asked)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_every_refusal_is_listed_with_its_reason(board: Board) -> None:
    jobs = [board.failed() for _ in range(3)]
    mark, real = group_of(board), board.services.letters.find

    def find(selection: Filter) -> Iterator[Job]:
        found = list(real(selection))
        board.repo.retry_job(jobs[1].job_id)  # somebody is faster, after it was read
        yield from found

    board.services.letters.find = find  # type: ignore[method-assign]
    page = board.finished(start(board, fingerprint=mark))
    assert jobs[1].job_id in page
    assert jobs[1].job_id in page
    assert "it changed meanwhile; look at it again" in page
    assert sorted(board.sent) == sorted(job.job_id for job in jobs if job is not jobs[1])


def test_a_limit_leaves_the_rest_alone(board: Board) -> None:
    jobs = [board.failed() for _ in range(5)]
    board.finished(start(board, limit="2"))
    states = [board.repo.get_job(job.job_id).status for job in jobs]
    assert states.count(JobStatus.PENDING) == 2


def test_an_operation_can_be_stopped_and_goes_on_with_the_rest(board: Board) -> None:
    jobs = [board.failed() for _ in range(3)]
    slept: list[float] = []
    go = threading.Event()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        go.wait(10)

    board.services.letters._sleep = sleep
    page = start(board, rate="0.01")
    key = dict(parse_qsl(urlsplit(page).query))["key"]
    wait_until(lambda: bool(slept), 30, lambda: "the operation is at its first job")
    assert board.browser().post("/dead/operation/stop", data={"key": key}).status_code == 303
    go.set()
    assert "stopped" in board.finished(page)
    done = [job for job in jobs if board.repo.get_job(job.job_id).status is JobStatus.PENDING]
    assert len(done) == 1
    again = dict(parse_qsl(urlsplit(page).query))
    board.finished(start(board, until=again["until"]))
    assert {board.repo.get_job(job.job_id).status for job in jobs} == {JobStatus.PENDING}


def test_the_same_act_begun_twice_is_one_operation(board: Board) -> None:
    board.failed()
    go = threading.Event()
    board.services.letters._sleep = until(go)
    first = start(board, until=str(board.clock()))
    second = start(board, until=str(board.clock()))
    go.set()
    assert first == second
    board.finished(first)


def test_a_third_operation_at_once_is_refused(board: Board) -> None:
    board.failed()
    go = threading.Event()
    board.services.letters._sleep = until(go)
    pages = [start(board, until=str(board.clock() + n)) for n in range(2)]
    asked = {"verb": "retry", "fingerprint": group_of(board), "until": str(board.clock() + 2)}
    answer = board.browser().post("/dead/act/start", data=asked)
    go.set()
    assert answer.status_code == 409
    for page in pages:
        board.finished(page)


def test_an_operation_of_a_process_that_is_gone_can_be_begun_again(board: Board) -> None:
    jobs = [board.failed() for _ in range(2)]
    mark = group_of(board)
    page = start(board, limit="1")
    board.finished(page)
    assert len(board.sent) == 1 < len(jobs)
    preview = begin_again(board, page.replace("key=", "key=0"))
    assert mark in preview
    assert 'action="/dead/act/start"' in preview


def begin_again(board: Board, page: str) -> str:
    """Follow an operation's page to the preview of what is left."""
    found = re.search(r'href="(/dead/act\?[^"]*)">Continue with the rest', board.browser().get(page).text)
    assert found is not None
    return str(board.browser().get(html.unescape(found[1])).text)


def test_what_is_begun_again_is_what_was_begun_with_its_reason(board: Board) -> None:
    board.failed()
    mark = group_of(board)
    page = start(board, verb="abandon", limit="7", rate="99", reason="it's over & done", until=str(board.clock()))
    board.finished(page)
    board.failed()
    preview = begin_again(board, page.replace("key=", "key=0"))
    fields = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)"[^>]*value="([^"]*)"', preview)}
    told = ("verb", "fingerprint", "limit", "rate", "reason", "until")
    assert [fields[name] for name in told] == ["abandon", mark, "7", "99", "it's over & done", str(board.clock())]


def test_no_link_leads_to_a_button_that_acts_before_what_it_does_is_shown(board: Board) -> None:
    jobs = [board.failed() for _ in range(3)]
    asked = {"verb": "abandon", "fingerprint": group_of(board), "limit": "10000", "rate": "500", "until": "9" * 13}
    lure = f"/dead/operation?{urlencode({'key': 'unknown', **asked})}"
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    shown = board.browser().get(lure, headers=visit)
    assert shown.status_code == 200
    assert '<form method="post"' not in shown.text
    preview = begin_again(board, lure)
    assert "Abandon 3 dead letters" in preview
    assert f'name="until" value="{board.clock()}"' in preview, "what fails later is not meant, whatever the link says"
    assert "PermanentError" in preview or "No exception" in preview
    board.person = Person("eve", Role.VIEWER)
    assert "Continue with the rest" not in board.browser().get(lure).text
    assert {board.repo.get_job(job.job_id).status for job in jobs} == {JobStatus.FAILED}


def test_what_fails_after_the_preview_is_not_taken_for_the_group(board: Board) -> None:
    board.failed()
    until = str(board.clock())
    board.clock.advance(1)
    later = board.failed()
    board.finished(start(board, until=until))
    assert board.repo.get_job(later.job_id).status is JobStatus.FAILED


def test_the_preview_gives_the_command_that_does_the_same(board: Board) -> None:
    board.failed()
    asked = {"verb": "abandon", "fingerprint": group_of(board), "kind": "PERMANENT", "reason": "it's over"}
    text = html.unescape(board.browser().get("/dead/act", params=asked).text)
    assert (
        f"jobclaim dead abandon --state WAITING --kind PERMANENT --fingerprint {group_of(board)} --failed-before 20"
        in text
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"verb": "retry", "fingerprint": "5f1c8f3e2a57", "limit": "7", "rate": "2.5", "reason": "it's over"},
        {"verb": "resolve", "state": "SCHEDULED", "task": "shop.charge", "queue": "mail"},
        {"verb": "abandon", "kind": "EXTERNAL", "exception": "requests.Timeout"},
        {"verb": "retry", "state": "RESOLVED", "task": "shop.charge"},
        {"verb": "retry", "state": "ABANDONED", "task": "shop.charge"},
    ],
)
def test_the_command_line_means_the_jobs_that_the_page_means(board: Board, asked: dict[str, str]) -> None:
    act = Act.of({**asked, "until": "1900000000123"})
    program, group, *words = shlex.split(act.cli())
    assert (program, group) == ("jobclaim", "dead")
    verb = dead.command.commands[words[0]]
    with verb.make_context(verb.name, words[1:]) as context:
        given = context.params
        session = Session()
        vars(session)["settings"] = board.settings  # cached
        meant = dead.filter_of(session, given, given["states"])
    assert meant == act.query.filter(board.clock())
    assert (verb.name, given["limit"], given["rate"], given["reason"]) == (act.verb, act.limit, act.rate, act.reason)


@pytest.mark.parametrize(
    "fields",
    [
        {"verb": "delete"},
        {"limit": "0"},
        {"limit": "nan"},
        {"limit": "10001"},
        {"rate": "0"},
        {"rate": "-1"},
        {"rate": "inf"},
        {"kind": "ODD"},
        {"state": "RETRYING"},
        {"state": "RESOLVED", "verb": "abandon"},
        {"until": "tomorrow"},
        {"reason": "x" * 201},
    ],
)
def test_an_act_that_makes_no_sense_is_refused_before_it_begins(board: Board, fields: dict[str, str]) -> None:
    job = board.failed()
    answer = board.browser().post("/dead/act/start", data={"verb": "retry", "fingerprint": "f", **fields})
    assert answer.status_code == 400
    assert board.services.operations.all() == []
    assert board.repo.get_job(job.job_id).status is JobStatus.FAILED


def test_an_act_on_everything_is_refused(board: Board) -> None:
    board.failed()
    assert board.browser().post("/dead/act/start", data={"verb": "abandon"}).status_code == 400


def test_scheduled_and_settled_dead_letters_have_tabs_of_their_own(board: Board) -> None:
    waiting = board.failed("shop.waits", error=ValueError("x"))
    scheduled = board.failed("shop.later", error=TimeoutError("x"))
    settled = board.failed("shop.over", error=ValueError("x"))
    board.services.letters.act("resolve", [settled.job_id], by="ada")
    assert str(board.repo.get_job(scheduled.job_id).dead_state) == "SCHEDULED"

    def samples(state: str) -> list[str]:
        answer = board.browser().get("/api/v1/dead", params={"state": state}).json()
        return [row["sample"] for row in answer["items"]]

    assert samples("WAITING") == [waiting.job_id]
    assert samples("SCHEDULED") == [scheduled.job_id]
    assert samples("RESOLVED") == [settled.job_id]
    assert samples("ABANDONED") == []


def test_groups_do_not_show_what_an_exception_quotes(board: Board) -> None:
    board.failed(error=ValueError("no such card: card-4111-1111"))
    assert "card-4111-1111" not in board.browser().get("/dead").text


@pytest.mark.parametrize("error", [StoreUnavailable("DynamoDB did not answer"), RuntimeError("a bug")])
def test_an_operation_that_fails_says_so_and_can_be_begun_again(
    board: Board, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.failed()
    mark = group_of(board)

    def find(_: Filter) -> Iterator[Job]:
        raise error

    monkeypatch.setattr(board.services.letters, "find", find)
    page = start(board, fingerprint=mark)
    text = board.finished(page)
    assert "start it again" in text
    assert "a bug" not in text
    assert 'action="/dead/act/start"' not in text
    assert 'action="/dead/act/start"' in begin_again(board, page)
