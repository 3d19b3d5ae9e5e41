"""Every row of ``docs/celery.md`` has a test, and the page leaves out nothing that Celery has."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import pytest
from celery import Task, signals
from celery.app.task import Context
from celery.bin.celery import celery as command_line
from celery.canvas import Signature
from celery.result import AsyncResult, GroupResult
from celery.worker.control import Panel

from tests.support import celery_rows
from tests.support.celery_page import PAGE, rows

ROOT = PAGE.parents[1]
VERDICTS = {"as in Celery", "as in kombu", "as in kombu 5.7", "Celery's own", "differs", "refused", "ours"}
ROWS = [(section, row) for section, found in rows().items() for row in found]
NAMED = {name for text in PAGE.read_text().split("`")[1::2] for name in [text, *text.split()]}
"""What the page writes as code."""


@cache
def functions_in(file: str) -> frozenset[str]:
    """The functions in a file of tests."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("section", "row"), ROWS, ids=[f"{section}: {row[:40]}" for section, row in ROWS])
def test_each_row_has_a_verdict_and_a_test(section: str, row: str) -> None:
    assert rows()[section][row] in {"", *VERDICTS}
    wanted = celery_rows.tests_for(section, row)
    assert wanted, f"name the test of this row in tests/support/celery_rows.py: {section}: {row}"
    for test in wanted:
        file, _, name = test.partition("::")
        assert name in functions_in(file), f"{test} does not exist"


def test_no_test_is_named_for_a_row_that_is_not_there() -> None:
    known = {(section, row) for section, row in ROWS}
    named = {(section, row) for section, found in celery_rows.ROWS.items() for row in found}
    assert named - known == set()


COMMANDS: dict[str, Any] = command_line.commands
OF_CELERY = {
    "task": [name for name in dir(Task) if not name.startswith("_")],
    "request": [name for name in dir(Context) if not name.startswith("_")],
    "result": [name for name in dir(AsyncResult) if not name.startswith("_")],
    "group result": [name for name in dir(GroupResult) if not name.startswith("_")],
    "signature": [name for name in set(dir(Signature)) - set(dir(dict)) if not name.startswith("_")],
    "signals": signals.__all__,
    "remote control": list(Panel.meta),
    "command line": [f"celery {name}" for name in COMMANDS if name != "jobs"],
}
INNER = {"TYPES", "append_to_list_option", "extend_list_option", "immutable", "options", "partial", "register_type"}
INNER |= {"subtask_type", "type"}
"""Parts of a signature that only Celery itself uses."""


@pytest.mark.parametrize("kind", OF_CELERY)
def test_the_page_names_everything_that_celery_has(kind: str) -> None:
    assert sorted(set(OF_CELERY[kind]) - NAMED - INNER) == []


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_the_page_names_every_option_of_the_command(command: str) -> None:
    missing = [option.opts for option in COMMANDS[command].params if not NAMED.intersection(option.opts)]
    assert missing == []
