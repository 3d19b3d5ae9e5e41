"""Settings that do not depend on the folder: which configuration file and which ``.env`` are read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobclaim.settings import Settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a package two folders deep, in which the program runs."""
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / "shop" / "tasks").mkdir(parents=True)
    monkeypatch.chdir(root / "shop" / "tasks")
    return root


def table(region: str) -> str:
    return f'[tool.jobclaim]\nregion = "{region}"\n'


# --- upwards
@pytest.mark.parametrize("place", [".", "shop", "shop/tasks"])
def test_the_table_is_found_in_the_folder_or_above(project: Path, place: str) -> None:
    (project / place / "pyproject.toml").write_text(table("eu-west-1"))

    assert Settings().region == "eu-west-1"


@pytest.mark.parametrize("folder", [".", "shop", "shop/tasks"])
def test_every_folder_of_a_project_has_the_same_settings(
    project: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    (project / ".env").write_text("JOBCLAIM_JOB_TABLE=from-dotenv")
    monkeypatch.chdir(project / folder)

    assert (Settings().region, Settings().job_table) == ("eu-west-1", "from-dotenv")


def test_the_nearest_table_wins(project: Path) -> None:
    (project / "pyproject.toml").write_text(table("far-1") + 'job_table = "far"\n')
    (project / "shop" / "pyproject.toml").write_text(table("near-1"))

    assert (Settings().region, Settings().job_table) == ("near-1", "jobclaim-jobs")


def test_a_pyproject_without_the_table_does_not_end_the_search(project: Path) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    (project / "shop" / "pyproject.toml").write_text('[project]\nname = "shop"\n')

    assert Settings().region == "eu-west-1"


@pytest.mark.parametrize("mark", ["folder", "file"])
def test_the_search_ends_at_the_root_of_the_repository(project: Path, mark: str) -> None:
    if mark == "file":  # as in a worktree or a submodule
        (project / ".git").rmdir()
        (project / ".git").write_text("gitdir: elsewhere")
    (project.parent / "pyproject.toml").write_text(table("eu-west-1"))

    assert Settings().region == "us-east-1"


def test_without_a_repository_the_search_goes_on_upwards(project: Path) -> None:
    (project / ".git").rmdir()
    (project.parent / "pyproject.toml").write_text(table("eu-west-1"))

    assert Settings().region == "eu-west-1"


def test_a_deleted_working_folder_leaves_environment_and_defaults(project: Path, tmp_path: Path) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    code = (
        "import os, shutil, sys; shutil.rmtree(os.getcwd());"
        "from jobclaim.settings import Settings; s = Settings(); print(s.region, s.job_table)"
    )
    environment = os.environ | {"JOBCLAIM_JOB_TABLE": "from-environment"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)

    assert run.stdout == "us-east-1 from-environment\n", run.stderr


# --- .env
def test_dotenv_stands_beside_the_table_that_is_used(project: Path) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    (project / ".env").write_text("JOBCLAIM_JOB_TABLE=beside-the-table")
    (project / "shop" / "tasks" / ".env").write_text("JOBCLAIM_JOB_TABLE=in-the-working-folder")

    assert Settings().job_table == "beside-the-table"


def test_dotenv_stands_beside_the_nearest_pyproject_where_none_has_a_table(project: Path) -> None:
    (project / "shop" / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    (project / "pyproject.toml").write_text('[project]\nname = "all"\n')
    (project / "shop" / ".env").write_text("JOBCLAIM_JOB_TABLE=near")
    (project / ".env").write_text("JOBCLAIM_JOB_TABLE=far")

    assert Settings().job_table == "near"


def test_without_any_pyproject_dotenv_is_the_working_folders(project: Path) -> None:
    Path(".env").write_text("JOBCLAIM_JOB_TABLE=here")

    assert Settings().job_table == "here"


def test_a_dotenv_that_the_caller_names_or_leaves_out_is_the_callers(project: Path) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    (project / ".env").write_text("JOBCLAIM_JOB_TABLE=found")
    (project / "other").write_text("JOBCLAIM_JOB_TABLE=named")

    assert Settings(_env_file=project / "other").job_table == "named"
    assert Settings(_env_file=None).job_table == "jobclaim-jobs"


@pytest.mark.parametrize("name", ["JOBCLAIM_CONFIG", "JOBCLAIM_APP"])
def test_a_variable_of_the_environment_alone_is_refused_in_dotenv(project: Path, name: str) -> None:
    Path(".env").write_text(f"{name}=shop")

    with pytest.raises(ValidationError, match=f"{name} is read from the environment only"):
        Settings()


# --- JOBCLAIM_CONFIG
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", table("eu-west-1")),
        ("settings.toml", table("eu-west-1")),
        ("jobclaim.toml", 'region = "eu-west-1"'),
        ("anything", 'region = "eu-west-1"'),
    ],
)
def test_a_named_file_takes_the_place_of_the_projects(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (project / "pyproject.toml").write_text(table("project-1") + 'job_table = "project"\n')
    (tmp_path / name).write_text(text)
    monkeypatch.setenv("JOBCLAIM_CONFIG", str(tmp_path / name))

    assert (Settings().region, Settings().job_table) == ("eu-west-1", "jobclaim-jobs")


def test_a_named_file_is_relative_to_the_working_folder_and_brings_its_dotenv(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "deploy").mkdir()
    (project / "deploy" / "jobclaim.toml").write_text('region = "eu-west-1"')
    (project / "deploy" / ".env").write_text("JOBCLAIM_JOB_TABLE=beside")
    monkeypatch.setenv("JOBCLAIM_CONFIG", "../../deploy/jobclaim.toml")

    assert (Settings().region, Settings().job_table) == ("eu-west-1", "beside")


@pytest.mark.parametrize("value", ["", os.devnull])
def test_an_empty_name_is_none_and_the_null_device_is_an_empty_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    (project / "pyproject.toml").write_text(table("eu-west-1"))
    monkeypatch.setenv("JOBCLAIM_CONFIG", value)

    assert Settings().region == ("us-east-1" if value else "eu-west-1")


def _as_directory(file: Path) -> None:
    file.mkdir()


UNUSABLE: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("missing", "a.toml", lambda file: None, "does not exist"),
    ("a folder", "a.toml", _as_directory, "cannot be read"),
    ("not TOML", "a.toml", lambda file: file.write_text("region = "), "is not TOML"),
    ("not text", "a.toml", lambda file: file.write_bytes(b"\xff\xfe"), "is not TOML"),
    ("without the table", "pyproject.toml", lambda file: file.write_text("[project]"), r"no table \[tool.jobclaim\]"),
    ("a tool's file", "a.toml", lambda file: file.write_text("[tool.other]"), r"no table \[tool.jobclaim\]"),
    ("a value for the table", "a.toml", lambda file: file.write_text("tool.jobclaim = 3"), "tool.jobclaim=3 is not"),
]


@pytest.mark.parametrize(("name", "make", "words"), [row[1:] for row in UNUSABLE], ids=[row[0] for row in UNUSABLE])
def test_a_named_file_that_cannot_be_used_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / name)
    monkeypatch.setenv("JOBCLAIM_CONFIG", str(tmp_path / name))

    with pytest.raises(ValidationError, match=words) as refused:
        Settings()
    assert str(tmp_path / name) in str(refused.value)


def test_a_pyproject_that_is_not_toml_is_refused_by_its_name(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.jobclaim\n")

    with pytest.raises(ValidationError, match="is not TOML") as refused:
        Settings()
    assert str(project / "pyproject.toml") in str(refused.value)


def test_an_unknown_line_of_a_named_file_asks_did_you_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobclaim.toml").write_text('regon = "x"')
    monkeypatch.setenv("JOBCLAIM_CONFIG", str(tmp_path / "jobclaim.toml"))

    with pytest.raises(ValidationError, match=r"unknown field 'regon'.*did you mean 'region'"):
        Settings()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("JOBCLAIM_CONFG", "unknown field 'confg' in the environment .*did you mean 'config'"),
        ("JOBCLAIM_APPP", "unknown field 'appp' in the environment .*did you mean 'app'"),
        ("jobclaim_config", "write it as JOBCLAIM_CONFIG"),
        ("JOBCLAIM_CONFIG__FILE", "JOBCLAIM_CONFIG has no fields"),
    ],
)
def test_a_misspelled_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.setenv(name, "x")

    with pytest.raises(ValidationError, match=words):
        Settings()
