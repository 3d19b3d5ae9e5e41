"""The look: what is vendored is what it says, nothing is inline, both themes are readable."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from jobclaim import dashboard
from jobclaim.dashboard.pages import environment, ticked
from tests.unit.dashboard.conftest import Board

HOME = Path(dashboard.__file__).parent
STATIC, TEMPLATES = HOME / "static", HOME / "templates"
PAGES = sorted(TEMPLATES.rglob("*.html"))
CSS = (STATIC / "app.css").read_text()


def test_the_vendored_script_is_the_one_that_was_checked() -> None:
    row = next(line for line in (STATIC / "VENDORED.md").read_text().splitlines() if "`htmx.min.js`" in line)
    checksum = re.findall(r"[0-9a-f]{64}", row)
    assert checksum == [hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest()]
    version = row.split("|")[3].strip()
    assert f'version:"{version}"' in (STATIC / "htmx.min.js").read_text()
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_template_has_nothing_that_the_content_security_policy_would_drop(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<[^>]*\s(style|on[a-z]+)\s*=", text), "inline style or handler"
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)", text), "inline script"
    assert not re.search(r"(src|href|action)=\"(https?:)?//", text), "from another host"
    assert not re.search(r"hx-(on|vals|headers)", text), "evaluated by htmx"
    assert "|safe" not in text.replace(" ", ""), "unescaped"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_template_links_by_route_so_that_any_mount_point_holds(page: Path) -> None:
    assert not re.search(r"(href|src|action)=\"/", page.read_text())


def test_the_stylesheet_loads_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_htmx_evaluates_nothing_and_adds_no_style(board: Board) -> None:
    html = board.browser().get("/jobs").text
    (config,) = re.findall(r"name=\"htmx-config\" content='([^']*)'", html)
    for setting in ('"includeIndicatorStyles":false', '"allowEval":false', '"selfRequestsOnly":true'):
        assert setting in config


def themes() -> dict[str, dict[str, str]]:
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS[: CSS.index(':root[data-theme="dark"]')]))
    dark = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS.split(':root[data-theme="dark"]')[1].split("}")[0]))
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [*((ink, paper) for ink in ("text", "muted", "accent", "ok", "warn", "bad") for paper in ("surface", "bg", "sunk")),
     *((tone, f"{tone}-soft") for tone in ("ok", "run", "warn", "bad", "plan", "idle")),
     ("accent", "accent-soft"), ("accent-text", "accent")],
)  # fmt: skip
def test_text_is_readable_on_its_ground(theme: str, ink: str, paper: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[ink], colours[paper]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fields_and_bars_stand_out_from_their_ground(theme: str) -> None:
    colours = themes()[theme]
    assert contrast(colours["line-strong"], colours["surface"]) >= 3
    for tone in ("run", "bad"):
        assert contrast(colours[f"{tone}-fill"], colours["surface"]) >= 3


def test_the_dark_theme_is_the_same_by_choice_and_by_the_system() -> None:
    chosen = CSS.split(':root[data-theme="dark"] {')[1].split("}")[0]
    system = CSS.split(":root:not([data-theme]) {")[1].split("}")[0]
    assert chosen.split() == system.split()


def test_what_stands_between_backticks_is_shown_as_code_and_all_is_escaped() -> None:
    assert ticked("run `jobclaim up <b>` & see") == "run <code>jobclaim up &lt;b&gt;</code> &amp; see"


def test_every_page_can_be_read_without_scripts(board: Board) -> None:
    html = board.browser().get("/jobs").text
    assert '<a class="skip" href="#main">' in html
    assert 'aria-current="page"' in html
    # what only works with scripts is hidden until one runs
    assert re.findall(
        r'<button[^>]*id="(?:theme|live-switch)"[^>]*class="[^"]*needs-js|class="[^"]*needs-js"[^>]*id="theme"', html
    )
    assert environment().autoescape
