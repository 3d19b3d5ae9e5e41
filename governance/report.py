"""An inventory of the tasks in Markdown, with what was found."""

from __future__ import annotations

from collections.abc import Sequence

from jobclaim.governance.audit_rules import Fleet
from jobclaim.governance.finding import Finding
from jobclaim.governance.source import Source


def report(source: Source, fleet: Fleet | None, findings: Sequence[Finding]) -> str:
    """Write the report. It holds no time, so that it changes only when the code does."""
    lines = [
        "# Tasks",
        "",
        f"{len(source.tasks)} tasks in {source.files} files, {len(findings)} findings.",
        "",
        "## Findings",
        "",
        *(_findings(findings) if findings else ["None."]),
        "",
        "## Inventory",
        "",
        "| task | where | decorator | base | queue | claimed |",
        "|---|---|---|---|---|---|",
    ]
    known = fleet.tasks if fleet else {}
    for task in sorted(source.tasks, key=lambda task: (task.name, task.file)):
        live = known.get(task.name)
        queue = live.queue if live else task.options.get("queue", "")
        claimed = "yes" if task.claims or (live and live.claims) else "no" if fleet else ""
        base = task.options.get("base", "")
        lines.append(f"| `{task.name}` | {task.file}:{task.line} | {task.decorator} | {base} | {queue} | {claimed} |")
    unseen = sorted(set(known) - {task.name for task in source.tasks})
    lines += [f"| `{name}` | not in the folders read | | | {known[name].queue} | |" for name in unseen]
    if source.unread:
        lines += ["", "## Not read", "", *(f"- {file}" for file in source.unread)]
    return "\n".join(lines) + "\n"


def _findings(findings: Sequence[Finding]) -> list[str]:
    head = ["| check | subject | where | problem | fix |", "|---|---|---|---|---|"]
    return head + [
        f"| {one.check} | `{one.subject}` | {one.place} | {_cell(one.problem)} | {_cell(one.fix)} |"
        for one in sorted(findings)
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
