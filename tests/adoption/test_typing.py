"""A user's program under mypy's strict rules, against what the wheel installs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.adoption.building import CommandFailed, clean_environment, run

PROGRAM = '''\
"""A program as a user writes it."""

from celery import Celery, shared_task

import jobclaim
from jobclaim import SKIPPED, Job, JobRepo, JobStatus, JobTask, QueueSpec, RetryPolicy, Settings, TaskSpec

settings = Settings(
    queue_prefix="shop-",
    queues=(QueueSpec(name="default"), QueueSpec(name="mail", soft_limit=20, hard_limit=30)),
    tasks={"shop.greet": TaskSpec(queue="mail")},
)
app = Celery("shop")
handle = jobclaim.install(app, settings)
repo: JobRepo = handle.repo


@shared_task(base=JobTask, name="shop.greet")  # type: ignore[untyped-decorator]  # Celery's own
def greet(name: str) -> str:
    """Greet."""
    return f"Hello {name}"


@shared_task(name="shop.plain")  # type: ignore[untyped-decorator]
def plain(job_id: str) -> dict[str, str]:
    """Claim by hand."""
    job: Job | None = repo.claim_job(job_id)
    if job is None:
        return dict(SKIPPED)
    done: Job = repo.update_status(job_id, JobStatus.COMPLETED, result={"name": "Ada"})
    return {"status": done.status}


def failed() -> list[str]:
    """Name failed jobs."""
    return [job.job_id for job in repo.list_jobs(JobStatus.FAILED, limit=10).jobs]


policy = RetryPolicy()
'''
CONFIG = """\
[mypy]
strict = True
[mypy-celery.*]
ignore_missing_imports = True
follow_untyped_imports = False
"""


WRONG = {
    "Settings(queue_prefx='shop-')": "queue_prefx",
    "Settings(max_tasks_per_child='many')": "max_tasks_per_child",
    "QueueSpec(name='mail', hard_limt=30)": "hard_limt",
    "TaskSpec(queue='mail', critcal=True)": "critcal",
    "repo.claim_job(7)": "claim_job",
    "jobclaim.instal(app)": "instal",
}
"""Mistakes, and what the complaint about each names."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder, whose mypy remembers what it has read."""
    made: Path = tmp_path_factory.mktemp("typed")
    (made / "mypy.ini").write_text(CONFIG)
    return made


def checked(folder: Path, python: Path, program: str) -> str:
    (folder / "program.py").write_text(program)
    words = [str(python.parent / "mypy"), "--python-executable", str(python), "program.py"]
    return run(words, cwd=folder, env=clean_environment(), timeout=110)


def test_a_users_program_passes_mypy_strict(folder: Path, venv_python: Path) -> None:
    """Takes 15 s: mypy reads jobclaim and Celery from the beginning, as it does for a user the first time."""
    assert "no issues found" in checked(folder, venv_python, PROGRAM)


def test_each_wrong_argument_is_an_error_in_its_line(folder: Path, venv_python: Path) -> None:
    with pytest.raises(CommandFailed) as failed:
        checked(folder, venv_python, PROGRAM + "\n".join(WRONG))
    first = len(PROGRAM.splitlines()) + 1
    for number, named in enumerate(WRONG.values(), first):
        assert re.search(rf"^program\.py:{number}: error: .*{named}", str(failed.value), re.MULTILINE), named
    assert "Found 6 errors" in str(failed.value)
