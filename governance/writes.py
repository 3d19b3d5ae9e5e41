"""Calls in a task's body that write state and have a different effect when they are repeated.

A repeatable write does not count: constants, arguments, the time, get-or-create, deletes, conditional writes. An
unknown one counts, except on what is known not to be a store: files, images, classes of the project that are not
models.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from jobclaim.governance.modules import Module, Modules

CLAIMS: Final = frozenset({"claim_job", "claimed", "conditional_update_status_to_processing"})
ITEM_CALLS: Final = frozenset({"put_item", "update_item", "transact_write_items"})
NO_DATABASE: Final = re.compile(
    r"(repo|git|index|writer|consumer|offsets?|storage|image|img|thumb\w*|transaction)", re.IGNORECASE
)
"""Last names of objects that are saved or committed without being a row."""
INDEX: Final = re.compile(r"(Document|Index)\b", re.IGNORECASE)
COUNTS: Final = frozenset({"F", "Concat"})
MAX_DEPTH: Final = 6


def claims_by_hand(body: Sequence[ast.AST]) -> bool:
    """Return whether a body claims its job itself."""
    return any(isinstance(node, ast.Attribute) and node.attr in CLAIMS for node in body)


def writes(body: Sequence[ast.AST], module: Module, modules: Modules) -> Iterator[tuple[int, str]]:
    """Find the writes of a body: line, call."""
    for node in body:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            on = ast.unparse(node.func.value)
            if _writes(node, node.func, on, body, module, modules):
                yield node.lineno, f"{on.splitlines()[0][:60]}.{node.func.attr}()"


def _writes(
    call: ast.Call, func: ast.Attribute, on: str, body: Sequence[ast.AST], module: Module, modules: Modules
) -> bool:
    keywords = {word.arg: word.value for word in call.keywords}
    match func.attr:
        case "save":
            return not call.args and _saves_other_state(func.value, body, module, modules)
        case "commit":
            return not NO_DATABASE.fullmatch(on.rsplit(".", maxsplit=1)[-1])
        case "create":
            return ".objects" in on and not _refuses_twins(on, module, modules, keywords)
        case "bulk_create":
            ignores = keywords.keys() & {"ignore_conflicts", "update_conflicts"}
            return not ignores and not _refuses_twins(on, module, modules)
        case "update":
            return ".objects" in on and any(_counts(value) for value in keywords.values())
        case "bulk_update":
            return any(_counts_up(node) or _counts(node) for node in body)
        case name if name in ITEM_CALLS:
            return "ConditionExpression" not in keywords
    return False


def _refuses_twins(on: str, module: Module, modules: Modules, keywords: Collection[str | None] = ()) -> bool:
    """Return whether the model of ``Model.objects`` refuses a second equal row: by a constraint, or a unique field that
    is given.
    """
    found = modules.follow(module, on.split(".objects", maxsplit=1)[0])
    if found is None or not isinstance(found[1], ast.ClassDef):
        return False
    text = ast.unparse(found[1])
    if "unique_together" in text or "UniqueConstraint" in text:
        return True
    return any(
        isinstance(field, ast.Assign)
        and _is_unique(field.value)
        and any(ast.unparse(one) in keywords for one in field.targets)
        for field in found[1].body
    )


def _is_unique(field: ast.expr) -> bool:
    words = field.keywords if isinstance(field, ast.Call) else []
    return any(word.arg in ("unique", "primary_key") and ast.unparse(word.value) == "True" for word in words)


def _is_loaded(on: str, body: Sequence[ast.AST]) -> bool:
    """Return whether a body loads an object itself: a second run then usually saves the same values."""
    loops = (node for node in body if isinstance(node, ast.For) and ast.unparse(node.target) == on)
    return any(".objects" in ast.unparse(value) for value in (*_assigned(on, body), *(loop.iter for loop in loops)))


def _counts(node: ast.AST) -> bool:
    """Return whether a value is computed from the stored one: ``F("sum") + 1``."""
    return any(
        (isinstance(one, ast.BinOp) and any(_is_call_of(part, COUNTS) for part in ast.walk(one)))
        or _is_call_of(one, frozenset({"Concat"}))
        for one in ast.walk(node)
    )


def _counts_up(node: ast.AST) -> bool:
    return isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute)


def _is_call_of(node: ast.AST, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names


# --- what .save() saves
def _saves_other_state(receiver: ast.expr, body: Sequence[ast.AST], module: Module, modules: Modules) -> bool:
    on = ast.unparse(receiver)
    if isinstance(receiver, ast.Call):
        return _is_row(receiver, module, modules)
    if NO_DATABASE.fullmatch(on.split(".")[-1]):
        return False
    made = [value for value in _assigned(on, body) if isinstance(value, ast.Call)]
    if any(_is_no_row(value, module, modules) for value in made):
        return False
    if any(_is_row(value, module, modules) for value in made):
        return True
    changes = list(_changes(on, body))
    return any(changes) if changes else not _is_loaded(on, body)


def _assigned(on: str, body: Sequence[ast.AST]) -> Iterator[ast.expr]:
    """Yield the values that a body assigns to a name."""
    for node in body:
        match node:
            case ast.Assign(targets=targets, value=value):
                if any(ast.unparse(one) == on for one in targets):
                    yield value
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                if ast.unparse(target) == on:
                    yield value
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                if ast.unparse(target) == on:
                    yield value


def _changes(on: str, body: Sequence[ast.AST]) -> Iterator[bool]:
    """Yield for each attribute that is set on an object whether a second run of the body sets another value."""
    for node in body:
        match node:
            case ast.AugAssign(target=ast.Attribute(value=owner)) if ast.unparse(owner) == on:
                yield True
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == on:
                        yield _depends_on_itself(value, on)


def _depends_on_itself(value: ast.expr, on: str) -> bool:
    """Return whether a value is computed from the object that it is written to."""
    return any(
        isinstance(node, ast.BinOp) and any(ast.unparse(part).startswith(f"{on}.") for part in (node.left, node.right))
        for node in ast.walk(value)
    )


def _is_row(call: ast.Call, module: Module, modules: Modules) -> bool:
    """Return whether a call creates an object of a class that may be a model: ``Order(...)``."""
    name = ast.unparse(call.func).split(".")[-1]
    return name[:1].isupper() and not INDEX.search(name) and not _is_no_row(call, module, modules)


def _is_no_row(call: ast.Call, module: Module, modules: Modules) -> bool:
    """Return whether a call creates an object of a class of the project that is not derived from a model."""
    found = modules.follow(module, ast.unparse(call.func))
    return bool(found and isinstance(found[1], ast.ClassDef) and not _may_be_model(found[1], found[0], modules))


def _may_be_model(node: ast.ClassDef, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> bool:
    if not depth:
        return True
    for base in node.bases:
        found = modules.follow(module, ast.unparse(base))
        if found is None and ast.unparse(base) not in ("object", "ABC", "abc.ABC", "Protocol"):
            return True  # a class of a library: it may be a model
        if found and isinstance(found[1], ast.ClassDef) and _may_be_model(found[1], found[0], modules, depth - 1):
            return True
    return False
