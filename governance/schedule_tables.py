"""Beat schedules in source code, in any of their usual forms."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jobclaim.governance.assignments import assigned, last_name
from jobclaim.governance.modules import Module, Modules

SCHEDULE_SETTINGS: Final = frozenset({"beat_schedule", "celery_beat_schedule", "celerybeat_schedule"})
MAX_DEPTH: Final = 8
CRON: Final = "cron_expression"
"""Stands for the function that reads a cron expression."""


@dataclass(frozen=True)
class Row:
    """One entry as written: its name and its dict; both ``None`` if they are computed."""

    module: Module
    line: int
    name: ast.expr | None = None
    value: ast.expr | None = None
    signature: ast.expr | None = None


Table = tuple[Row, ...]


def schedule_tables(node: ast.AST, module: Module, modules: Modules) -> Iterator[Table]:
    """Find ``beat_schedule = {...}`` and the like, ``beat_schedule["name"] = {...}``, or a call that adds entries."""
    if isinstance(node, ast.Call):
        yield from _of_call(node, module, modules)
    elif isinstance(node, ast.Dict):
        yield from _of_dict(node, module, modules)
    else:
        yield from _of_assignment(node, module, modules)


def _of_call(node: ast.Call, module: Module, modules: Modules) -> Iterator[Table]:
    match node.func:
        case ast.Attribute(attr="add_periodic_task"):
            yield (_periodic(node, module),)
        case ast.Attribute(attr="update", value=value) if last_name(value) in SCHEDULE_SETTINGS:
            yield tuple(_of_update(node, module, modules))
        case ast.Name(id="Settings") | ast.Attribute(attr="Settings"):
            yield from (_specs(word.value, module) for word in node.keywords if word.arg == "schedules")


def _of_dict(node: ast.Dict, module: Module, modules: Modules) -> Iterator[Table]:
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and str(key.value).lower() in SCHEDULE_SETTINGS:
            yield tuple(_rows(value, module, modules))


def _of_assignment(node: ast.AST, module: Module, modules: Modules) -> Iterator[Table]:
    found = assigned(node)
    if found is None:
        return
    targets, value = found
    for target in targets:
        if isinstance(target, ast.Subscript) and last_name(target.value) in SCHEDULE_SETTINGS:
            yield (Row(module, target.lineno, target.slice, value),)
        elif last_name(target) in SCHEDULE_SETTINGS or _is_setting(target):
            yield tuple(_rows(value, module, modules))
        elif last_name(target) == "jobclaim" and isinstance(value, ast.Dict):
            yield from (_specs(inner, module) for key, inner in _pairs(value) if key == "schedules")


def _is_setting(target: ast.expr) -> bool:
    """Return whether an expression is a schedule setting, such as ``app.conf["beat_schedule"]``."""
    return (
        isinstance(target, ast.Subscript)
        and isinstance(target.slice, ast.Constant)
        and str(target.slice.value).lower() in SCHEDULE_SETTINGS
    )


def _rows(value: ast.expr, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> Iterator[Row]:
    """Split a dict into rows: literals, ``dict(...)``, unions, and the names of other dicts."""
    match value:
        case ast.Dict(keys=keys, values=values):
            for key, inner in zip(keys, values, strict=True):
                yield from _row(key, inner, module, modules, depth)
        case ast.DictComp(key=key, value=inner):
            yield Row(module, key.lineno, key, inner)
        case ast.Call(func=ast.Name(id="dict")):
            yield from _of_update(value, module, modules, depth)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right) | ast.IfExp(body=left, orelse=right):
            yield from _rows(left, module, modules, depth - 1)
            yield from _rows(right, module, modules, depth - 1)
        case ast.Name() | ast.Attribute():
            yield from _of_name(value, module, modules, depth)
        case _ if not (isinstance(value, ast.Constant) and value.value is None):
            yield Row(module, value.lineno)


def _row(key: ast.expr | None, value: ast.expr, module: Module, modules: Modules, depth: int) -> Iterator[Row]:
    if key is None:  # **others
        yield from _rows(value, module, modules, depth - 1)
    else:
        yield Row(module, key.lineno, key, value)


def _of_name(value: ast.expr, module: Module, modules: Modules, depth: int) -> Iterator[Row]:
    if last_name(value) in SCHEDULE_SETTINGS:
        return  # read at its own definition
    found = modules.follow(module, ast.unparse(value)) if depth > 0 else None
    if found and isinstance(found[1], ast.expr) and ast.unparse(found[1]) != ast.unparse(value):
        yield from _rows(found[1], found[0], modules, depth - 1)
    else:
        yield Row(module, value.lineno)


def _of_update(call: ast.Call, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> Iterator[Row]:
    """Split the arguments of a dict's ``update``, or of ``dict``, into rows."""
    for argument in call.args:
        yield from _rows(argument, module, modules, depth - 1)
    for word in call.keywords:
        yield from _row(
            ast.copy_location(ast.Constant(word.arg), word) if word.arg else None, word.value, module, modules, depth
        )


def _specs(value: ast.expr, module: Module) -> Table:
    """Read the ``schedules`` of jobclaim's own settings: ``{"name": ScheduleSpec(task=..., cron=...)}``."""
    if not isinstance(value, ast.Dict):
        return (Row(module, value.lineno),)
    return tuple(
        Row(module, key.lineno, key, _spec(inner)) for key, inner in zip(value.keys, value.values, strict=True) if key
    )


def _spec(value: ast.expr) -> ast.expr:
    """Convert a ``ScheduleSpec`` to Celery's form, in which each tick expires at the next one."""
    fields = dict(_pairs(value))
    when = fields.pop("every", None)
    if cron := fields.pop("cron", None):
        when = ast.Call(ast.Name(CRON), [cron], [])
    if when is None or "task" not in fields:
        return value
    expires = fields.pop("expires", None) or ast.Name("until_the_next_tick")
    options = {"expires": expires} | ({"queue": fields.pop("queue")} if "queue" in fields else {})
    return _table({**fields, "schedule": when, "options": _table(options)})


def _pairs(value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(value, ast.Call):
        yield from ((word.arg, word.value) for word in value.keywords if word.arg)
    elif isinstance(value, ast.Dict):
        for key, inner in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), inner


def _periodic(call: ast.Call, module: Module) -> Row:
    """Convert ``add_periodic_task(schedule, task.s(1), name="x", expires=60)`` to a row."""
    keywords = {word.arg: word.value for word in call.keywords if word.arg}
    schedule, signature = [*call.args[:2], keywords.pop("schedule", None), keywords.pop("sig", None)][:2]
    if schedule is None or signature is None:
        return Row(module, call.lineno)
    name = keywords.pop("name", None) or ast.Constant(ast.unparse(signature))
    entry: dict[str, ast.expr] = {"schedule": schedule, "options": _table(keywords)}
    if isinstance(signature, ast.Call) and isinstance(signature.func, ast.Attribute):
        entry |= {"args": ast.List(signature.args), "kwargs": _table(dict(_pairs(signature)))}
    return Row(module, call.lineno, name, _table(entry), signature)


def _table(fields: Mapping[str, ast.expr]) -> ast.Dict:
    return ast.Dict(keys=[ast.Constant(name) for name in fields], values=list(fields.values()))
