"""All commands in the order of the help, with the help's line for each: all that `jobclaim --help` needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Section:
    """Commands that belong together; the module of ``name`` is ``cli.commands.<name>``."""

    title: str
    commands: dict[str, str]


SECTIONS: Final = (
    Section(
        "Start",
        {
            "demo": "See jobs claimed once, a duplicate refused, a killed worker's job recovered.",
            "dev": "Run a local AWS, a worker and beat until Ctrl-C.",
            "up": "Create or update tables and queues from the settings.",
        },
    ),
    Section(
        "Jobs",
        {
            "submit": "Write a job and send its message; --wait follows it to its end.",
            "list": "List jobs by state.",
            "show": "Show one job: its attempts, its outcome, and what it waits for.",
            "retry": "Start failed jobs again.",
            "cancel": "Cancel jobs, waiting or running.",
        },
    ),
    Section(
        "Operate",
        {
            "doctor": "Compare what is deployed with the settings, and say what to do.",
            "template": "Render template.yaml from the settings, or check that it is current.",
            "recover": "Find orphans and lost messages: once, or every N seconds.",
            "worker": "Run, start, stop, restart, monitor and check workers.",
        },
    ),
)

COMMANDS: Final = {name: line for section in SECTIONS for name, line in section.commands.items()}
