"""Rich's console, whose segments carry no control character but rich's own."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jobclaim.specs.visible import visible


class VisibleConsole(Console):
    """A console that makes visible what a renderable brought along; `cli.output.cell` does it before widths are set."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and leave commands to the terminal only where rich itself gives them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
