"""Markup in every field that a job, a worker or an address can carry stays text, on every page."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any
from urllib.parse import quote, urljoin

import pytest

from jobclaim.jobs import Failure, FailureKind
from jobclaim.settings import ScheduleSpec
from jobclaim.specs.visible import UNSAFE
from tests.support.hostile import PROBE, SCHEME, Page, fill
from tests.support.volume import volume
from tests.unit.dashboard.conftest import Board

START = ("/", "/jobs", "/dead", "/tasks", "/queues", "/workers", "/schedules", "/reconcile", "/audit")
STATES = ("PENDING", "PROCESSING", "FAILED", "CANCELLED", "COMPLETED")
MOST = volume(250)
read = cache(Page)
"""Reads a page, once if many addresses lead to the same."""


@pytest.fixture
def hostile(make_board: Callable[..., Board]) -> Board:
    schedules: dict[str, Any] = {PROBE: ScheduleSpec(task=PROBE, every=60, args=(PROBE,), kwargs={PROBE: PROBE})}
    board = make_board(dashboard_arguments=("*",), dashboard_results=True, index_completed=True, schedules=schedules)
    board.jobs = fill(board.repo)  # type: ignore[attr-defined]
    return board


@pytest.mark.thorough
def test_no_field_becomes_markup_on_any_page_that_links_lead_to(hostile: Board) -> None:
    browser = hostile.browser()
    waiting = [*START, *(f"/jobs?status={state}" for state in STATES)]
    seen: dict[str, Page] = {}
    while waiting and len(seen) < MOST:
        address = waiting.pop(0)
        answer = browser.get(address)
        assert answer.status_code < 500, (address, answer.text)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        seen[address] = page = read(answer.text)
        assert page.wrong == [], address
        found = (urljoin(address, link).partition("#")[0] for link in page.links)
        waiting += [link for link in dict.fromkeys(found) if link not in seen and link not in waiting]
    everything = "".join(page.text for page in seen.values())
    assert everything.count(PROBE) > 30, "the probe is shown, as text"
    for job in hostile.jobs:  # type: ignore[attr-defined]
        assert any(job.job_id in page.text for page in seen.values()), job.job_id
    assert {address.partition("?")[0] for address in seen} >= {*START, "/job"}


NAMES = (
    *("status", "queue", "task", "kind", "worker", "exception", "fingerprint", "state", "id", "since", "after"),
    *("before", "order", "limit", "cursor", "asked", "verb", "key", "until", "reason", "rate", "name"),
)
PLACES = (*START, "/job", "/task", "/jobs/cancel", "/job/edit", "/submit", "/dead/act", "/dead/operation", "/nowhere")


@pytest.mark.thorough
def test_no_filter_becomes_markup(board: Board) -> None:
    browser = board.browser(raise_server_exceptions=False)
    everywhere = list(product(PLACES, NAMES))
    for path, name in random.Random(0).sample(everywhere, volume(len(everywhere))):
        answer = browser.get(path, params={name: PROBE})
        assert answer.status_code < 500, (path, name, answer.text)
        assert read(answer.text).wrong == [], (path, name)


@pytest.mark.parametrize(
    "text", [PROBE, SCHEME, "//evil.example/", "\\\\evil.example", "a\x00b", "%0d%0aX: y", "\ud800"], ids=repr
)
def test_no_address_becomes_markup_or_a_header(board: Board, text: str) -> None:
    browser = board.browser(raise_server_exceptions=False)
    value = quote(text.encode("utf-8", "surrogatepass"))
    addresses = [f"{path}?{'&'.join(f'{name}={value}' for name in NAMES)}" for path in PLACES]
    for address in (*addresses, f"/job?id={value}", f"/jobs?task={value}", f"/{value}", f"/static/{value}"):
        answer = browser.get(address)
        assert answer.status_code < 500, (address, answer.text)
        assert read(answer.text).wrong == [], address
        assert "X" not in answer.headers


@pytest.mark.parametrize("path", ["/act", "/drain", "/dead/act/start", "/dead/operation/stop"])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"verb": PROBE, "id": PROBE},
        {"verb": "retry", "id": ""},
        {"verb": "retry", "id": "a\x1fb"},
        {"verb": "retry", "id": "x" * 5000, "reason": PROBE},
        {"verb": "cancel", "id": PROBE, "reason": PROBE * 20},
        {"verb": "__class__", "id": "a", "key": PROBE},
        {"verb": "retry", "kind": "PERMANENT", "limit": "-1", "rate": "nan", "until": "x"},
        {"verb": "retry", "kind": "PERMANENT", "limit": "9" * 400, "rate": "1e999", "until": "9" * 400},
    ],
    ids=range(9),
)
def test_a_hostile_form_is_refused_in_words_and_changes_nothing(board: Board, path: str, form: dict[str, str]) -> None:
    job = board.failed()
    answer = board.browser(raise_server_exceptions=False).post(path, data=form)
    assert answer.status_code < 500, answer.text
    assert board.repo.get_job(job.job_id).status == "FAILED"
    assert read(answer.text).wrong == []
    leads_to = answer.headers.get("location", "/")
    assert leads_to.startswith("/")
    assert not leads_to.startswith("//")


def test_a_redirect_after_a_form_stays_here(board: Board) -> None:
    browser = board.browser(raise_server_exceptions=False)
    for worker in ("//evil.example", "https://evil.example", "\\\\evil.example"):
        answer = browser.post("/drain", data={"id": worker})
        location = answer.headers.get("location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


CONTROLS = "".join(("\x9b31m", "\x85", "\u202e", "\u2066", "\u200f", "\u061c", "\u2028"))


def test_no_page_and_no_record_holds_a_control_character_or_one_that_turns_the_text(
    make_board: Callable[..., Board],
) -> None:
    board = make_board(dashboard_arguments=("*",), dashboard_results=True, index_completed=True)
    message = f"\x1b]52;c;YQ==\x07{CONTROLS}"
    failure = Failure(kind=FailureKind.PERMANENT, exception=CONTROLS, message=message, traceback=CONTROLS)
    job = board.job(f"shop.{CONTROLS}", payload={"args": ["\x1b[8m"], "kwargs": {CONTROLS: CONTROLS}})
    board.repo.claim_job(job.job_id, worker_id=CONTROLS)
    board.repo.update_status(job.job_id, "FAILED", error=failure)
    browser = board.browser()
    shown = 0
    pages = (*START, *(f"/jobs?status={state}" for state in STATES), f"/job?id={job.job_id}", f"/jobs?task={CONTROLS}")
    for address in (*pages, f"/api/v1/job?id={job.job_id}", "/api/v1/jobs?status=FAILED", f"/api/v1/job?id={CONTROLS}"):
        text = browser.get(address).content.decode()
        assert UNSAFE.search(text) is None, address
        shown += text.count("\\u202e")
    assert shown > 5
