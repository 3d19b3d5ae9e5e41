"""Hostile fields of jobs, and every face that shows them."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlencode

from click.testing import CliRunner
from starlette.testclient import TestClient

from jobclaim.cli.main import command_line
from jobclaim.fleet.acting import acted
from jobclaim.jobs import JobError
from jobclaim.jobs.model import Failure, FailureKind
from jobclaim.specs.visible import UNSAFE
from tests.fuzz.draw import Draw
from tests.fuzz.world import World

FORMATS = ("table", "json", "jsonl", "ids")
COMMANDS = (
    ("list", "--status", "FAILED"),
    ("list", "--status", "PENDING"),
    ("list", "--status", "CANCELLED"),
    ("dead", "list"),
    ("dead", "list", "--groups"),
    ("dead", "audit"),
)
PAGES = ("/", "/jobs", "/dead", "/queues", "/workers", "/schedules", "/api/v1/jobs", "/api/v1/dead", "/api/v1/audit")


class Unescaped(AssertionError):
    """A face wrote a character that controls it."""


def one(world: World, draw: Draw, browser: TestClient) -> str:
    """Write a job whose every text is hostile, and look at it in one face."""
    job_id = _write(world, draw)
    if draw.random.random() < 0.5:
        asked = draw.random.choice((*COMMANDS, ("show", job_id), ("show", job_id, "--payload")))
        return _command(world, draw, [*asked, "-o", draw.random.choice(FORMATS)])
    path = draw.random.choice(
        (*PAGES, f"/job?{_query(id=job_id)}", f"/api/v1/job?{_query(id=job_id)}", "/jobs?status=FAILED")
    )
    return look(browser.get(path), path)


def look(answer: Any, path: str) -> str:
    """Check an answer of the dashboard."""
    text = answer.content.decode("utf-8", "surrogateescape")
    if answer.status_code >= 500:
        raise AssertionError(f"{answer.status_code} from {path}: {text[:500]}")
    if found := UNSAFE.search(text):
        raise Unescaped(f"{found[0]!r} in the answer to {path}: {text[max(0, found.start() - 60) : found.end()]!r}")
    return path


def _write(world: World, draw: Draw) -> str:
    repo, text = world.repo, draw.text
    job_id = "missing"
    with contextlib.suppress(JobError):
        made = repo.create_job(
            text() or "fuzz.job",
            {"args": [draw.value()], "kwargs": {draw.name(): draw.value()}},
            queue="default",
            job_id=text() or None,
            idempotency_key=text() or None,
        )
        job_id = made.job_id
        with contextlib.suppress(JobError):
            acted(repo, "retry", what=text(), why=text(), by=text())
        end = draw.random.randrange(4)
        if end == 0:
            repo.cancel_job(job_id, reason=text())
        elif end < 3:
            repo.claim_job(job_id, worker_id=text() or None, celery_task_id=text() or None)
            failure = Failure(
                kind=FailureKind.PERMANENT,
                exception=text(),
                message=text(),
                traceback=text(),
                where=text(),
                fingerprint=text()[:20],
            )
            repo.update_status(job_id, "FAILED", error=failure)
    return job_id


def _command(world: World, draw: Draw, arguments: list[str]) -> str:
    done = CliRunner().invoke(
        command_line, arguments, obj=world.session, terminal_width=draw.random.choice((40, 80, 200))
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if "this is a bug: please report it" in done.output:
        raise AssertionError(f"{arguments}: {done.output[:500]}")
    if arguments[-1] != "ids" and (found := UNSAFE.search(done.output)):
        raise Unescaped(f"{found[0]!r} in the output of {arguments}: {done.output[:500]!r}")
    return " ".join(arguments)


def _query(**values: str) -> str:
    return urlencode(values, errors="surrogatepass")
