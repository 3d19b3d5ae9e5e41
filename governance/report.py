"""An inventory of the tasks in Markdown, with the findings."""

from __future__ import annotations

from collections.abc import Sequence

from jobclaim.governance.audit_rules import InspectedApp
from jobclaim.governance.finding import grouped
from jobclaim.governance.source import Source
from jobclaim.specs.finding import Finding
from jobclaim.specs.plurals import counted


def report(source: Source, fleet: InspectedApp | None, findings: Sequence[Finding]) -> str:
    """Write the report. It has no timestamp, so that it changes only when the code does."""
    shown = grouped(findings)
    tasks = counted(len(source.tasks), "task")
    lines = [
        "# Tasks",
        "",
        f"{tasks} in {counted(source.files, 'file')} ({source.shared_share}), {counted(len(shown), 'finding')}.",
        "",
        "## Findings",
        "",
        *(_findings(shown) if shown else ["None."]),
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
        f"| {one.check} | `{one.subject}` | {_places(one)} | {_cell(one.problem)} | {_cell(one.fix)} |"
        for one in sorted(findings)
    ]


def _places(finding: Finding) -> str:
    return "<br>".join(finding.places) or finding.place


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
