"""What is installed: one package, typed, whose import costs nothing."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

from tests.adoption.building import build_sdist, build_wheel, clean_environment, run

HEAVY = ("asyncio", "boto3", "botocore", "celery", "click", "kombu", "logging", "pydantic", "structlog", "typing")
IMPORT_PROBE = """
import json, os, sys

asked = []

class Watched(dict):
    def __getitem__(self, key): asked.append(key); return super().__getitem__(key)
    def __contains__(self, key): asked.append(key); return super().__contains__(key)
    def get(self, key, *rest): asked.append(key); return super().get(key, *rest)
    def __iter__(self): asked.append("*"); return super().__iter__()
    def items(self): asked.append("*"); return super().items()
    def keys(self): asked.append("*"); return super().keys()
    def copy(self): asked.append("*"); return super().copy()

os.environ = Watched(os.environ)
os.getenv = lambda key, default=None: os.environ.get(key, default)
before = set(sys.modules)
import jobclaim
print(json.dumps({"file": jobclaim.__file__, "asked": asked, "modules": sorted(set(sys.modules) - before)}))
"""


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names_in(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == {"jobclaim"}
    assert len(top) == 2


def test_the_wheel_has_what_the_package_needs_and_no_tests_or_examples(wheel: Path) -> None:
    names = names_in(wheel)
    assert {
        "jobclaim/py.typed",
        "jobclaim/__init__.py",
        "jobclaim/settings.py",
        "jobclaim/jobs/transitions.py",
        "jobclaim/testing/plugin.py",
    } <= names
    assert any(name.startswith("jobclaim/dashboard/templates/") for name in names)
    assert any(name.startswith("jobclaim/dashboard/static/") for name in names)
    assert any(name.startswith("jobclaim/infra/fragments/") for name in names)
    second = {name.split("/")[1] for name in names if name.startswith("jobclaim/")}
    assert not second & {"tests", "examples", "bench", "docs"}


def test_a_wheel_made_from_the_sdist_is_the_same(sources: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build_sdist(sources, tmp_path)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert not [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
    assert {"pyproject.toml", "README.md", "LICENSE", "src/jobclaim/py.typed"} <= names
    (tmp_path / "again").mkdir()
    assert names_in(build_wheel(sdist, tmp_path / "again")) == names_in(wheel)


def test_an_import_reads_no_environment_and_imports_nothing_heavy(venv_python: Path, tmp_path: Path) -> None:
    seen = json.loads(run([venv_python, "-c", IMPORT_PROBE], cwd=tmp_path, env=clean_environment()))
    assert Path(seen["file"]).is_relative_to(venv_python.parents[1])
    assert seen["asked"] == []
    assert not {name.split(".")[0] for name in seen["modules"]} & set(HEAVY)
    assert [name for name in seen["modules"] if name.startswith("jobclaim")] == ["jobclaim"]


def test_every_public_name_is_there(venv_python: Path, tmp_path: Path) -> None:
    program = "import jobclaim; print(*[n for n in jobclaim.__all__ if getattr(jobclaim, n, None) is None])"
    assert run([venv_python, "-c", program], cwd=tmp_path, env=clean_environment()).split() == []


def test_installing_beside_a_project_of_the_same_folder_names_shadows_nothing(
    venv_python: Path, tmp_path: Path
) -> None:
    for name in ("jobs", "fleet", "workers", "recovery", "infra", "views", "cli", "dashboard", "governance", "testing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "settings.py").write_text("MINE = True\n")
    program = (
        "import jobs, fleet, workers, recovery, infra, views, cli, dashboard, governance, testing, settings\n"
        "import jobclaim; [getattr(jobclaim, name) for name in jobclaim.__all__]\n"
        "import jobclaim.cli.main, jobclaim.dashboard, jobclaim.governance, jobclaim.testing.plugin\n"
        "assert jobs.MINE and settings.MINE and not hasattr(settings, 'Settings')\n"
        "print('kept apart')"
    )
    assert run([venv_python, "-c", program], cwd=tmp_path, env=clean_environment()) == "kept apart\n"
