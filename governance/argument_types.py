"""Types of a task's arguments and result that a job cannot carry, as far as they are annotated.

A job's call and result are kombu's JSON. An argument that it cannot encode is refused at submission, and such a result
fails the job after its body has done its work, so it is better detected before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from jobclaim.governance.modules import Module, Modules

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
LISTS: Final = "pass a list"
TASKS: Final = "pass the name of a task"
NUMBERS: Final = "pass its seconds"
PATHS: Final = "pass its text"
KEYS: Final = "pass what it is made of: a path, a URL, a key in S3"
REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("set", "frozenset"), LISTS),
    **{f"typing.{name}": LISTS for name in ("Set", "FrozenSet", "AbstractSet", "MutableSet")},
    **{f"collections.abc.{name}": LISTS for name in ("Set", "MutableSet")},
    **{f"{module}.{name}": LISTS for module in ("typing", "collections.abc") for name in ("Iterator", "Generator")},
    "bytearray": "pass bytes",
    "memoryview": "pass bytes",
    "complex": "pass two numbers",
    "datetime.timedelta": NUMBERS,
    **{f"pathlib.{name}": PATHS for name in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath")},
    **{f"typing.{name}": KEYS for name in ("IO", "TextIO", "BinaryIO")},
    **{f"io.{name}": KEYS for name in ("BytesIO", "StringIO", "IOBase", "TextIOWrapper")},
    **{f"{module}.Callable": TASKS for module in ("typing", "collections.abc")},
    "fractions.Fraction": "pass two numbers",
    "collections.deque": LISTS,
}
"""By full name of the type, what to pass instead."""
ROWS: Final = ("Model", "DeclarativeBase", "Base")
"""Last names of base classes of database models."""
CARRIED: Final = frozenset({"BaseModel", "TypedDict", "NamedTuple", "IntEnum", "StrEnum", "IntFlag", "Protocol"})
"""Base classes of types that a job can carry, directly or through typed arguments."""
VALUES: Final = frozenset({"int", "str", "float", "bytes", "Decimal", "datetime", "date", "UUID"})
MAX_DEPTH: Final = 6


def refused_types(node: ast.AST, module: Module, modules: Modules, *, typed: bool) -> Iterator[tuple[str, str, str]]:
    """Find annotations that a job cannot carry: the parameter or "return", the type, what to pass instead.

    An argument that is a function and has a default is left out, because it is meant for direct calls.

    Parameters
    ----------
    typed : bool
        Whether arguments are converted by their annotations (``validate = True``); results never are.
    """
    function = _run_of(node)
    if function is None:
        return
    arguments = function.args
    for one, has_default in () if typed else _parameters(arguments):
        for name, instead in _refused(one.annotation, module, modules):
            if not (has_default and instead == TASKS):
                yield one.arg, name, instead
    for name, instead in _refused(function.returns, module, modules):
        yield "return", name, instead


def _parameters(arguments: ast.arguments) -> Iterator[tuple[ast.arg, bool]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    yield from ((one, number >= required) for number, one in enumerate(positional))
    yield from (
        (one, default is not None) for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    )


def _run_of(node: ast.AST) -> Function | None:
    if isinstance(node, ast.ClassDef):
        return next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "run"), None)
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _refused(
    node: ast.expr | None, module: Module, modules: Modules, depth: int = MAX_DEPTH
) -> Iterator[tuple[str, str]]:
    match node if depth else None:
        case ast.Constant(value=str() as text):
            try:
                inner = ast.parse(text, mode="eval").body
            except SyntaxError:
                return
            yield from _refused(inner, module, modules, depth - 1)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from _refused(left, module, modules, depth)
            yield from _refused(right, module, modules, depth)
        case ast.Subscript(value=outer, slice=inner):
            yield from _of_generic(outer, inner, module, modules, depth)
        case ast.Name() | ast.Attribute() as named:
            yield from _of_name(named, module, modules, depth)


def _of_generic(
    outer: ast.expr, inner: ast.expr, module: Module, modules: Modules, depth: int
) -> Iterator[tuple[str, str]]:
    named = ast.unparse(outer).split(".")[-1]
    if named == "Literal":
        return
    found = list(_refused(outer, module, modules, depth))
    yield from found
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    for part in () if found else parts[:1] if named == "Annotated" else parts:
        yield from _refused(part, module, modules, depth - 1)


def _of_name(node: ast.expr, module: Module, modules: Modules, depth: int) -> Iterator[tuple[str, str]]:
    dotted = ast.unparse(node)
    found = modules.follow(module, dotted)
    if found is None:
        if instead := REFUSED.get(modules.origin(module, dotted)):
            yield dotted, instead
    elif isinstance(found[1], ast.ClassDef):
        if instead := _of_class(found[1], found[0], modules):
            yield dotted, instead
    elif isinstance(found[1], ast.expr) and ast.unparse(found[1]) != dotted:
        yield from _refused(found[1], found[0], modules, depth - 1)


def _of_class(node: ast.ClassDef, module: Module, modules: Modules) -> str:
    """Return what to pass instead of an object of the project's own class; empty if a job can carry it."""
    bases = set(_bases(node, module, modules))
    if bases & CARRIED or ("Enum" in bases and bases & VALUES):
        return ""
    if "Enum" in bases or "Flag" in bases:
        return "pass its value, or make it a StrEnum or IntEnum"
    if any(base.endswith(ROWS) for base in bases):
        return "pass its id"
    return "pass its fields as a dict, or make it a pydantic model"


def _bases(node: ast.ClassDef, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> Iterator[str]:
    for base in node.bases if depth else ():
        dotted = ast.unparse(base)
        yield dotted.split("[")[0].split(".")[-1]
        found = modules.follow(module, dotted)
        if found and isinstance(found[1], ast.ClassDef):
            yield from _bases(found[1], found[0], modules, depth - 1)
