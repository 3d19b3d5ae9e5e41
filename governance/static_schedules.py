"""Beat schedules read from source code: what is written out is understood, what is computed is left out and said."""

from __future__ import annotations

import ast
from collections import Counter
from datetime import timedelta
from typing import Any

from jobclaim.governance.schedule_rules import World
from jobclaim.governance.schedules import NEVER, Entry, entry_of
from jobclaim.governance.source import Source


def static_entries(source: Source) -> tuple[list[Entry], list[str]]:
    """Read the entries of all schedules in the code; also the places of those that cannot be understood."""
    found: list[Entry] = []
    functions = Counter(task.function for task in source.tasks)
    named = {task.function: task.name for task in source.tasks if functions[task.function] == 1}
    unread: list[str] = []
    for file, table in source.schedules:
        for key, value in zip(table.keys, table.values, strict=True):
            line = (key or value).lineno
            try:
                name = ast.literal_eval(key) if key is not None else None
                row = _row(value)
                if not isinstance(name, str) or "task" not in row or "schedule" not in row:
                    raise ValueError("computed")
                found.append(entry_of(name, row | {"task": named.get(row["task"], row["task"])}, file, line))
            except (ValueError, TypeError, KeyError):
                unread.append(f"{file}:{line}")
    return found, unread


def static_world(source: Source, *, hotspot: int) -> World:
    """Tell the rules what source code alone tells of tasks."""
    return World(
        expiring=frozenset(task.name for task in source.tasks if task.options.get("expires") is not None),
        hotspot=hotspot,
    )


def _row(node: ast.expr) -> dict[str, Any]:
    if not isinstance(node, ast.Dict):
        raise ValueError("no table")
    return {
        str(ast.literal_eval(key)): _value(value)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None
    }


class Computed(str):
    """Source text of what only running the code would tell."""


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.Dict):
        return _row(node)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Computed(ast.unparse(node))


def _call(node: ast.Call) -> Any:
    args = [_value(argument) for argument in node.args]
    kwargs = {str(word.arg): _value(word.value) for word in node.keywords}
    known = not any(isinstance(part, Computed) for part in [*args, *kwargs.values()]) and "None" not in kwargs
    match ast.unparse(node.func).split(".")[-1]:
        case "crontab" if known:
            return _crontab(args, kwargs)
        case "timedelta" if known:
            return timedelta(*args, **kwargs)
        case "schedule":
            return kwargs.get("run_every", args[0] if args else None)
    return Computed(ast.unparse(node))


def _crontab(args: list[Any], kwargs: dict[str, Any]) -> Any:
    from celery.schedules import ParseException, crontab

    try:
        return crontab(*args, **kwargs)
    except (ValueError, ParseException):
        return NEVER


def _arithmetic(node: ast.BinOp) -> Any:
    left, right = _value(node.left), _value(node.right)
    if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
        return Computed(ast.unparse(node))
    match node.op:
        case ast.Mult():
            return left * right
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Div():
            return left / right
    return Computed(ast.unparse(node))
