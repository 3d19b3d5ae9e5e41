"""Rich's console, without control characters other than rich's own."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jobclaim.specs.visible import visible


class VisibleConsole(Console):
    """A console that escapes control characters in renderables; `cli.output.cell` does so before widths are set."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and keep terminal control codes only where rich itself writes them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
