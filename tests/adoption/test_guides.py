"""The guides show the very diffs that the sample projects are adopted by, and the diffs are small."""

from __future__ import annotations

import pytest

from tests.adoption.building import ROOT
from tests.adoption.diffs import GUIDES, HOSTS, MOST_CHANGED_LINES, changed_lines, diff_of

DOCS = ROOT / "docs"


def test_each_sample_project_has_a_guide() -> None:
    assert {path.name for path in HOSTS.iterdir() if path.is_dir()} == set(GUIDES)


@pytest.mark.parametrize("host", GUIDES)
def test_a_project_is_adopted_by_at_most_ten_changed_lines(host: str) -> None:
    assert 0 < len(changed_lines(diff_of(host))) <= MOST_CHANGED_LINES


@pytest.mark.parametrize("host", GUIDES)
def test_the_guide_shows_the_diff_as_it_is_applied(host: str) -> None:
    assert f"```diff\n{diff_of(host)}```\n" in (DOCS / GUIDES[host]).read_text()


@pytest.mark.parametrize("host", GUIDES)
def test_the_project_before_does_not_know_jobclaim(host: str) -> None:
    files = [path for path in (HOSTS / host).rglob("*") if path.is_file() and path.name != "adopt.diff"]
    assert [str(path) for path in files if path.suffix != ".pyc" and "jobclaim" in path.read_text().lower()] == []
