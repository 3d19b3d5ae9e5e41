"""The API: `def`, `async def`, threads and background tasks under uvicorn, its command line, its worker and beat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.infra.local import LocalAws
from tests.adoption.host import Host, Site, adopted_host
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

APP = "workers.celery_app"
WAYS = ("", "/async", "/thread", "/background")


@pytest.fixture(scope="module")
def api(aws: LocalAws, venv_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The adopted API, with its storage, its tables and its queues."""
    folder = tmp_path_factory.mktemp("api")
    storage = folder / "storage"
    storage.mkdir()
    own = {"API_STORAGE": str(storage), "API_TIDY_SECONDS": "2"}
    with adopted_host("fastapi_api", folder, venv_python, {**aws.environment(), **own}) as host:
        host.run("celery", "-A", APP, "jobs", "up")
        yield host


@pytest.fixture(scope="module")
def site(api: Host) -> Site:
    """The API under uvicorn."""
    started = api.serve("uvicorn", "uvicorn", "main:app", "--port", "PORT")
    started.wait_until_ready("/openapi.json")
    return started


@pytest.fixture(scope="module")
def crew(api: Host) -> dict[str, ManagedProcess]:
    """The API's workers and its beat."""
    return api.start_crew(APP, "default,images")


def wait_for_lines(api: Host, name: str, lines: list[str], worker: ManagedProcess) -> None:
    """Wait until a file of the storage has these lines, and no others."""
    file = Path(api.environment["API_STORAGE"]) / name
    wait_until(file.exists, 60, lambda: f"{name} is there\n{worker.describe()}")
    wait_until(lambda: file.read_text().splitlines() == lines, 60, lambda: f"{lines}, not {file.read_text()}")


@pytest.mark.parametrize("name", ["cat", "large"])
@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_endpoint_submits(
    api: Host, site: Site, crew: dict[str, ManagedProcess], way: str, name: str
) -> None:
    name = f"{name}{WAYS.index(way)}"
    task = site.post(f"/thumbnails/{name}{way}").get("task")
    wait_for_lines(api, f"{name}.txt", [f"{name} at 80"], crew["worker"])
    if task:
        wait_until(lambda: site.get(f"/tasks/{task}") == {"state": "SUCCESS"}, 30, crew["worker"].describe)


def test_a_plain_shared_task_runs_from_a_thread(api: Host, site: Site, crew: dict[str, ManagedProcess]) -> None:
    task = site.post("/mails/cat")["task"]
    wait_for_lines(api, "mails.txt", ["cat"], crew["worker"])
    wait_until(lambda: site.get(f"/tasks/{task}") == {"state": "SUCCESS"}, 30, crew["worker"].describe)


def test_the_projects_own_command_line_submits_and_prints_nothing_else(
    api: Host, crew: dict[str, ManagedProcess]
) -> None:
    assert len(api.run("python", "cli.py", "dog", "bird").split()) == 2
    for name in ("dog", "bird"):
        wait_for_lines(api, f"{name}.txt", [f"{name} at 80"], crew["worker"])


def test_its_own_schedule_ticks(api: Host, crew: dict[str, ManagedProcess]) -> None:
    file = Path(api.environment["API_STORAGE"]) / "tidied.txt"
    wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 2, 60, crew["beat"].describe)


@pytest.mark.parametrize("celery", [("celery",), ("python", "-m", "celery")], ids=" ".join)
def test_both_of_celerys_commands_list_the_projects_jobs(api: Host, celery: tuple[str, ...]) -> None:
    later = "from workers.images import thumbnail; print(thumbnail.apply_async(['late', 80], countdown=3600).id)"
    job_id = api.run("python", "-c", later).strip()
    assert job_id in api.run(*celery, "-A", APP, "jobs", "list", "-o", "ids").split()


def test_late_acks_are_overridden_with_one_warning(crew: dict[str, ManagedProcess]) -> None:
    lines = [line for line in crew["worker"].log().splitlines() if "config.overridden" in line]
    assert len(lines) == 1
    assert "task_acks_late" in lines[0]
