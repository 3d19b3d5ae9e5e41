"""Names that source code sets: by assignment, as a keyword argument, as a key of a dict."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def assigned(node: ast.AST) -> tuple[list[ast.expr], ast.expr] | None:
    """Return the targets and the value of an assignment, or of a keyword argument as one."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return [target], value
        case ast.AugAssign(target=target, op=ast.BitOr(), value=value):
            return [target], value
        case ast.keyword(arg=str() as name, value=value):
            return [ast.Name(name)], value
    return None


def assigned_pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Return each name (the last part of a dotted one) and its value; keys of dicts and subscripts are names too."""
    if isinstance(node, ast.Dict):
        yield from (
            (key.value, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )
    elif found := assigned(node):
        for target in found[0]:
            yield from ((name, found[1]) for name in _names(target))


def _names(target: ast.expr) -> Iterator[str]:
    if not isinstance(target, ast.Subscript):
        yield ast.unparse(target).split(".")[-1]
        return
    if isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str):
        yield target.slice.value
    if last_name(target.value) == "transport_aliases":
        yield "transport_aliases"


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name, in lower case."""
    return ast.unparse(node).split(".")[-1].lower()
