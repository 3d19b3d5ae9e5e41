"""Every page is in the site's contents, and the API reference has every public name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import jobclaim
from jobclaim.jobs import errors

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))


def entries(nav: Any) -> list[str]:
    """Flatten the site's contents."""
    if isinstance(nav, str):
        return [nav]
    rows = nav.values() if isinstance(nav, dict) else nav
    return [page for row in rows for page in entries(row)]


def test_the_site_has_every_page_and_no_other() -> None:
    assert sorted(entries(yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text())["nav"])) == PAGES


def test_the_overview_links_every_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text())
    assert {*linked, "README.md"} == set(PAGES)


@pytest.mark.parametrize("name", sorted(jobclaim.__all__))
def test_the_reference_has_every_public_name(name: str) -> None:
    reference = (DOCS / "api.md").read_text()
    assert f"::: jobclaim.{name}\n" in reference or getattr(jobclaim, name) in vars(errors).values()


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_to_a_page(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), f"{page} links {target}"
