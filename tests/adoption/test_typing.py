"""A user's program under mypy's strict rules, against what the wheel installs: an unknown setting is an error there."""

from __future__ import annotations

import os
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
MISSPELT = """\
from typing_extensions import assert_type

import jobclaim
from jobclaim import Job, JobRepo, QueueSpec, ScheduleSpec, Settings, TaskSpec
from jobclaim.settings import DashboardUser, DeadLetterRule, WorkerGroup

settings = Settings(
    region="eu-west-1",
    max_attempts=2,
    queues=(QueueSpec(name="default", sla_seconds=2),),
    tasks={"shop.*": TaskSpec(critical=True, dead_letters={"EXTERNAL": DeadLetterRule(retries=1)})},
    schedules={"often": ScheduleSpec(task="shop.look", every=60)},
    worker_groups={"all": WorkerGroup(queues=("default",))},
)
assert_type(jobclaim.Settings(), Settings)
assert_type(settings.digest, str)
assert_type(JobRepo.from_settings(settings).get_job("a"), Job)

Settings(regon="x")  # expect: "regon" for "Settings"; did you mean "region"
Settings(queues=(QueueSpec(name="default", sla_second=2),))  # expect: "sla_second" for "QueueSpec"
QueueSpec()  # expect: Missing named argument "name"
TaskSpec(quue="mail")  # expect: "quue" for "TaskSpec"; did you mean "queue"
ScheduleSpec(task="shop.look", evry=60)  # expect: "evry" for "ScheduleSpec"; did you mean "every"
WorkerGroup(queues=("default",), cpus=512)  # expect: "cpus" for "WorkerGroup"; did you mean "cpu"
DashboardUser(passwrd="x")  # expect: "passwrd" for "DashboardUser"
settings.regon  # expect: "Settings" has no attribute "regon"
jobclaim.Setings  # expect: Module has no attribute "Setings"
"""
"""Settings as they are written, and mistakes with what is said of each."""
PLUGIN = "plugins = pydantic.mypy\n"
UNREAD = "[mypy-botocore.*,boto3.*,celery.*,kombu.*]\nfollow_imports = skip\n"
"""For a second reading from the beginning: what settings are not made of."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder, whose mypy remembers what it has read."""
    made: Path = tmp_path_factory.mktemp("typed")
    (made / "mypy.ini").write_text(CONFIG)
    return made


def checked(folder: Path, python: Path, program: str, *options: str) -> str:
    (folder / "program.py").write_text(program)
    words = [str(python.parent / "mypy"), *options, "--python-executable", str(python), "program.py"]
    return run(words, cwd=folder, env=clean_environment(), timeout=500)


def refused(folder: Path, python: Path, program: str, *options: str) -> str:
    with pytest.raises(CommandFailed) as failed:
        checked(folder, python, program, *options)
    return str(failed.value)


def test_a_users_program_passes_mypy_strict(folder: Path, venv_python: Path) -> None:
    """Takes 15 s: mypy reads jobclaim and Celery from the beginning, as it does for a user the first time."""
    assert "no issues found" in checked(folder, venv_python, PROGRAM)


def test_each_wrong_argument_is_an_error_in_its_line(folder: Path, venv_python: Path) -> None:
    said = refused(folder, venv_python, PROGRAM + "\n".join(WRONG))
    first = len(PROGRAM.splitlines()) + 1
    for number, named in enumerate(WRONG.values(), first):
        assert re.search(rf"^program\.py:{number}: error: .*{named}", said, re.MULTILINE), named
    assert "Found 6 errors" in said


@pytest.mark.parametrize("plugin", ["", PLUGIN], ids=["without pydantic's plugin", "with pydantic's plugin"])
def test_what_a_user_misspells_is_an_error_and_nothing_else_is(
    folder: Path, venv_python: Path, tmp_path: Path, plugin: str
) -> None:
    if plugin:
        folder = tmp_path
        (folder / "mypy.ini").write_text(CONFIG.replace("[mypy]\n", f"[mypy]\n{plugin}") + UNREAD)
    output = refused(folder, venv_python, MISSPELT)
    said = dict(re.findall(r"^program\.py:(\d+): error: (.*)$", output, re.MULTILINE))
    expected = {
        str(number): line.split("# expect: ")[1]
        for number, line in enumerate(MISSPELT.splitlines(), 1)
        if "# expect: " in line
    }

    assert {line: words for line, words in expected.items() if words not in said.get(line, "")} == {}, said
    assert set(said) == set(expected), said
    assert "untyped" not in "".join(said.values()), "py.typed was not seen"


def test_without_py_typed_the_program_would_not_be_checked(folder: Path, venv_python: Path) -> None:
    (marker,) = venv_python.parents[1].glob("lib/python*/site-packages/jobclaim/py.typed")
    marker.unlink()
    try:
        said = refused(folder, venv_python, MISSPELT, "--cache-dir", os.devnull)
    finally:
        marker.touch()
    assert "missing library stubs or py.typed marker" in said
