"""Methods of users' task classes that keep jobclaim's own from running: then a body starts without its claim."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
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
"""Methods in which a `JobTask` claims, keeps books or submits."""
MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Override:
    """A method (or ``Request``) of a class whose tasks are claimed, that does not call the one which it hides."""

    owner: str
    method: str
    file: str
    line: int


def overrides(node: ast.ClassDef, module: Module, modules: Modules) -> Iterator[Override]:
    """Find what a class of claimed tasks hides."""
    if not CLAIMING & set(mro_names(node, module, modules)[1:]):
        return
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if statement.name in HOOKS and not _calls_up(statement):
                yield Override(node.name, statement.name, module.file, statement.lineno)
        elif isinstance(statement, ast.Assign) and any(
            isinstance(one, ast.Name) and one.id == "Request" for one in statement.targets
        ):
            yield Override(node.name, "Request", module.file, statement.lineno)


def mro_names(node: ast.AST, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> tuple[str, ...]:
    """Name a class and all that it stands on, by the last part of their names, as far as the source tells."""
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
    """Whether a method calls the one that it hides: by ``super()``, or by the name of a class."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == function.name
        and (_is_super(node.value) or ast.unparse(node.value)[:1].isupper())
        for statement in function.body
        for node in ast.walk(statement)
    )


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
