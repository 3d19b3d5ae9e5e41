"""The machine's own Chromium, driven by Playwright: pages that tell of every error, request and violation they saw."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tests.support.artifacts import Unavailable, axe_core

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

Theme = Literal["light", "dark"]
Motion = Literal["reduce", "no-preference"]
FLAGS = (
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 20_000
TELL_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} blocked ${event.blockedURI} (${event.sample})`);
});
"""
COLOR_RULES = ["color-contrast", "link-in-text-block"]
"""Those of axe-core's usual rules that look at colors."""
AXE = """
async (only) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...only });
  return found.violations.map((rule) => ({
    id: rule.id, impact: rule.impact, help: rule.help, nodes: rule.nodes.map((node) => node.html.slice(0, 200)),
  }));
}
"""


@contextmanager
def chromium(_: Path | None = None) -> Iterator[Browser]:
    """Run a headless Chromium until the block ends.

    Raises
    ------
    Unavailable
        Neither it nor Playwright is installed.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise Unavailable("`chromium` is not on the PATH: install it (Debian: chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Unavailable(
            "playwright is not installed: pip install playwright (it needs no browser of its own)"
        ) from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Somebody's browser window on the dashboard.

    Attributes
    ----------
    complaints : list of str
        Errors on the console and in scripts, answers of the server that failed, requests to anywhere else.
    """

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of the dashboard."""
        self.page.goto(self.base + path.lstrip("/"))
        return self.page

    def violations(self) -> list[str]:
        """What the page's policy has blocked."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def barriers(self, *, colors_only: bool = False) -> list[dict[str, Any]]:
        """What axe-core finds serious or critical: it keeps somebody from using the page.

        Of a page that was looked at in another theme, only the colors are to be looked at again.
        """
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(axe_core().read_text())
        only = {"runOnly": {"type": "rule", "values": COLOR_RULES}} if colors_only else {}
        found: list[dict[str, Any]] = self.page.evaluate(AXE, only)
        return [rule for rule in found if rule["impact"] in ("serious", "critical")]


@contextmanager
def visiting(
    browser: Browser,
    base: str,
    *,
    theme: Theme = "light",
    width: int = 1280,
    javascript: bool = True,
    motion: Motion = "reduce",
) -> Iterator[Visitor]:
    """Open a window of its own: no cookies, nothing stored; it ends with the block.

    Without a graphics card the page's one animation takes a quarter of a core, so it stands still by default.
    """
    context = browser.new_context(
        color_scheme=theme,
        reduced_motion=motion,
        viewport={"width": width, "height": 900},
        java_script_enabled=javascript,
        locale="en-GB",
    )
    try:
        context.set_default_timeout(TIMEOUT_MS)
        if javascript:
            context.add_init_script(TELL_VIOLATIONS)
        visitor = Visitor(context.new_page(), base)
        _listen(visitor)
        yield visitor
    except BaseException:
        if context.pages:
            page = context.pages[0]
            sys.stdout.write(f"{page.url}\n{page.locator('body').inner_text()}\n{visitor.complaints}\n")
        raise
    finally:
        context.close()


def _listen(visitor: Visitor) -> None:
    ours, tell = urlsplit(visitor.base).netloc, visitor.complaints.append

    def requested(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != ours:
            tell(f"request to {request.url}")

    visitor.page.on("request", requested)
    visitor.page.on("pageerror", lambda error: tell(f"script: {error}"))
    visitor.page.on(
        "console", lambda line: tell(f"console: {line.text}") if line.type in ("error", "warning") else None
    )
