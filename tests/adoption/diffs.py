"""The changes by which the sample projects adopt jobclaim."""

from __future__ import annotations

from pathlib import Path

HOSTS = Path(__file__).parent / "hosts"
GUIDES = {"django_shop": "django.md", "fastapi_api": "fastapi.md", "plain_proj": "existing-celery.md"}
"""The guide that shows each project's diff."""
MOST_CHANGED_LINES = 10


def diff_of(host: str) -> str:
    """Give the unified diff that adopts jobclaim in a sample project."""
    return (HOSTS / host / "adopt.diff").read_text()


def changed_lines(diff: str) -> list[str]:
    """Give the lines that a diff removes or adds."""
    return [line for line in diff.splitlines() if line[:1] in "+-" and not line.startswith(("+++ ", "--- "))]
