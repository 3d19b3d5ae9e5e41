"""Methods of jobclaim that users' task classes override: other classes' hooks, a submission, or what a worker requires.

The claim itself cannot be overridden (`workers.attempt.sealed`); with an override that is `refused` a worker does not
start.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from jobclaim.governance.modules import Module, Modules

CLAIMING: Final = frozenset(
    {
        "JobTask",
        "IdempotentTask",
        "Idempotent",
        "EmailTask",
        "ReportTask",
        "MaintenanceTask",
        "ExternalAPITask",
    }
)
"""Base classes whose tasks are claimed."""
HOOKS: Final = frozenset(
    {"before_start", "__call__", "on_failure", "on_success", "on_retry", "after_return", "apply_async", "retry", "bind"}
)
"""Methods that Celery calls, and those that submit."""
MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Override:
    """A name in a class of claimed tasks that overrides one of a base class.

    Attributes
    ----------
    refused : bool
        Whether a worker does not start with it.
    """

    owner: str
    method: str
    file: str
    line: int
    refused: bool = False


def overrides(node: ast.ClassDef, module: Module, modules: Modules) -> Iterator[Override]:
    """Find what a class of claimed tasks overrides."""
    if not CLAIMING & set(mro_names(node, module, modules)[1:]):
        return
    for statement in node.body:
        for name in _named(statement):
            if name in _refused():
                yield Override(node.name, name, module.file, statement.lineno, refused=True)
            elif _hides(statement, name):
                yield Override(node.name, name, module.file, statement.lineno)


def _named(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return []
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    return [one.id for one in targets if isinstance(one, ast.Name)]


def _hides(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return name in HOOKS and not _calls_up(statement)
    return name == "Request"


@cache
def _refused() -> frozenset[str]:
    """Return the names that a worker refuses to see overridden. Read only when needed, because that imports Celery."""
    from jobclaim.workers.bases import IdempotentTask
    from jobclaim.workers.sealed import own_names

    return frozenset(own_names(IdempotentTask))


def mro_names(node: ast.AST, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> tuple[str, ...]:
    """Return the names of a class and its base classes, by their last parts, as far as the source shows."""
    if isinstance(node, ast.ClassDef):
        above = [name for base in node.bases if depth for name in mro_names(base, module, modules, depth - 1)]
        return (node.name, *above)
    if not isinstance(node, ast.Name | ast.Attribute):
        return ()
    dotted = ast.unparse(node)
    found = modules.follow(module, dotted)
    if found and isinstance(found[1], ast.ClassDef):
        return mro_names(found[1], found[0], modules, depth - 1)
    return (modules.origin(module, dotted).split(".")[-1],)


def _calls_up(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a method calls the one that it overrides: by ``super()``, or by the name of a class."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == function.name
        and (_is_super(node.value) or ast.unparse(node.value)[:1].isupper())
        for statement in function.body
        for node in ast.walk(statement)
    )


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
