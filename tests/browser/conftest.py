"""A browser, and `jobclaim dev` with a small shop's tasks for it to look at."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobclaim.jobs import JobRepo
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from tests.conftest import FAKE_AWS, required
from tests.support.browser import chromium
from tests.support.processes import ManagedProcess
from tests.support.warm import WarmProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
SHOP = {
    "JOBCLAIM_TASK_MODULES": '["tests.support.story_tasks"]',
    "JOBCLAIM_WAIT_TIME_SECONDS": "1",
    "JOBCLAIM_HEARTBEAT_SECONDS": "1",
    "JOBCLAIM_WORKER_DEAD_AFTER_SECONDS": "20",
    "JOBCLAIM_CANCEL_GRACE_SECONDS": "1",
    "JOBCLAIM_INDEX_COMPLETED": "true",
    "JOBCLAIM_SCHEDULES": '{"stocktaking": {"task": "shop.price", "cron": "0 3 1 1 *", "args": [3]}}',
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, for one file: while it runs, this thread can run no other event loop."""
    with required(chromium, tmp_path_factory.mktemp("chromium")) as running:
        yield running


@dataclass
class Shop:
    """A running `jobclaim dev`.

    Attributes
    ----------
    url : str
        Of the dashboard, with a slash at its end.
    app
        A Celery app of this process that submits to it.
    """

    url: str
    settings: Settings
    app: Any
    process: ManagedProcess

    @property
    def repo(self) -> JobRepo:
        """Its jobs."""
        repo: JobRepo = self.app.jobclaim.repo
        return repo


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """`jobclaim dev` as a developer starts it, and an app of this process that submits to it."""
    folder = tmp_path_factory.mktemp("shop")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "JOBCLAIM_"))}
    argv = [sys.executable, "-m", "jobclaim", "dev", "--dashboard-port", "0", "--concurrency", "2"]
    env = {**clean, **FAKE_AWS, **SHOP, "PYTHONPATH": str(ROOT)}
    with (
        WarmProcess("dev", argv, log_dir=folder, env=env, cwd=folder) as process,
        pytest.MonkeyPatch.context() as patch,
    ):
        line = process.wait_for_line(r"The dashboard is at http", 60)
        process.wait_for_line(r"worker@\S+ ready", 120)
        told = dict(found.split("=", 1) for found in re.findall(r"^export (\S+)$", process.log(), re.MULTILINE))
        for name, value in {**FAKE_AWS, **SHOP, **told}.items():
            patch.setenv(name, value)
        settings = Settings()
        app = create_app(settings)
        app.set_current()
        yield Shop(re.findall(r"http://\S+/", line)[0], settings, app, process)
        app.close()
