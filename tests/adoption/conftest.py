"""The wheel and a venv that has it, made once a run; an AWS of its own for each sample project."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobclaim import Settings, local_aws
from jobclaim.infra.local import LocalAws
from tests.adoption.building import build_venv, build_wheel, copy_of_sources

collect_ignore = ["hosts"]  # they have tests of their own, which run in their own venvs


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is made of, to build in."""
    return copy_of_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that users install."""
    (made,) = once("wheel", tmp_path_factory, lambda folder: build_wheel(sources, folder)).glob("*.whl")
    return made


@pytest.fixture(scope="session")
def venv_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a venv that has the wheel and nothing of this repository; no test installs into it."""
    return once("venv", tmp_path_factory, lambda folder: build_venv(folder, wheel)) / "bin" / "python"


def once(name: str, folders: pytest.TempPathFactory, make: Callable[[Path], object]) -> Path:
    """Have a folder filled by the first process of a run that asks for it; the others wait and share it."""
    base = folders.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, finished = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """An AWS that starts empty."""
    with local_aws(Settings()) as running:
        yield running
