"""Task declarations in source code, in any of Celery's forms: decorators under any name, calls, and classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from jobclaim.governance.modules import Module, Modules
from jobclaim.governance.texts import Text, text_of

Kind: TypeAlias = Literal["shared_task", "app.task", "class"]
Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
APPS: Final = ("app", "celery")
"""Endings of the usual names of Celery apps: ``@celery_app.task``."""
TASK_METHODS: Final = frozenset({"task", "periodic_task"})
REGISTERS: Final = ("register_task", "tasks.register", "task_registry.register")
MAX_DEPTH: Final = 6


@dataclass(frozen=True)
class Declaration:
    """One task: its function or class, its declaration, and the options given there."""

    node: Function | ast.ClassDef
    module: Module
    kind: Kind
    options: Mapping[str, ast.expr] = field(default_factory=dict)
    line: int = 0

    def text(self, modules: Modules) -> Text:
        """Read the given name; not exact if it is computed, empty if none is given."""
        name = self.options.get("name")
        if name is None or (isinstance(name, ast.Constant) and name.value is None):
            return Text.of("")
        return text_of(name, self.module, modules)


@dataclass(frozen=True)
class Maker:
    """A decorator that turns functions into tasks: Celery's own, or a wrapper of it with its own options."""

    kind: Kind
    options: Mapping[str, ast.expr] = field(default_factory=dict)


def declarations(module: Module, modules: Modules) -> Iterator[Declaration]:
    """Find all tasks that a module declares."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _decorated(node, module, modules)
        elif isinstance(node, ast.Call) and node.args and _may_declare(node.func):
            yield from _called(node, module, modules)
        elif (
            isinstance(node, ast.ClassDef)
            and (name := _class_name(node)) is not None
            and is_task(node, module, modules)
        ):
            yield Declaration(node, module, "class", {"name": name}, node.lineno)


def maker_of(node: ast.expr, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> Maker | None:
    """Return what an expression used as a decorator makes of a function; ``None`` if it is not a task."""
    if not depth:
        return None
    if isinstance(node, ast.Call):
        return _maker_of_call(node, module, modules, depth)
    if not isinstance(node, ast.Name | ast.Attribute):
        return None
    dotted = ast.unparse(node)
    origin = modules.origin(module, dotted)
    if origin.split(".")[-1] == "shared_task":
        return Maker("shared_task")
    if isinstance(node, ast.Attribute) and node.attr in TASK_METHODS:
        return Maker("app.task") if is_app(node.value, module, modules) else None
    if origin.startswith("celery.") and origin.split(".")[-1] in TASK_METHODS:
        return Maker("app.task")
    return _wrapper(dotted, module, modules, depth)


def is_app(node: ast.expr, module: Module, modules: Modules) -> bool:
    """Return whether an expression is a Celery app, by its definition or else by its name."""
    dotted = ast.unparse(node)
    found = modules.follow(module, dotted)
    if found and isinstance(found[1], ast.Call):
        made = ast.unparse(found[1].func).split(".")[-1]
        if made.lower().endswith("celery"):
            return True
    return dotted.split(".")[-1].lower().endswith(APPS)


def is_task(node: ast.ClassDef, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> bool:
    """Return whether a class is a task class: it has, directly or through its bases, a base called ``...Task``."""
    for base in node.bases if depth else ():
        dotted = ast.unparse(base)
        found = modules.follow(module, dotted)
        if found is None and modules.origin(module, dotted).split(".")[-1].endswith("Task"):
            return True
        if found and isinstance(found[1], ast.ClassDef) and is_task(found[1], found[0], modules, depth - 1):
            return True
    return False


def _maker_of_call(node: ast.Call, module: Module, modules: Modules, depth: int) -> Maker | None:
    options = _options(node)
    if ast.unparse(node.func).split(".")[-1] == "partial" and node.args:
        inner = maker_of(node.args[0], module, modules, depth - 1)
    else:
        inner = maker_of(node.func, module, modules, depth - 1)
    return Maker(inner.kind, {**inner.options, **options}) if inner else None


def _wrapper(dotted: str, module: Module, modules: Modules, depth: int) -> Maker | None:
    """Resolve a decorator of the project's own: a function or class that calls Celery's, or an alias of it."""
    found = modules.follow(module, dotted)
    if found is None:
        return None
    where, what = found
    if isinstance(what, ast.ClassDef):
        what = next((one for one in what.body if isinstance(one, ast.FunctionDef) and one.name == "__call__"), what)
    if isinstance(what, ast.FunctionDef):
        calls = (node for node in ast.walk(what) if isinstance(node, ast.Call) and not _is_own(node, what))
        return next((inner for node in calls if (inner := maker_of(node, where, modules, depth - 1))), None)
    if isinstance(what, ast.expr) and ast.unparse(what) != dotted:
        return maker_of(what, where, modules, depth - 1)
    return None


def _is_own(node: ast.Call, function: ast.FunctionDef) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == function.name


def _decorated(node: Function, module: Module, modules: Modules) -> Iterator[Declaration]:
    for decorator in node.decorator_list:
        if maker := maker_of(decorator, module, modules):
            yield Declaration(node, module, maker.kind, maker.options, node.lineno)


def _may_declare(func: ast.expr) -> bool:
    """Return whether a call may declare a task: its name, or what it calls, contains "task"."""
    match func:
        case ast.Call(func=inner):
            return _may_declare(inner)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return "task" in name.lower() or name == "register"
    return False


def _called(node: ast.Call, module: Module, modules: Modules) -> Iterator[Declaration]:
    """Find ``app.task(function)``, ``shared_task(name="x")(function)`` and ``app.register_task(Class())``."""
    argument = node.args[0]
    target = argument.func if isinstance(argument, ast.Call) else argument
    found = modules.follow(module, ast.unparse(target)) if isinstance(target, ast.Name | ast.Attribute) else None
    if found is None:
        return
    where, what = found
    if isinstance(what, ast.ClassDef):
        if ast.unparse(node.func).endswith(REGISTERS) and _class_name(what) is None:
            yield Declaration(what, where, "class", {}, what.lineno)
    elif isinstance(what, ast.FunctionDef | ast.AsyncFunctionDef) and target is argument:
        maker = maker_of(node.func, module, modules)
        if maker and _is_global(target, module):
            yield Declaration(what, where, maker.kind, {**maker.options, **_options(node)}, what.lineno)


def _is_global(target: ast.expr, module: Module) -> bool:
    """Return whether a name is global. A parameter is not: a decorator's body passes one to Celery's without declaring
    a task.
    """
    name = ast.unparse(target).split(".")[0]
    return name in module.definitions or name in module.imports


def _class_name(node: ast.ClassDef) -> ast.expr | None:
    """Return the task name that a class sets."""
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="name")], value=value):
                return value
            case ast.AnnAssign(target=ast.Name(id="name"), value=ast.expr() as value):
                return value
    return None


def _options(call: ast.Call) -> dict[str, ast.expr]:
    return {word.arg: word.value for word in call.keywords if word.arg}
