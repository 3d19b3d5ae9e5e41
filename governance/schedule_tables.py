"""Where source code writes a beat schedule, in any of the ways in which that is done."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final

SCHEDULE_SETTINGS: Final = frozenset({"beat_schedule", "celery_beat_schedule", "celerybeat_schedule"})


def assigned(node: ast.AST) -> tuple[list[ast.expr], ast.expr] | None:
    """Give the targets and the value of an assignment, or of a keyword argument as one."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return [target], value
        case ast.keyword(arg=str() as name, value=value):
            return [ast.Name(name)], value
    return None


def schedule_tables(node: ast.AST) -> Iterator[ast.Dict]:
    """Find ``beat_schedule = {...}``, ``beat_schedule["name"] = {...}``, or a call that adds an entry."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_periodic_task":
        yield from _of_call(node)
    targets, value = assigned(node) or ([], None)
    for target in targets:
        if isinstance(target, ast.Subscript) and value is not None and _last_name(target.value) in SCHEDULE_SETTINGS:
            yield ast.Dict(keys=[target.slice], values=[value])
        elif isinstance(value, ast.Dict) and _last_name(target) in SCHEDULE_SETTINGS:
            yield value


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).split(".")[-1].lower()


def _of_call(call: ast.Call) -> Iterator[ast.Dict]:
    """Make an entry of ``add_periodic_task(schedule, task.s(1), name="x", expires=60)``."""
    given = {word.arg: word.value for word in call.keywords if word.arg}
    schedule, signature = [*call.args[:2], given.pop("schedule", None), given.pop("sig", None)][:2]
    if schedule is None or signature is None:
        return
    name = given.pop("name", None) or ast.Constant(ast.unparse(signature))
    entry = {"task": signature, "schedule": schedule}
    if isinstance(signature, ast.Call) and isinstance(signature.func, ast.Attribute):
        entry |= {"task": signature.func.value, "args": ast.List(signature.args), "kwargs": _table(_named(signature))}
    entry["task"] = ast.Constant(ast.unparse(entry["task"]).split(".")[-1])
    row = _table({**entry, "options": _table(given)})
    yield ast.Dict(keys=[ast.copy_location(name, call)], values=[row])


def _named(call: ast.Call) -> dict[str, ast.expr]:
    return {word.arg: word.value for word in call.keywords if word.arg}


def _table(fields: Mapping[str, ast.expr]) -> ast.Dict:
    return ast.Dict(keys=[ast.Constant(name) for name in fields], values=list(fields.values()))
