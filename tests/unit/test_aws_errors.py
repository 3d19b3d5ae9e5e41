"""Each AWS error says what it is and what to do, in the same words on every face; only bugs ask for a report."""

from __future__ import annotations

import html
import re
from typing import Any

import botocore.exceptions as botos
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, UnauthorizedSSOTokenError
from click.testing import CliRunner
from kombu.exceptions import OperationalError

from jobclaim.cli.errors import explain
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.infra.errors import ProvisionError, explained
from jobclaim.jobs.failures.aws_codes import DEPLOYMENT, THROTTLES
from jobclaim.jobs.failures.aws_errors import OTHER, UNREACHABLE, aws_error_in, explain_aws, trouble_of
from jobclaim.settings import Settings
from tests.unit.dashboard.conftest import Board, board, cloud, make_board

__all__ = ["board", "cloud", "make_board"]  # fixtures


def refusal(code: str, operation: str = "Query") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "because"}}, operation)


CASES = [
    (refusal("ProvisionedThroughputExceededException"), "AWS throttles the requests: it ends when the load falls"),
    (refusal("ExpiredTokenException"), "the credentials have expired: sign in again"),
    (UnauthorizedSSOTokenError(), "the credentials have expired: sign in again"),
    (refusal("AccessDeniedException"), "this identity may not do that: give its role the actions of its policy"),
    (refusal("UnrecognizedClientException"), "AWS does not know these credentials: check the credentials"),
    (refusal("RequestTimeTooSkewed"), "this machine's clock is wrong: set it"),
    (refusal("KMSAccessDeniedException"), "the encryption key .* cannot be used: enable it"),
    (refusal("ResourceNotFoundException"), "the table does not exist: create the tables with `jobclaim up`"),
    (refusal("AWS.SimpleQueueService.NonExistentQueue"), "the queue does not exist: create the queues"),
    (refusal("NoSuchBucket"), "the bucket does not exist: create it, or correct JOBCLAIM_BUCKET"),
    (EndpointConnectionError(endpoint_url="http://x"), r"cannot be reached: check the endpoint \(JOBCLAIM_ENDPOINT"),
    (NoCredentialsError(), "no usable credentials: set AWS_PROFILE"),
    (refusal("Strange"), "AWS refused the request: see the cause; `jobclaim doctor`"),
]


class Refusing:
    """A client of AWS whose every request fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            raise self.error

        return fail


@pytest.fixture
def failing(board: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    for repo in (board.repo, board.services.repo):
        monkeypatch.setattr(repo.table, "sleep", lambda _: None)
    return board


@pytest.mark.parametrize(("error", "says"), CASES, ids=lambda case: str(getattr(case, "response", type(case).__name__)))
def test_every_face_says_what_it_is_and_what_to_do(
    failing: Board, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    for repo in (failing.repo, failing.services.repo):
        monkeypatch.setattr(repo.table, "client", lambda: Refusing(error))
    session = type("Known", (Session,), {"repo": failing.repo, "settings": failing.settings})()
    by_command = CliRunner().invoke(command_line, ["list"], obj=session)
    assert by_command.exit_code == ExitCode.ERROR
    assert re.search(says, by_command.stderr), by_command.stderr
    assert (len(by_command.stderr.splitlines()), "bug" in by_command.stderr) == (1, False)
    with failing.browser() as browser:
        by_api, by_page = browser.get("/api/v1/jobs"), browser.get("/jobs")
    assert (by_api.status_code, by_page.status_code) == (503, 503)
    assert re.search(says, by_api.json()["error"]["message"])
    assert re.search(says.replace("`", ""), html.unescape(re.sub(r"<[^>]+>|`", "", by_page.text)))
    with pytest.raises(ProvisionError, match=rf"{says}.*\. Run again$"), explained(Settings(), "sqs", "Run again"):
        raise error


def test_what_no_face_catches_is_explained_all_the_same(failing: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobclaim.dashboard.queries import jobs

    def denied(*_: Any) -> None:
        raise refusal("AccessDenied", "SendMessage")

    monkeypatch.setattr(jobs, "read", denied)
    with failing.browser(raise_server_exceptions=False) as browser:
        answer = browser.get("/api/v1/jobs")
    assert answer.status_code == 503
    assert "SendMessage with AccessDenied: because; this identity may not" in answer.json()["error"]["message"]


def test_every_known_code_and_every_class_of_botocore_has_a_meaning() -> None:
    assert [code for code in THROTTLES | DEPLOYMENT if trouble_of(refusal(code)) is OTHER] == []
    no_codes = [getattr(botos, name) for name in ("UnauthorizedSSOTokenError", "SSOTokenLoadError", "ProfileNotFound")]
    assert [kind for kind in no_codes if trouble_of(kind.__new__(kind)) is UNREACHABLE] == []


def test_the_cause_counts_and_what_was_merely_handled_does_not() -> None:
    raised, handled = OperationalError("no"), ValueError("a bug")
    raised.__cause__ = refusal("ExpiredToken")
    handled.__context__ = refusal("ExpiredToken")
    assert aws_error_in(raised) is raised.__cause__
    assert aws_error_in(handled) is None
    handled.__cause__ = KeyError()
    handled.__cause__.__cause__ = handled
    assert aws_error_in(handled) is None, "a circle ends"
    assert "sign in again" in explain(raised).message
    assert "this is a bug" in explain(handled).message


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", "/run/x"), "'/run/x'; check that it exists and that you may use it"),
        (ConnectionRefusedError("refused"), "refused"),
        (OperationalError("gone"), "SQS did not answer: gone; `jobclaim doctor`"),
    ],
)
def test_what_surrounds_the_program_asks_for_no_bug_report(error: Exception, says: str) -> None:
    assert says in explain(error).message
    assert "bug" not in explain(error).message


@pytest.mark.parametrize("command", ["list", "workers", "dead list"])
def test_an_unknown_queue_is_refused_with_the_closest(failing: Board, command: str) -> None:
    session = type("Known", (Session,), {"repo": failing.repo, "settings": failing.settings})()
    result = CliRunner().invoke(command_line, [*command.split(), "-q", "mial"], obj=session)
    assert (result.exit_code, "did you mean 'mail'?" in result.stderr) == (ExitCode.ERROR, True), result.output
    assert "bug" not in result.stderr


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/dead", "/api/v1/audit", "/api/v1/queues", "/jobs"])
def test_an_unknown_name_in_a_request_is_refused_with_the_closest(failing: Board, path: str) -> None:
    with failing.browser() as browser:
        answer = browser.get(path, params={"taks": "shop.*"})
    assert answer.status_code == 400
    assert "unknown parameter 'taks'" in html.unescape(answer.text)


def test_a_misspelt_field_of_an_act_changes_nothing(failing: Board) -> None:
    job = failing.job()
    with failing.browser() as browser:
        answer = browser.post("/api/v1/act", data={"verb": "cancel", "id": job.job_id, "reson": "late"})
    assert (answer.status_code, "did you mean 'reason'?" in answer.text) == (400, True)
    assert failing.repo.get_job(job.job_id).status == "PENDING"


def test_the_words_are_one_line() -> None:
    assert "\n" not in explain_aws(ClientError({"Error": {"Code": "X", "Message": "a\n  b"}}, "Query"))


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (refusal(""), "SQS refused Query with ?: because; AWS refused the request"),
        (NoCredentialsError(), "SQS could not be asked: "),
        (EndpointConnectionError(endpoint_url="http://x"), "SQS did not answer: "),
    ],
    ids=["no code", "no credentials", "no answer"],
)
def test_an_error_is_told_by_whether_aws_answered(error: Exception, begins: str) -> None:
    assert explain_aws(error, "SQS").startswith(begins)
