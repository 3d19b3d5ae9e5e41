"""Every small change of a module's text, each with a name that outlives changes elsewhere in the file."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TURNED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
SUMS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
}
SILENT: Final = ("log", "logging")
"""What is only told: a line of the log is tested by its own tests, and a change of its words breaks no promise."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes
    ----------
    name : str
        Module, function, and what became of which text.
    first, last : int
        Lines of the statement that it is in.
    text : str
        The whole module, changed.
    imported : bool
        Whether it is run when the module is imported, not when a function is called.
    """

    name: str
    first: int
    last: int
    text: str
    imported: bool


@dataclass(frozen=True, slots=True)
class _Spot:
    node: ast.expr | ast.stmt
    instead: str
    where: str
    first: int
    last: int
    imported: bool


def changes(path: str, source: str) -> list[Change]:
    """Give every change of a module."""
    lines = source.encode().splitlines(keepends=True)
    seen: Counter[str] = Counter()
    found = []
    for spot in _Finder().spots(ast.parse(source)):
        old = ast.get_source_segment(source, spot.node) or ""
        name = f"{path}::{spot.where}: {_short(old)} -> {_short(spot.instead)}"
        seen[name] += 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        found.append(Change(name, spot.first, spot.last, _replaced(lines, spot), spot.imported))
    return found


def _short(text: str) -> str:
    return " ".join(text.split())[:160]


def _replaced(lines: list[bytes], spot: _Spot) -> str:
    node = spot.node
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: (node.end_lineno or node.lineno) - 1])) + (node.end_col_offset or 0)
    whole = b"".join(lines)
    text = whole[start:end].decode()
    instead = spot.instead + "\n" * (text.count("\n") - spot.instead.count("\n") if isinstance(node, ast.stmt) else 0)
    if isinstance(node, ast.expr):
        instead = f"({spot.instead})"
    return (whole[:start] + instead.encode() + whole[end:]).decode()


class _Finder:
    """Walks over a module; annotations, docstrings and what is only told stay as they are."""

    def spots(self, module: ast.Module) -> Iterator[_Spot]:
        """Give all places, in the order of the text."""
        yield from self._body(module.body, "module", imported=True)

    def _body(self, body: list[ast.stmt], where: str, *, imported: bool) -> Iterator[_Spot]:
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                name = statement.name if where == "module" else f"{where}.{statement.name}"
                yield from self._body(statement.body, name, imported=True)
            elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = statement.name if where == "module" else f"{where}.{statement.name}"
                yield from self._body(statement.body, name, imported=False)
            else:
                yield from self._statement(statement, where, imported=imported)

    def _statement(self, statement: ast.stmt, where: str, *, imported: bool) -> Iterator[_Spot]:
        if _is_silent(statement):
            return
        first = statement.lineno
        heads = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.expr)]
        heads += [item.context_expr for item in getattr(statement, "items", ())]
        if isinstance(statement, ast.AnnAssign):
            heads = [statement.value] if statement.value is not None else []
        last = max([first, *(child.end_lineno or first for child in heads)])

        def spot(node: ast.expr | ast.stmt, instead: str) -> _Spot:
            return _Spot(node, instead, where, first, last, imported)

        for node, instead in [*self._of_statement(statement), *self._of_heads(heads, constants=not imported)]:
            yield spot(node, instead)
        for body in _inner(statement):
            yield from self._body(body, where, imported=imported)

    def _of_heads(self, heads: list[ast.expr], *, constants: bool) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
        for head in heads:
            yield from self._of_expression(head, constants=constants)

    def _of_statement(self, statement: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
        match statement:
            case ast.If(test=test) | ast.While(test=test):
                if not isinstance(test, (ast.Compare, ast.Constant)) and not _is_not(test):
                    yield test, f"not ({ast.unparse(test)})"
            case ast.Return(value=value) if value is not None and not _is_plain(value, None):
                yield statement, "return None"
            case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
                yield statement, "pass"

    def _of_expression(self, root: ast.expr, *, constants: bool = True) -> Iterator[tuple[ast.expr, str]]:
        for node in _walk(root):
            if isinstance(node, ast.Compare):
                yield from _of_comparison(node)
            elif isinstance(node, ast.Call):
                yield from _of_call(node)
            elif isinstance(node, ast.Constant):
                yield from _of_constant(node, numbers=constants)
            else:
                yield from _of_operation(node)


def _of_comparison(node: ast.Compare) -> Iterator[tuple[ast.expr, str]]:
    for n, operator in enumerate(node.ops):
        ops = [*node.ops[:n], TURNED[type(operator)](), *node.ops[n + 1 :]]
        yield node, ast.unparse(ast.Compare(node.left, ops, node.comparators))


def _of_call(node: ast.Call) -> Iterator[tuple[ast.expr, str]]:
    """Leave out one argument that is given by name; a call with a single one mostly could not be made without it."""
    for n, keyword in enumerate(node.keywords if len(node.keywords) > 1 else ()):
        if keyword.arg is not None:
            rest = [*node.keywords[:n], *node.keywords[n + 1 :]]
            yield node, ast.unparse(ast.Call(node.func, node.args, rest))


def _of_constant(node: ast.Constant, *, numbers: bool) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node.value, int) and numbers:
        yield node, str(node.value + 1)


def _of_operation(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    match node:
        case ast.BoolOp():
            for n in range(len(node.values)):
                left = [value for at, value in enumerate(node.values) if at != n]
                yield node, ast.unparse(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))
        case ast.UnaryOp(op=ast.Not()):
            yield node, ast.unparse(node.operand)
        case ast.BinOp(op=operator) if type(operator) in SUMS and not _is_text(node):
            yield node, ast.unparse(ast.BinOp(node.left, SUMS[type(operator)](), node.right))
        case ast.IfExp():
            yield node, ast.unparse(node.body)
            yield node, ast.unparse(node.orelse)


def _inner(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Give the bodies of a compound statement."""
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for branch in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield branch.body


def _walk(root: ast.expr) -> Iterator[ast.expr]:
    """Give an expression and those in it, in the order of the text; formatted strings and what is logged left out."""
    if isinstance(root, ast.JoinedStr) or (isinstance(root, ast.Call) and _is_told(root)):
        return
    yield root
    for child in ast.iter_child_nodes(root):
        if isinstance(child, ast.expr):
            yield from _walk(child)
        elif isinstance(child, (ast.keyword, ast.comprehension)):
            for inner in ast.iter_child_nodes(child):
                if isinstance(inner, ast.expr):
                    yield from _walk(inner)


def _is_silent(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Global, ast.Pass)):
        return True
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Call) and _is_told(value))


def _is_told(call: ast.Call) -> bool:
    name = call.func
    while isinstance(name, ast.Attribute):
        name = name.value
    return isinstance(name, ast.Name) and name.id in SILENT


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


def _is_plain(value: ast.expr, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def _is_not(test: ast.expr) -> bool:
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
