"""Beat schedules read from source code: literal values are read; computed ones are left out and reported."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from jobclaim.governance.schedule_tables import CRON, Row
from jobclaim.governance.schedules import NEVER, Entry, entry_of
from jobclaim.governance.source import Source
from jobclaim.governance.texts import text_of


def static_entries(source: Source) -> tuple[list[Entry], list[str]]:
    """Read the entries of all schedules in the code; also return the places of those that cannot be read."""
    tasks = TaskNames(source)
    found: list[Entry] = []
    unread: list[str] = []
    seen: set[int] = set()
    for row in (row for table in source.schedules for row in table):
        if id(row.value or row) in seen:
            continue
        seen.add(id(row.value or row))
        try:
            found.append(_entry(row, tasks))
        except (ValueError, TypeError, KeyError):
            unread.append(f"{row.module.file}:{row.line}")
    return found, unread


class TaskNames:
    """The names of the tasks in the code, by what refers to them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        functions = Counter(task.function for task in source.tasks)
        self._unique = {task.function: task.name for task in source.tasks if functions[task.function] == 1}
        self._at = {(task.file, task.function): task.name for task in source.tasks}

    def of_entry(self, row: Row, written: ast.expr) -> str | None:
        """Return the task that an entry names; ``None`` if only running the code would show."""
        text = text_of(written, row.module, self._source.modules).exact
        if text is not None:
            return self._unique.get(text, text)
        if isinstance(written, ast.Attribute) and written.attr == "name":
            return self.of_object(row, written.value)
        return None

    def of_signature(self, row: Row, signature: ast.expr) -> str | None:
        """Return the task of ``task.s(1)``, ``app.signature("name")`` or ``app.tasks["name"].s()``."""
        target = signature
        if isinstance(signature, ast.Call):
            if ast.unparse(signature.func).split(".")[-1] in ("signature", "Signature", "subtask") and signature.args:
                return text_of(signature.args[0], row.module, self._source.modules).exact
            target = signature.func.value if isinstance(signature.func, ast.Attribute) else signature.func
        if isinstance(target, ast.Subscript):
            return text_of(target.slice, row.module, self._source.modules).exact
        return self.of_object(row, target)

    def of_object(self, row: Row, target: ast.expr) -> str | None:
        """Return the name of a task that is referred to as an object."""
        dotted = ast.unparse(target)
        found = self._source.modules.follow(row.module, dotted)
        if found and isinstance(found[1], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = found[1].name
            return self._at.get((found[0].file, name), f"{found[0].name}.{name}")  # not a known task: name the function
        return self._unique.get(dotted.split(".")[-1])


def _entry(row: Row, tasks: TaskNames) -> Entry:
    if row.name is None or row.value is None:
        raise ValueError("computed")
    fields = dict(_fields(row.value))
    written = fields.pop("task", None)
    if "schedule" not in fields or (written is None and row.signature is None):
        raise ValueError("computed")
    name = row.name.value if isinstance(row.name, ast.Constant) else ast.unparse(row.name)
    task = tasks.of_signature(row, row.signature) if row.signature else tasks.of_entry(row, written)  # type: ignore[arg-type]
    shown = task or ast.unparse(row.signature or written)  # type: ignore[arg-type]
    values = {field: _value(value) for field, value in fields.items()}
    return entry_of(str(name), values | {"task": shown}, row.module.file, row.line, task_known=task is not None)


def _fields(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        yield from ((word.arg, word.value) for word in node.keywords if word.arg)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                yield str(ast.literal_eval(key)), value
    else:
        raise ValueError("no table")


class Computed(str):
    """Source text of a value that only running the code would show."""


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.Dict):
        return {
            str(ast.literal_eval(key)): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
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
        case "dict" if known and not args:
            return kwargs
        case name if name == CRON and known:
            return _expression(args[0])
    return Computed(ast.unparse(node))


def _crontab(args: list[Any], kwargs: dict[str, Any]) -> Any:
    from celery.schedules import ParseException, crontab

    try:
        return crontab(*args, **kwargs)
    except (ValueError, ParseException):
        return NEVER


def _expression(text: Any) -> Any:
    from jobclaim.specs.cron import parse_cron

    try:
        return parse_cron(str(text))
    except ValueError:
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
        case ast.Div() if right:
            return left / right
    return Computed(ast.unparse(node))
