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
RULES: Final = {
    "import": "run once when the module is imported: `tests.simulation.mutants` breaks these tables row by row",
    "log": "a line of the log: the events have tests of their own, and no promise rests on a line's fields",
    "words": "what an error says: which error is raised is changed, what stands in its text is not",
    "type": "an assertion that tells the type checker what the program knows",
}
"""Changes that are counted and not tried, by the rule that leaves them out.

Docstrings, annotations and texts, formatted ones too, are not changed at all."""


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
    rule : str
        The one of `RULES` by which it is not tried; empty where it is.
    """

    name: str
    first: int
    last: int
    text: str
    rule: str


@dataclass(frozen=True, slots=True)
class _Spot:
    node: ast.expr | ast.stmt
    instead: str
    said: str
    where: str
    first: int
    last: int
    rule: str


def changes(path: str, source: str) -> list[Change]:
    """Give every change of a module."""
    lines = source.encode().splitlines(keepends=True)
    seen: Counter[str] = Counter()
    found = []
    for spot in _Finder().spots(ast.parse(source)):
        old = ast.get_source_segment(source, spot.node) or ""
        name = f"{path}::{spot.where}: {_short(old)} {spot.said or '-> ' + _short(spot.instead)}"
        seen[name] += 1
        name += f" #{seen[name]}" if seen[name] > 1 else ""
        found.append(Change(name, spot.first, spot.last, _replaced(lines, spot), spot.rule))
    return found


def _short(text: str) -> str:
    return " ".join(text.split())[:100]


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
    """Walks over a module; annotations and texts stay as they are."""

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
        first, heads = statement.lineno, _heads(statement)
        last = max([first, *(child.end_lineno or first for child in heads)])
        whole, inside = _rules(statement, imported=imported)

        for node, instead in _of_statement(statement):
            yield _Spot(node, instead, "", where, first, last, whole)
        for head in heads:
            for node, instead, said in _of_expression(head, constants=not imported):
                yield _Spot(node, instead, said, where, first, last, inside)
        for body in _inner(statement):
            yield from self._body(body, where, imported=imported)


def _heads(statement: ast.stmt) -> list[ast.expr]:
    """Give the expressions of a statement, without those of the statements in it."""
    if isinstance(statement, ast.AnnAssign):
        return [statement.value] if statement.value is not None else []
    heads = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.expr)]
    return heads + [item.context_expr for item in getattr(statement, "items", ())]


def _rules(statement: ast.stmt, *, imported: bool) -> tuple[str, str]:
    """Give the rules by which the statement as a whole, and what stands in it, are not tried."""
    if imported:
        return "import", "import"
    if isinstance(statement, ast.Assert):
        return "type", "type"
    if isinstance(statement, ast.Raise):
        return "", "words"
    return ("log", "log") if _is_logged(statement) else ("", "")


def _of_statement(statement: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match statement:
        case ast.If(test=test) | ast.While(test=test):
            if not isinstance(test, (ast.Compare, ast.Constant)) and not _is_not(test):
                yield test, f"not ({ast.unparse(test)})"
        case ast.Return(value=value) if value is not None and not _is_plain(value, None):
            yield statement, "return None"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield statement, "pass"


def _of_expression(root: ast.expr, *, constants: bool = True) -> Iterator[tuple[ast.expr, str, str]]:
    """Give what becomes of each expression in it, and how to say that where the new text would not show it."""
    for node in _walk(root):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
            continue
        if isinstance(node, ast.Compare):
            found = _of_comparison(node)
        elif isinstance(node, ast.Constant):
            found = _of_constant(node, numbers=constants)
        else:
            found = _of_operation(node)
        yield from ((changed, instead, "") for changed, instead in found)


def _of_comparison(node: ast.Compare) -> Iterator[tuple[ast.expr, str]]:
    for n, operator in enumerate(node.ops):
        ops = [*node.ops[:n], TURNED[type(operator)](), *node.ops[n + 1 :]]
        yield node, ast.unparse(ast.Compare(node.left, ops, node.comparators))


def _of_call(node: ast.Call) -> Iterator[tuple[ast.expr, str, str]]:
    """Leave out one argument that is given by name; a call with a single one mostly could not be made without it."""
    for n, keyword in enumerate(node.keywords if len(node.keywords) > 1 else ()):
        if keyword.arg is not None:
            rest = [*node.keywords[:n], *node.keywords[n + 1 :]]
            yield node, ast.unparse(ast.Call(node.func, node.args, rest)), f"without {keyword.arg}"


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
    """Give an expression and those in it, in the order of the text; formatted strings left out."""
    if isinstance(root, ast.JoinedStr):
        return
    yield root
    for child in ast.iter_child_nodes(root):
        if isinstance(child, ast.expr):
            yield from _walk(child)
        elif isinstance(child, (ast.keyword, ast.comprehension)):
            for inner in ast.iter_child_nodes(child):
                if isinstance(inner, ast.expr):
                    yield from _walk(inner)


def _is_logged(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Call) and _is_told(value)


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
