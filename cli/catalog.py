"""All commands in the order of the help, with a line for each; `jobclaim --help` needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass

TEXT = "Jobs that Celery workers claim: SQS carries the message, DynamoDB holds the job."
EPILOG = (
    "Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 check failed, 5 partial.",
    "",
    "Examples:",
    "  jobclaim demo",
    "  jobclaim submit documents.process --args '[\"tasks.py\"]' --wait",
    "  jobclaim list --status FAILED -o ids | xargs jobclaim retry",
)


@dataclass(frozen=True)
class Section:
    """Commands that belong together; the module of ``name`` is ``jobclaim.cli.commands.<name>``."""

    title: str
    commands: dict[str, str]


SECTIONS = (
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
            "retry": "Retry failed jobs.",
            "dead": "Group dead letters by cause; retry, resolve or abandon them.",
            "cancel": "Cancel waiting or running jobs.",
            "resume": "Resume a waiting job with a payload.",
            "key": "Show or clear the job of an idempotency key.",
        },
    ),
    Section(
        "Operate",
        {
            "dashboard": "Serve jobs, dead letters, queues and workers as web pages.",
            "doctor": "Compare the deployment with the settings, and name the remedies.",
            "template": "Render template.yaml from the settings, or check that it is current.",
            "recover": "Recover orphans and lost messages: once, or every N seconds.",
            "queues": "Show the waiting jobs of each queue, the longest wait, and the SLA used.",
            "pause": "Pause a queue, a task or a schedule, or list what is paused.",
            "unpause": "End a pause.",
            "tasks": "Show runs, failure rate, durations and waits of each task.",
            "purge": "Cancel all waiting jobs of a queue.",
            "workers": "Show all workers: their state, running jobs and version.",
            "worker": "Run, start, stop, restart, monitor and check workers.",
            "verify": "Test the guarantees under injected faults, from outside.",
            "bench": "Measure a job's latency and cost on this deployment.",
            "trail": "Show who did what, by name and AWS identity.",
            "prune": "Delete jobs past their retention, in tables without a TTL.",
        },
    ),
    Section(
        "Check and help",
        {
            "schedule": "Check or list the beat schedule, show the next ticks, or run a schedule now.",
            "audit": "Find problems in task definitions; compare table and queues.",
            "completion": "Print the completion script of bash, zsh or fish.",
        },
    ),
)

COMMANDS = {name: line for section in SECTIONS for name, line in section.commands.items()}

ALIASES = {"validate-schedules": ("schedule", "validate")}
"""Alternative names of commands: by name, the command and its subcommand."""
