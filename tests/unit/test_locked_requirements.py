"""The locked sets stand at the two ends of what pyproject.toml allows, so that `make versions` tests those ends."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from jobclaim.workers.transport.compatibility import SUPPORTED

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9_.-]+)==([^ ;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)
RAISED_BY_OTHERS = {"jsonschema", "requests", "setuptools"}
"""What moto, cfn-lint and others ask for in newer releases than we do."""


def pins(lock: str) -> dict[str, Version]:
    """What is installed on the machine that runs this."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    found = PIN.findall(text)
    return {name: Version(pin) for name, pin, marker in found if not marker or Marker(marker).evaluate()}


def allowed(*extras: str) -> Iterator[Requirement]:
    """Give the requirements of the package and of its extras, and of the extras that these name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [
        *project["dependencies"],
        *(one for extra in extras for one in project["optional-dependencies"][extra]),
    ]:
        requirement = Requirement(text)
        if requirement.name == "jobclaim":
            yield from allowed(*requirement.extras)
        else:
            yield requirement


DIRECT = {str(canonicalize_name(one.name)): one.specifier for one in allowed("suite")}


@pytest.mark.parametrize("lock", ["oldest", "newest", "dev"])
def test_a_locked_set_is_allowed(lock: str) -> None:
    locked = pins(lock)
    wrong = {
        name: str(locked.get(name)) for name, ends in DIRECT.items() if name not in locked or locked[name] not in ends
    }
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(set(DIRECT) - RAISED_BY_OTHERS))
def test_the_oldest_set_has_the_lowest_allowed_release(name: str) -> None:
    lowest = next(Version(one.version) for one in DIRECT[name] if one.operator == ">=")
    assert pins("oldest")[name].release[: len(lowest.release)] == lowest.release


def test_the_newest_set_is_part_of_the_one_for_development() -> None:
    assert pins("newest").items() <= pins("dev").items()


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_the_sets_have_the_first_and_the_last_supported_series(name: str) -> None:
    ends = [".".join(map(str, pins(lock)[name].release[:2])) for lock in ("oldest", "newest")]
    assert ends == [SUPPORTED[name][0], SUPPORTED[name][-1]]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_a_locked_set_names_no_place_to_install_from(path: Path) -> None:
    assert not re.search(r"https?:|^--?(i|index|extra|find)", path.read_text(), re.MULTILINE)
