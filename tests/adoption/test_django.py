"""The shop: views of every kind under every kind of server, claimed and plain tasks, its own schedule and results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.infra.local import LocalAws
from tests.adoption.host import Host, Site, adopted_host
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

SERVERS = {
    "uvicorn": ("uvicorn", "shop.asgi:application", "--port", "PORT"),
    "gunicorn sync": ("gunicorn", "shop.wsgi", "-b", "127.0.0.1:PORT"),
    "gunicorn gthread, preloaded": ("gunicorn", "shop.wsgi", "-b", "127.0.0.1:PORT", "--threads", "4", "--preload"),
    "gunicorn gevent": ("gunicorn", "shop.wsgi", "-b", "127.0.0.1:PORT", "-k", "gevent"),
}
PLAIN = ("", "on-commit/", "callback/")
ASYNC = ("async/", "async-thread/")
WAYS = {name: PLAIN if name == "gunicorn gevent" else PLAIN + ASYNC for name in SERVERS}
"""Django refuses its database under gevent to async views: all greenlets of a thread are in its event loop."""
LATER = "from jobs.tasks import screen; print(screen.apply_async([0], countdown=3600).id)"


@pytest.fixture(scope="module")
def shop(aws: LocalAws, venv_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The adopted shop, with its database, its tables and its queues."""
    folder = tmp_path_factory.mktemp("shop")
    own = {"SHOP_DATABASE": str(folder / "shop.sqlite3"), "SHOP_FIGURES_SECONDS": "2"}
    with adopted_host("django_shop", folder, venv_python, {**aws.environment(), **own}) as host:
        host.run("python", "manage.py", "migrate", "--verbosity", "0")
        host.run("celery", "-A", "shop", "jobs", "up")
        yield host


@pytest.fixture(scope="module")
def sites(shop: Host) -> dict[str, Site]:
    """The shop under each server."""
    started = {name: shop.serve(name, *words) for name, words in SERVERS.items()}
    for site in started.values():
        site.wait_until_ready("/dashboard/figures/")
    return started


@pytest.fixture(scope="module")
def crew(shop: Host) -> dict[str, ManagedProcess]:
    """The shop's workers and its beat."""
    return shop.start_crew("shop", "default,mail")


@pytest.mark.parametrize("server", SERVERS)
def test_every_kind_of_view_submits_under_every_server(
    sites: dict[str, Site], crew: dict[str, ManagedProcess], server: str
) -> None:
    site = sites[server]
    applications = {way: site.post(f"/jobs/apply/{way}", name="Ada")["application"] for way in WAYS[server]}

    def states() -> dict[str, object]:
        return {way: site.get(f"/jobs/{application}/") for way, application in applications.items()}

    done = {"screenings": 1, "receipts": 1}
    wait_until(
        lambda: all(state == done for state in states().values()),
        60,
        lambda: f"each is screened and thanked once: {states()}\n{crew['worker'].describe()}",
        poll=0.3,
    )


def test_a_plain_tasks_result_stays_in_the_shops_own_backend(
    shop: Host, sites: dict[str, Site], crew: dict[str, ManagedProcess]
) -> None:
    site = sites["uvicorn"]
    task = site.post("/dashboard/figures/refresh/")["task"]
    wait_until(lambda: site.get(f"/dashboard/figures/{task}/") == {"state": "SUCCESS"}, 60, crew["worker"].describe)
    look = (
        f"from django_celery_results.models import TaskResult; print(TaskResult.objects.get(task_id={task!r}).status)"
    )
    assert shop.run("python", "manage.py", "shell", "--no-imports", "-c", look) == "SUCCESS\n"


def test_the_shops_own_schedule_ticks(sites: dict[str, Site], crew: dict[str, ManagedProcess]) -> None:
    site = sites["gunicorn sync"]
    before = site.get("/dashboard/figures/")["figures"]
    wait_until(lambda: site.get("/dashboard/figures/")["figures"] >= before + 2, 60, crew["beat"].describe, poll=0.3)


def test_the_command_line_sees_a_job_that_a_script_submits(shop: Host) -> None:
    job_id = shop.run("python", "manage.py", "shell", "--no-imports", "-c", LATER).strip()
    assert len(job_id.split()) == 1  # and nothing else is printed
    assert job_id in shop.run("celery", "-A", "shop", "jobs", "list", "-o", "ids").split()


def test_recovery_runs_by_itself_too(shop: Host) -> None:
    shop.start("recover", "celery", "-A", "shop", "jobs", "recover", "--every", "60", ready='"examined"')


def test_what_is_overridden_is_one_warning_that_names_it(crew: dict[str, ManagedProcess]) -> None:
    lines = [line for line in crew["worker"].log().splitlines() if "config.overridden" in line]
    assert len(lines) == 1
    assert "visibility_timeout" in lines[0]
    assert "7200" in lines[0]
