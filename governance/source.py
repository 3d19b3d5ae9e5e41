"""Tasks and schedules in source code, which is parsed, never imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobclaim.governance.argument_types import refused_types
from jobclaim.governance.configuration import Setting, settings_of
from jobclaim.governance.declarations import Declaration, declarations, is_app, is_task, maker_of
from jobclaim.governance.eta_calls import EtaCall, eta_calls
from jobclaim.governance.modules import Module, Modules
from jobclaim.governance.overrides import Override, mro_names, overrides
from jobclaim.governance.schedule_tables import Table, schedule_tables
from jobclaim.governance.texts import Text, text_of
from jobclaim.governance.writes import claims_by_hand, writes

CONCERNED: Final = re.compile(
    rb"task|schedule|apply_async|periodic|time_limit|acks_late|visibility_timeout|serializer|accept_content|"
    rb"broker_transport|transport_aliases|worker_lost",
    re.IGNORECASE,
)
"""Text that a file must contain to be parsed; nine of ten files of a web application do not."""


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task as declared in the code.

    Attributes
    ----------
    name : str
        Name under which it will be registered: the given one, else module and function.
    other_names : tuple of str
        Other possible names, if the source does not show which folder is on the path.
    pattern : str
        Regular expression of a partly computed name; else empty.
    decorator : str
        ``shared_task``, ``app.task`` (whatever the app's name), or ``class``.
    options : mapping
        Options of the decorator that are constants; ``base`` is the class's name.
    bases : tuple of str
        Names of the base class and of its own base classes, as far as the source shows.
    wraps : tuple of str
        Names of the function's other decorators.
    writes : tuple of (int, str)
        Calls in the body that write state: line, call.
    claims : bool
        Whether the body claims a job by hand.
    imports_app : bool
        Whether the module imports the app that the decorator belongs to.
    types : tuple of (str, str, str)
        Annotations of types that a job cannot carry: parameter or "return", type, what to pass instead.
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
    other_names: tuple[str, ...] = ()
    pattern: str = ""
    bases: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()
    imports_app: bool = False
    types: tuple[tuple[str, str, str], ...] = ()


@dataclass(slots=True)
class Source:
    """Everything that was read.

    Attributes
    ----------
    settings : list of Setting
        Celery settings that matter for the claim rule, with their places.
    overrides : list of Override
        Methods of task classes that prevent jobclaim's own from running.
    queues : list of Text
        Names of the queues that are declared.
    errbacks : set of str
        Functions that are given as ``link_error``.
    texts : dict
        First place of each text: (file, line); used as places of names in settings.
    unread : list of str
        Files that this interpreter cannot parse.
    """

    tasks: list[TaskSource] = field(default_factory=list)
    etas: list[EtaCall] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    errbacks: set[str] = field(default_factory=set)
    texts: dict[str, tuple[str, int]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    queues: list[Text] = field(default_factory=list)
    schedules: list[Table] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    files: int = 0
    modules: Modules = field(default_factory=lambda: Modules(Path()))
    names_are_own: bool = False

    @property
    def installs_jobclaim(self) -> bool:
        """Whether the app is jobclaim's, as in ``jobclaim.install(app)``: its limits and its scheduler then apply."""
        return "jobclaim" in self.words

    @property
    def shared_share(self) -> str:
        """Describe how many of the tasks use ``@shared_task``."""
        shared = sum(task.decorator == "shared_task" for task in self.tasks)
        percent = f", {100 * shared // len(self.tasks)} %" if self.tasks else ""
        return f"{shared} by @shared_task{percent}"


def read(roots: Iterable[Path], *, relative_to: Path | None = None) -> Source:
    """Read all Python files under the given folders, without tests and installed or generated files."""
    modules = Modules.under(roots, relative_to or Path.cwd())
    found = Source(modules=modules)
    declared: list[Declaration] = []
    concerned = _concerned(modules)
    found.unread = list(modules.unread)
    for module in concerned:
        declared += declarations(module, modules)
        _read_module(found, module)
    used_as_base = {ast.unparse(one.options["base"]) for one in declared if "base" in one.options}
    found.tasks = [
        _task(one, modules) for one in _once(declared) if one.kind != "class" or one.node.name not in used_as_base
    ]
    found.files = len(modules.paths) - len(found.unread)
    return found


def _concerned(modules: Modules) -> list[Module]:
    """Parse the files that may hold tasks, then those that use the project's own decorators and task classes."""
    others = []
    found = []
    for place in modules.paths:
        if not CONCERNED.search(place[0].read_bytes()):
            others.append(place)
        elif module := modules.module(*place):
            found.append(module)
    own = [name for module in found for name in _own_words(module, modules)]
    if own:
        named = re.compile(rf"\b({'|'.join(map(re.escape, own))})\b".encode())
        found += [
            module for place in others if named.search(place[0].read_bytes()) and (module := modules.module(*place))
        ]
    return found


def _own_words(module: Module, modules: Modules) -> Iterator[str]:
    """Return the project's own decorators and task classes that a file can use without mentioning tasks."""
    for name, what in module.definitions.items():
        if "." in name or "task" in name.lower() or "task" not in ast.unparse(what).lower():
            continue
        if isinstance(what, ast.ClassDef):
            if is_task(what, module, modules):
                yield name
        elif isinstance(what, ast.FunctionDef | ast.expr) and maker_of(ast.Name(name), module, modules):
            yield name


def _once(declared: Iterable[Declaration]) -> Iterator[Declaration]:
    seen = set()
    for one in declared:
        if id(one.node) not in seen:
            seen.add(id(one.node))
            yield one


def _task(one: Declaration, modules: Modules) -> TaskSource:
    module, node = one.module, one.node
    task = one.text(modules)
    derived = tuple(f"{name}.{node.name}" for name in module.names)
    body = _body(node)
    base = one.options.get("base")
    computed = task.exact is None
    return TaskSource(
        name=task.exact or derived[0],
        function=node.name,
        file=module.file,
        line=node.lineno,
        decorator=one.kind,
        options={name: _constant(value) for name, value in one.options.items()},
        writes=tuple(writes(body, module, modules)),
        claims=claims_by_hand(body),
        given_name=bool(task.exact) or computed,
        other_names=() if task.exact or computed else derived[1:],
        pattern=task.pattern if computed else "",
        bases=mro_names(base if base is not None else node, module, modules),
        wraps=tuple(_wraps(node)),
        imports_app=one.kind == "app.task" and _imports_app(module, modules),
        types=tuple(refused_types(node, module, modules, typed=_is_typed(one))),
    )


def _is_typed(one: Declaration) -> bool:
    validate = one.options.get("validate")
    return isinstance(validate, ast.Constant) and validate.value is True


def _body(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.ClassDef):
        run = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "run"), None)
        return _body(run) if run else []
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return [inner for statement in node.body for inner in ast.walk(statement)]


def _wraps(node: ast.AST) -> Iterator[str]:
    for decorator in getattr(node, "decorator_list", ()):
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        yield ast.unparse(named).split(".")[-1]


def _imports_app(module: Module, modules: Modules) -> bool:
    """Return whether a module imports the Celery app that it uses: it makes none itself."""
    return not any(
        isinstance(what, ast.Call) and is_app(ast.Name(name), module, modules)
        for name, what in module.definitions.items()
    )


def _read_module(found: Source, module: Module) -> None:
    file = module.file
    for node in module.nodes:
        match node:
            case ast.Call():
                found.etas += eta_calls(node, module, found.modules)
                found.errbacks |= set(_errbacks(node))
                found.queues += _queues(node, module, found.modules)
            case ast.Constant(value=str() as text):
                found.texts.setdefault(text, (file, node.lineno))
                found.words.add(text)
            case ast.Name(id=word):
                found.words.add(word)
            case ast.Attribute(attr=word):
                found.words.add(word)
            case ast.keyword(arg=str() as word):
                found.words.add(word)
            case ast.ClassDef():
                found.overrides += overrides(node, module, found.modules)
                found.names_are_own |= any(
                    isinstance(one, ast.FunctionDef) and one.name == "gen_task_name" for one in node.body
                )
        found.schedules += schedule_tables(node, module, found.modules)
        found.settings += settings_of(node, module, found.modules)


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _queues(call: ast.Call, module: Module, modules: Modules) -> Iterator[Text]:
    """Read the name of a queue that is declared: ``Queue("mail")``, ``QueueSpec(name="mail")``."""
    if isinstance(call.func, ast.Name | ast.Attribute):
        made = modules.origin(module, ast.unparse(call.func))
        if made.split(".")[-1] == "QueueSpec" or made in ("kombu.Queue", "kombu.entity.Queue"):
            values = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "name")]
            yield from (text_of(one, module, modules) for one in values[:1])


def _errbacks(call: ast.Call) -> Iterator[str]:
    """Yield the names of functions that are called when another task fails."""
    values = [word.value for word in call.keywords if word.arg == "link_error"]
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("on_error", "link_error"):
        values += call.args
    for value in values:
        for node in ast.walk(value):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("s", "si"):
                yield ast.unparse(node.func.value).split(".")[-1]
