"""Calls with a time at which a task is to run, and how far ahead that is, as far as the source shows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobclaim.governance.modules import Module, Modules

UNITS: Final = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1, "milliseconds": 0.001}
MAX_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class EtaCall:
    """A call with a time: ``countdown`` in seconds if the source shows it, else ``None``."""

    target: str
    file: str
    line: int
    countdown: float | None


def eta_calls(call: ast.Call, module: Module, modules: Modules) -> Iterator[EtaCall]:
    """Find ``countdown=`` and ``eta=`` of a call of ``apply_async``; a computed countdown is assumed to be short."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "apply_async"):
        return
    for word in call.keywords:
        if isinstance(word.value, ast.Constant) and word.value.value is None:
            continue
        if word.arg == "countdown":
            seconds = _number(word.value, module, modules)
            if seconds is not None:
                yield EtaCall(ast.unparse(call.func.value), module.file, call.lineno, seconds)
        elif word.arg == "eta":
            yield EtaCall(
                ast.unparse(call.func.value), module.file, call.lineno, _ahead(word.value, call, module, modules)
            )


def _ahead(eta: ast.expr, call: ast.Call, module: Module, modules: Modules) -> float | None:
    """Return how far ahead a time is, in seconds: the ``timedelta`` in its expression; ``None`` if there is none."""
    values = [eta]
    if isinstance(eta, ast.Name):
        values += [
            node.value
            for node in module.nodes
            if isinstance(node, ast.Assign)
            and node.lineno <= call.lineno
            and any(isinstance(one, ast.Name) and one.id == eta.id for one in node.targets)
        ]
    steps = [
        _timedelta(node, module, modules)
        for value in values[-1:]
        for node in ast.walk(value)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "timedelta"
    ]
    return sum(one or 0 for one in steps) if steps else None


def _timedelta(call: ast.Call, module: Module, modules: Modules) -> float | None:
    parts = [
        (UNITS.get(name or "", 0), _number(value, module, modules))
        for name, value in [
            *zip(("days", "seconds"), call.args, strict=False),
            *((w.arg, w.value) for w in call.keywords),
        ]
    ]
    return None if any(number is None for _, number in parts) else sum(unit * (number or 0) for unit, number in parts)


def _number(node: ast.expr, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> float | None:
    """Read a number, including products and constants of any module."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left=left, op=ast.Mult() | ast.Add() as op, right=right) if depth:
            first, second = (_number(one, module, modules, depth - 1) for one in (left, right))
            if first is None or second is None:
                return None
            return first * second if isinstance(op, ast.Mult) else first + second
        case ast.Name() | ast.Attribute() if depth:
            found = modules.follow(module, ast.unparse(node))
            if found and isinstance(found[1], ast.expr) and not isinstance(found[1], ast.Name | ast.Attribute):
                return _number(found[1], found[0], modules, depth - 1)
    return None
