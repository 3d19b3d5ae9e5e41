"""Celery settings in source code that matter for the claim rule, under Celery's names or Django's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobclaim.governance.assignments import assigned_pairs, last_name
from jobclaim.governance.modules import Module, Modules
from jobclaim.governance.texts import text_of

LATE: Final = frozenset({"task_acks_late", "acks_late"})
REJECT: Final = frozenset({"task_reject_on_worker_lost", "reject_on_worker_lost"})
SERIALIZERS: Final = frozenset(
    {
        "task_serializer",
        "result_serializer",
        "event_serializer",
        "accept_content",
        "result_accept_content",
    }
)
TRANSPORTS: Final = frozenset({"broker_transport"})
UNSAFE: Final = re.compile(r"pickle|yaml|dill|python-serialize", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its kind, its name and value as written, and its place."""

    kind: str
    name: str
    value: str
    file: str
    line: int


def settings_of(node: ast.AST, module: Module, modules: Modules) -> Iterator[Setting]:
    """Find the settings that a node sets."""
    if isinstance(node, ast.ClassDef):
        yield from _of_class(node, module)
    for value in _time_zones(node):
        if zone := text_of(value, module, modules).exact:
            yield Setting("timezone", "timezone", zone, module.file, value.lineno)
    for written, value in assigned_pairs(node):
        found = _kind(written, value, module, modules)
        if found:
            yield Setting(found, written, ast.unparse(value)[:80], module.file, value.lineno)


def _time_zones(node: ast.AST) -> Iterator[ast.expr]:
    """Find ``CELERY_TIMEZONE = ...``, ``app.conf.timezone = ...`` and ``app.conf.update(timezone=...)``."""
    match node:
        case ast.Assign(targets=[target], value=value):
            if ast.unparse(target) == "CELERY_TIMEZONE" or ast.unparse(target).endswith("conf.timezone"):
                yield value
        case ast.Call(func=ast.Attribute(attr="update", value=owner)) if last_name(owner) == "conf":
            yield from (word.value for word in node.keywords if word.arg == "timezone")


def _kind(written: str, value: ast.expr, module: Module, modules: Modules) -> str:
    name, is_celery = _plain(written)
    if name in LATE and is_celery and _is_true(value, module, modules):
        return "acks-late"
    if name in REJECT and is_celery and _is_true(value, module, modules):
        return "reject-on-worker-lost"
    if name in SERIALIZERS and is_celery and _unsafe(value, module, modules):
        return "unsafe-serializer"
    if name == "visibility_timeout":
        return "visibility-timeout"
    if name in TRANSPORTS and is_celery:
        text = text_of(value, module, modules).exact or ""
        return "own-transport" if re.search(r"[.:]", text) else ""
    return "own-transport" if name == "transport_aliases" else ""


def _plain(written: str) -> tuple[str, bool]:
    """Return a setting's name in lower case without its prefix, and whether it is certainly one of Celery's."""
    name = written.lower()
    if name.startswith("celery_"):
        return name.removeprefix("celery_"), True
    return name, name not in ("acks_late", "reject_on_worker_lost")


def _of_class(node: ast.ClassDef, module: Module) -> Iterator[Setting]:
    """Find the attributes of a task class that enable late acknowledgment."""
    for statement in node.body:
        for name, value in assigned_pairs(statement):
            if (
                isinstance(value, ast.Constant)
                and value.value is True
                and name in ("acks_late", "reject_on_worker_lost")
            ):
                yield Setting(name.replace("_", "-"), node.name, "True", module.file, value.lineno)


def _is_true(value: ast.expr, module: Module, modules: Modules) -> bool:
    if isinstance(value, ast.Name | ast.Attribute):
        found = modules.follow(module, ast.unparse(value))
        value = found[1] if found and isinstance(found[1], ast.expr) else value
    return isinstance(value, ast.Constant) and value.value is True


def _unsafe(value: ast.expr, module: Module, modules: Modules) -> bool:
    nodes = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else [value]
    return any(UNSAFE.search(text_of(node, module, modules).exact or "") for node in nodes)
