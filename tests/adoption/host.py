"""One sample project, copied, adopted and run as its own team would run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from tests.adoption.building import clean_environment, run
from tests.adoption.diffs import HOSTS
from tests.support.endpoints import LOOPBACK, free_port
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_until

READY = r"celery@\S+ ready"
DIRECT = build_opener(ProxyHandler({}))


@dataclass
class Host:
    """A sample project in a folder of its own, with a venv of its own.

    Attributes
    ----------
    folder : Path
        The project's folder, where its commands are typed.
    python : Path
        The venv's interpreter.
    environment : dict
        What the project's processes get.
    """

    folder: Path
    python: Path
    environment: dict[str, str]
    log_dir: Path
    _exits: ExitStack = field(default_factory=ExitStack)

    def run(self, *words: str, timeout: float = 500) -> str:
        """Run one of the venv's programs to its end; give its standard output."""
        return run([self.python.parent / words[0], *words[1:]], cwd=self.folder, env=self.environment, timeout=timeout)

    def start(self, name: str, *words: str, ready: str | None = None) -> ManagedProcess:
        """Start one of the venv's programs; it ends with the project. ``ready`` is a line to wait for."""
        argv = [str(self.python.parent / words[0]), *words[1:]]
        options: Any = {"log_dir": self.log_dir, "env": self.environment, "cwd": self.folder}
        process = ManagedProcess(name, argv, **options, stop_seconds=0)  # nobody asks what it leaves
        self._exits.enter_context(process)
        if ready:
            process.wait_for_line(ready, 120)
        return process

    def start_crew(self, app: str, queues: str) -> dict[str, ManagedProcess]:
        """Start what the guides name, all at once: a worker on the project's queues, one on recovery's, and a beat."""
        lines = {
            "worker": (READY, "worker", "--loglevel", "INFO", "-Q", queues, "-c", "2"),
            "recovery": (READY, "worker", "--loglevel", "INFO", "-Q", "recovery", "-c", "1"),
            "beat": ("beat: Starting", "beat", "--loglevel", "INFO"),
        }
        crew = {name: self.start(name, "celery", "-A", app, *words) for name, (_, *words) in lines.items()}
        for name, (ready, *_) in lines.items():
            crew[name].wait_for_line(ready, 120)
        return crew

    def serve(self, name: str, *words: str) -> Site:
        """Start a web server of the venv on a free port; ``PORT`` in its words is replaced."""
        port = str(free_port())
        return Site(f"http://{LOOPBACK}:{port}", self.start(name, *(word.replace("PORT", port) for word in words)))


@dataclass(frozen=True)
class Site:
    """A web process of a project."""

    url: str
    process: ManagedProcess

    def wait_until_ready(self, path: str) -> None:
        """Wait until a path is answered."""

        def answers() -> bool:
            assert self.process.running, self.process.describe()
            try:
                self.get(path)
            except URLError as error:
                return hasattr(error, "code")  # any answer is one
            return True

        wait_until(answers, 60, lambda: f"{self.url}{path} answers\n{self.process.describe()}")

    def get(self, path: str) -> Any:
        """Get JSON."""
        return self._ask(Request(self.url + path))

    def post(self, path: str, **fields: str) -> Any:
        """Post a form, get JSON."""
        return self._ask(Request(self.url + path, data=urlencode(fields).encode(), method="POST"))

    def _ask(self, request: Request) -> Any:
        with DIRECT.open(request, timeout=30) as answer:
            return json.load(answer)


def copy_host(name: str, folder: Path, *, adopted: bool) -> Path:
    """Copy a sample project, as it was before or as its diff makes it."""
    copy = folder / name
    shutil.copytree(HOSTS / name, copy, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "adopt.diff"))
    if adopted:
        run(["git", "apply", HOSTS / name / "adopt.diff"], cwd=copy, env=_outside_any_repository(folder))
    return copy


def _outside_any_repository(folder: Path) -> dict[str, str]:
    """Let git look at no repository around the folder: it would skip paths that are not below its own."""
    return {**clean_environment(), "GIT_CEILING_DIRECTORIES": str(folder)}


@contextmanager
def adopted_host(name: str, folder: Path, python: Path, environment: Mapping[str, str]) -> Iterator[Host]:
    """Give an adopted project; what it started ends with the block."""
    copy = copy_host(name, folder, adopted=True)
    with ExitStack() as exits:
        yield Host(copy, python, {**clean_environment(), "HOME": str(folder), **environment}, folder, exits)
