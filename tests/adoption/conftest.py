"""The wheel, built once; a fresh venv and an AWS of its own for each sample project."""

from __future__ import annotations

from collections.abc import Iterator
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
    return build_wheel(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def venv_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh venv that has the wheel."""
    return build_venv(tmp_path_factory.mktemp("venv") / "venv", wheel)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """An AWS that starts empty."""
    with local_aws(Settings()) as running:
        yield running
