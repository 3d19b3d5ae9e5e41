"""What source code says of its tasks and schedules; it is parsed, never imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobclaim.governance.schedule_tables import assigned, schedule_tables

SKIPPED: Final = frozenset(
    {"node_modules", "site-packages", "build", "dist", "__pycache__", "migrations", "tests", "test", "testing"}
)
TESTS: Final = re.compile(r"(test_.*|.*_tests?|tests?|conftest)\.py")
"""Tests make up tasks and schedules that nobody runs."""
APPS: Final = ("app", "celery")
"""Ends of the names that Celery apps have: ``@celery_app.task``."""
STORE_CALLS: Final = frozenset(
    {"save", "bulk_create", "bulk_update", "commit", "put_item", "update_item", "transact_write_items"}
)
"""Methods that write state wherever they are called. A delete or a get-or-create that comes twice leaves the same."""
MANAGER_CALLS: Final = frozenset({"create", "update"})
"""Methods that write state when they are called on a model's manager (``X.objects...``)."""
CONCERNED: Final = re.compile(rb"task|schedule|apply_async|periodic|time_limit|acks_late", re.IGNORECASE)
"""What a file must hold to be parsed: nine of ten files of a web application have no part in this."""
NEW_EXCEPT: Final = re.compile(rb"^([ \t]*except[ \t]+)([\w.]+(?:[ \t]*,[ \t]*[\w.]+)+)([ \t]*:)", re.MULTILINE)
"""``except A, B:`` of Python 3.14, which its elders read with parentheses (PEP 758)."""
LATE_SETTINGS: Final = frozenset({"task_acks_late", "CELERY_TASK_ACKS_LATE", "CELERY_ACKS_LATE"})
"""Settings that make every task acknowledge late."""
CLAIMS: Final = frozenset({"claim_job", "conditional_update_status_to_processing"})


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task as it stands in the code.

    Attributes
    ----------
    name : str
        As it will be registered: the one that is given, else module and function.
    decorator : str
        ``shared_task``, or ``app.task`` whatever the app is called.
    options : mapping
        Those of the decorator that are constants; ``base`` is the class's name.
    writes : tuple of (int, str)
        Calls in the body that write state: line, call.
    claims : bool
        Whether the body claims a job by hand.
    """

    name: str
    function: str
    file: str
    line: int
    decorator: str
    options: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[tuple[int, str], ...] = ()
    claims: bool = False
    given_name: bool = False


@dataclass(frozen=True, slots=True)
class EtaCall:
    """A call that asks for a time: ``countdown`` in seconds where it is a constant, ``None`` for an ETA."""

    target: str
    file: str
    line: int
    countdown: float | None


@dataclass(frozen=True, slots=True)
class LateSetting:
    """A setting, or a class of tasks, that acknowledges late: its name and its place."""

    name: str
    file: str
    line: int


@dataclass(slots=True)
class Source:
    """What was read.

    Attributes
    ----------
    late : list of LateSetting
        Where more than one task is told to acknowledge late.
    texts : dict
        Lines on which each text stands, as first seen: (file, line); places of names in settings.
    unread : list of str
        Files that are no Python that this interpreter reads.
    """

    tasks: list[TaskSource] = field(default_factory=list)
    etas: list[EtaCall] = field(default_factory=list)
    late: list[LateSetting] = field(default_factory=list)
    texts: dict[str, tuple[str, int]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    schedules: list[tuple[str, ast.Dict]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    files: int = 0


def read(roots: Iterable[Path], *, relative_to: Path | None = None) -> Source:
    """Read all Python files under some folders, but no tests, and nothing that is installed or generated."""
    found = Source()
    base = relative_to or Path.cwd()
    for root in roots:
        for path in sorted([root] if root.is_file() else root.rglob("*.py")):
            parts = path.relative_to(root).parts[:-1] if path != root else ()
            if any(part in SKIPPED or part.startswith(".") for part in parts) or (
                path != root and TESTS.fullmatch(path.name)
            ):
                continue
            name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
            found.files += 1
            text = path.read_bytes()
            if not CONCERNED.search(text):
                continue
            try:
                tree = ast.parse(NEW_EXCEPT.sub(rb"\1(\2)\3", text))
            except (SyntaxError, ValueError):
                found.files -= 1
                found.unread.append(name)
                continue
            _read_module(found, tree, name, _module(path, root))
    return found


def _module(path: Path, root: Path) -> str:
    """Name the module of a file: up to the last folder that is a package."""
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").exists() or (folder != root and root in folder.parents and folder.name != "src"):
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _read_module(found: Source, tree: ast.Module, file: str, module: str) -> None:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.tasks += _tasks(node, file, module)
            case ast.Call():
                found.etas += _etas(node, file)
            case ast.Constant(value=str() as text):
                found.texts.setdefault(text, (file, node.lineno))
                found.words.add(text)
            case ast.Name(id=word):
                found.words.add(word)
            case ast.Attribute(attr=word):
                found.words.add(word)
            case ast.keyword(arg=str() as word):
                found.words.add(word)
        found.schedules += [(file, table) for table in schedule_tables(node)]
        found.late += _late(node, file)


def _tasks(function: ast.FunctionDef | ast.AsyncFunctionDef, file: str, module: str) -> Iterator[TaskSource]:
    for decorator in function.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        kind = _decorator(call.func if call else decorator)
        if kind is None:
            continue
        options = {word.arg: _constant(word.value) for word in (call.keywords if call else []) if word.arg}
        name = options.get("name")
        body = [node for statement in function.body for node in ast.walk(statement)]
        yield TaskSource(
            name=name if isinstance(name, str) else f"{module}.{function.name}",
            function=function.name,
            file=file,
            line=function.lineno,
            decorator=kind,
            options=options,
            writes=tuple(_writes(body)),
            claims=any(isinstance(node, ast.Attribute) and node.attr in CLAIMS for node in body),
            given_name=isinstance(name, str),
        )


def _decorator(node: ast.expr) -> str | None:
    words = ast.unparse(node).split(".")
    if words[-1] == "shared_task":
        return "shared_task"
    if words[-1] in ("task", "periodic_task") and len(words) > 1 and words[-2].lower().endswith(APPS):
        return "app.task"
    return None


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _writes(body: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in body:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, on = node.func.attr, ast.unparse(node.func.value)
            if called in STORE_CALLS or (called in MANAGER_CALLS and ".objects" in on and not _constant_write(node)):
                yield node.lineno, f"{on.splitlines()[0][:60]}.{called}()"


def _constant_write(call: ast.Call) -> bool:
    """Whether a call sets constants alone: what comes twice writes the same."""
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr == "update" and all(isinstance(word.value, ast.Constant) for word in call.keywords)


def _etas(call: ast.Call, file: str) -> Iterator[EtaCall]:
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("apply_async", "signature", "s", "retry")):
        return
    if call.func.attr != "apply_async":
        return
    for word in call.keywords:
        if word.arg in ("countdown", "eta"):
            value = _constant(word.value)
            if value is None:
                continue
            number = float(value) if word.arg == "countdown" and isinstance(value, (int, float)) else None
            if word.arg == "eta" or number is not None:
                yield EtaCall(ast.unparse(call.func.value), file, call.lineno, number)


def _late(node: ast.AST, file: str) -> Iterator[LateSetting]:
    """Find what tells more than one task to acknowledge late: a setting, or the attribute of a class."""
    if isinstance(node, ast.ClassDef):
        own = (line for statement in node.body for name, line in _switched_on(statement) if name == "acks_late")
        yield from (LateSetting(node.name, file, line) for line in own)
    yield from (LateSetting(name, file, line) for name, line in _switched_on(node) if name in LATE_SETTINGS)


def _switched_on(node: ast.AST) -> list[tuple[str, int]]:
    """Names that are set to ``True``, and the line."""
    targets, value = assigned(node) or ([], None)
    if not (isinstance(value, ast.Constant) and value.value is True):
        return []
    return [(ast.unparse(target).split(".")[-1], value.lineno) for target in targets]
