"""What a page says when it cannot be shown: what is the matter, whether anything was changed, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from jobclaim.dashboard import Person, Role, create_app
from jobclaim.jobs import IllegalTransition, InvalidInput, StoreUnavailable
from tests.unit.dashboard.conftest import Board

FAILURES = {
    "403": HTTPException(403, "retrying needs the role operator"),
    "404": HTTPException(404),
    "409": IllegalTransition("job 'a' is COMPLETED; only a FAILED job can be retried"),
    "400": InvalidInput("limit='x' must be a number"),
    "413": HTTPException(413, "the form is too large"),
    "500": ZeroDivisionError("secret inner text"),
    "503": StoreUnavailable("DynamoDB did not answer for 10 s; run `jobclaim doctor`"),
}


@pytest.fixture
def browser(board: Board) -> Iterator[TestClient]:
    """A browser on a dashboard with a page for each failure."""
    app = create_app(board.settings, services=board.services, access=lambda scope: Person("eve", Role.VIEWER))

    def fail(request: Request) -> Response:
        raise FAILURES[request.path_params["status"]]

    app.router.routes.append(Route("/fail/{status}", fail, name="fail"))
    with TestClient(app, base_url="http://127.0.0.1:8484", raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("403", "You are eve, viewer. Retry, cancel, drain, resolve and abandon need the role operator"),
        ("404", "A job is deleted when its retention has passed: 7 days after it completed, 30 after it failed."),
        ("409", "Another person, or recovery, acted first. Nothing was written."),
        ("400", "must be a number"),
        ("413", "Act on a group instead of on a list of ids"),
        ("500", "This is an error of the dashboard, not of your jobs; nothing was changed."),
        ("503", "Nothing was changed, and jobs continue to run: workers do not need the dashboard."),
    ],
)
def test_an_error_page_says_what_to_do(browser: TestClient, status: str, says: str) -> None:
    answer = browser.get(f"/fail/{status}")
    assert answer.status_code == int(status)
    assert says in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text))
    assert '<nav aria-label="Pages">' in answer.text, "one can go on from here"


def test_an_unexpected_failure_tells_the_log_and_not_the_page(browser: TestClient) -> None:
    html = browser.get("/fail/500").text
    assert "secret inner text" not in html
    assert "ZeroDivisionError" in html


def test_a_command_in_a_message_is_shown_as_one(browser: TestClient) -> None:
    assert "run <code>jobclaim doctor</code>" in browser.get("/fail/503").text
