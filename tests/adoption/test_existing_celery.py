"""A plain project: its WSGI process under gthread and gevent, scripts and threads, its Task class, its log format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.infra.local import LocalAws
from tests.adoption.host import Host, Site, adopted_host
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

SERVERS = {
    "gunicorn gthread": ("gunicorn", "proj.wsgi", "-b", "127.0.0.1:PORT", "--threads", "2"),
    "gunicorn gevent, preloaded": ("gunicorn", "proj.wsgi", "-b", "127.0.0.1:PORT", "-k", "gevent", "--preload"),
}


@pytest.fixture(scope="module")
def proj(aws: LocalAws, venv_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The adopted project, with its tables and its queues."""
    folder = tmp_path_factory.mktemp("proj")
    own = {"PROJ_NOTES": str(folder / "notes.txt"), "PROJ_NOTE_SECONDS": "2"}
    with adopted_host("plain_proj", folder, venv_python, {**aws.environment(), **own}) as host:
        host.run("jobclaim", "--app", "proj", "up")
        yield host


@pytest.fixture(scope="module")
def sites(proj: Host) -> dict[str, Site]:
    """The project's web process under each server."""
    started = {name: proj.serve(name, *words) for name, words in SERVERS.items()}
    for site in started.values():
        site.wait_until_ready("/nothing")
    return started


@pytest.fixture(scope="module")
def crew(proj: Host) -> dict[str, ManagedProcess]:
    """The project's workers and its beat."""
    return proj.start_crew("proj", "default,math")


def notes(proj: Host) -> list[str]:
    file = Path(proj.environment["PROJ_NOTES"])
    return file.read_text().splitlines() if file.exists() else []


def wait_for_note(proj: Host, line: str, worker: ManagedProcess) -> None:
    wait_until(lambda: line in notes(proj), 60, lambda: f"{line!r} is among {notes(proj)}\n{worker.describe()}")


@pytest.mark.parametrize("server", SERVERS)
def test_each_server_submits_claimed_and_plain_tasks(
    proj: Host, sites: dict[str, Site], crew: dict[str, ManagedProcess], server: str
) -> None:
    site, number = sites[server], list(SERVERS).index(server) + 2
    claimed = site.post(f"/divide?x={number * 3}&y=3")["task"]
    plain = site.post(f"/mul?x={number}&y=100")["task"]
    wait_until(lambda: site.get(f"/{claimed}") == {"state": "SUCCESS"}, 60, crew["worker"].describe)
    wait_until(lambda: site.get(f"/{plain}") == {"state": "SUCCESS"}, 60, crew["worker"].describe)
    for line in (f"proj.tasks.divide succeeded: {float(number)}", f"{number} * 100 = {number * 100}"):
        wait_for_note(proj, line, crew["worker"])  # a hook comes after the state
        assert notes(proj).count(line) == 1


def test_a_script_submits_from_its_main_thread_and_from_others(proj: Host, crew: dict[str, ManagedProcess]) -> None:
    ids = proj.run("python", "submit.py").split()
    assert len(ids) == 4  # and nothing else is printed
    for line in ("proj.tasks.divide succeeded: 2.0", "proj.tasks.divide succeeded: 3.0", "6 * 7 = 42"):
        wait_for_note(proj, line, crew["worker"])


def test_a_failure_calls_the_projects_own_hook(
    proj: Host, sites: dict[str, Site], crew: dict[str, ManagedProcess]
) -> None:
    task = sites["gunicorn gthread"].post("/divide?x=1&y=0")["task"]
    wait_for_note(proj, "proj.tasks.divide failed: division by zero", crew["worker"])
    for line in (("jobclaim", "--app", "proj", "list"), ("celery", "-A", "proj", "jobs", "list")):
        assert task in proj.run(*line, "--status", "FAILED", "-o", "ids").split()


def test_its_own_schedule_ticks(proj: Host, crew: dict[str, ManagedProcess]) -> None:
    wait_until(lambda: notes(proj).count("ticked") >= 2, 60, crew["beat"].describe)


def test_its_workers_keep_its_log_format(proj: Host, sites: dict[str, Site], crew: dict[str, ManagedProcess]) -> None:
    task = sites["gunicorn gthread"].post("/divide?x=15&y=5")["task"]
    crew["worker"].wait_for_line(rf"^proj INFO jobclaim.jobs job.completed: The job completed .*{task}", 60)
    assert [line for line in crew["worker"].log().splitlines() if line.startswith("{")] == []
