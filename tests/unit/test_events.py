"""The registry of events and the code say the same, and so does the page made of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobclaim.jobs.events import EVENTS, FIELDS, JOB, Event, page

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "fleet", "workers", "recovery", "infra", "cli", "governance", "testing", "dashboard")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


@dataclass(frozen=True)
class Call:
    """One log call in the code."""

    where: str
    logger: str
    level: str
    name: str
    fields: frozenset[str]


def calls_in(source: str, where: str) -> Iterator[Call]:
    """Find the calls on the loggers that a module made by ``get_logger``."""
    if "get_logger" not in source:
        return
    nodes = list(ast.walk(ast.parse(source)))
    loggers = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value.args[0])
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _makes_logger(node.value)
    }
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
            continue
        logger = loggers.get(ast.unparse(node.func.value))
        if logger is not None and logger.startswith("jobclaim."):
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else ast.unparse(node.args[0])
            yield Call(f"{where}:{node.lineno}", logger, node.func.attr, str(name), _fields(node))


def _makes_logger(call: ast.Call) -> bool:
    return ast.unparse(call.func).endswith("get_logger") and isinstance(next(iter(call.args), None), ast.Constant)


def _fields(call: ast.Call) -> frozenset[str]:
    named = {word.arg for word in call.keywords if word.arg}
    about_a_job = any(not word.arg and ast.unparse(word.value).endswith(".log_context()") for word in call.keywords)
    return frozenset(named | (set(JOB) if about_a_job else set()))


CALLS = [
    call
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    for call in calls_in(path.read_text(), str(path.relative_to(ROOT)))
]


def test_the_search_finds_log_calls() -> None:
    source = 'log = get_logger("jobclaim.x")\nlog.info("hello", job_id=1, **job.log_context())\n'
    [call] = calls_in(source, "a.py")
    assert (call.logger, call.level, call.name, call.fields) == ("jobclaim.x", "info", "hello", frozenset(JOB))
    assert len(CALLS) > 50


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.where)
def test_every_event_in_the_code_is_registered_with_its_fields(call: Call) -> None:
    assert call.name in EVENTS, (
        f"{call.where}: register {call.name!r} in jobs/events.py, then `python -m jobclaim.jobs.events`"
    )
    event = EVENTS[call.name]
    assert call.logger in event.loggers, f"{call.where}: {call.name!r} is not registered for {call.logger}"
    assert call.level in event.levels, f"{call.where}: {call.name!r} is not registered as {call.level}"
    assert call.fields <= set(event.fields), f"{call.where}: unregistered fields {call.fields - set(event.fields)}"


def test_every_registered_event_is_said_somewhere() -> None:
    assert set(EVENTS) - {call.name for call in CALLS} == set()


def test_every_field_of_an_event_is_explained_and_every_explained_field_is_used() -> None:
    used = {name for event in EVENTS.values() for name in event.fields}
    assert used ^ set(FIELDS) == set()


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "events.md").read_text() == page(), "run `python -m jobclaim.jobs.events > docs/events.md`"


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.code)
def test_a_code_is_a_subject_and_what_happened_and_its_message_is_a_sentence(event: Event) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", event.code)
    assert event.message[0].isupper()
    assert not event.message.endswith(".")
    assert event.meaning[-1] == "."
