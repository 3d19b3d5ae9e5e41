"""Python files by the names under which they are imported, and the definitions of names in them.

Nothing is imported: names are followed through assignments and ``import`` statements, as far as the source shows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

SKIPPED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "tests", "test", "testing"})
BUILT: Final = frozenset({"build", "dist"})
"""Folders of generated copies, unless they are packages."""
TESTS: Final = re.compile(r"(test_.*|.*_tests?|tests?|conftest)\.py")
"""Tests define tasks and schedules that are never run."""
NEW_EXCEPT: Final = re.compile(rb"^([ \t]*except[ \t]+)([\w.]+(?:[ \t]*,[ \t]*[\w.]+)+)([ \t]*:)", re.MULTILINE)
"""``except A, B:`` of Python 3.14, which older versions require in parentheses (PEP 758)."""
PROJECT_FILES: Final = ("manage.py", "pyproject.toml", "setup.py", "setup.cfg")
"""Files that mark a project's root, where its top-level packages are."""
MAX_STEPS: Final = 12
"""Most names through which a name is followed, so that cycles end."""
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr"


@dataclass(frozen=True)
class Module:
    """One file.

    Attributes
    ----------
    name : str
        Name under which it is most likely imported.
    names : tuple of str
        All names under which it may be imported: a folder that is not a package may or may not be on the path itself.
    file : str
        Path relative to the folder that was given.
    """

    name: str
    names: tuple[str, ...]
    file: str
    tree: ast.Module
    is_package: bool = False

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Return all nodes of its syntax tree, walked once."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Return by local name: the imported module, and the name in it if any."""
        found: dict[str, tuple[str, str]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name.split(".")[0]] = (
                        (one.name, "") if one.asname else (one.name.split(".")[0], "")
                    )
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                found |= {one.asname or one.name: (origin, one.name) for one in node.names if one.name != "*"}
        return found

    @cached_property
    def stars(self) -> tuple[str, ...]:
        """Return the modules from which all names are imported."""
        return tuple(
            self._origin(node) for node in self.nodes if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        )

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Return functions, classes and assigned values by name, those of classes as ``Class.name``."""
        found: dict[str, Definition] = {}
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, node)
        for name, what in _defined(self.tree.body, ""):
            if not (isinstance(what, ast.expr) and isinstance(found.get(name), FUNCTIONS)):
                found[name] = what  # keep the function if it is wrapped and assigned to its own name
        return found

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*kept, *([node.module] if node.module else [])])


def _defined(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in body:
        match node:
            case ast.ClassDef():
                yield prefix + node.name, node
                yield from _defined(node.body, f"{prefix}{node.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + node.name, node
            case ast.Assign(targets=targets, value=value):
                yield from ((prefix + one.id, value) for one in targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield prefix + name, value
            case ast.If() | ast.Try() | ast.With():
                yield from _defined([*getattr(node, "orelse", []), *node.body], prefix)


@dataclass(slots=True)
class Modules:
    """All Python files under the given folders; each is parsed when it is first needed."""

    base: Path
    paths: list[tuple[Path, Path]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    _by_name: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    _tops: set[str] = field(default_factory=set)
    _parsed: dict[Path, Module | None] = field(default_factory=dict)

    @classmethod
    def under(cls, roots: Iterable[Path], base: Path) -> Modules:
        """List the files of the given folders, without tests and installed or generated files."""
        found = cls(base)
        for root in roots:
            for path in sorted([root] if root.is_file() else root.rglob("*.py")):
                if path == root or _is_source(path, root):
                    found.paths.append((path, root))
                    for name in module_names(path, root):
                        found._by_name.setdefault(name, (path, root))
                        found._tops.add(name.split(".")[0])
        return found

    def module(self, path: Path, root: Path) -> Module | None:
        """Parse a file; return ``None`` if this interpreter cannot parse it."""
        if path not in self._parsed:
            self._parsed[path] = self._parse(path, root)
        return self._parsed[path]

    def named(self, name: str) -> Module | None:
        """Find a module by the name under which it is imported."""
        found = self._by_name.get(name)
        return self.module(*found) if found else None

    def is_ours(self, name: str) -> bool:
        """Return whether the top-level package of a name lies in these folders."""
        return name.split(".", maxsplit=1)[0] in self._tops

    def follow(self, module: Module, dotted: str) -> tuple[Module, Definition] | None:
        """Find where a name of a module is defined; return ``None`` if its definition is outside of these files."""
        return self._follow(module, dotted, MAX_STEPS)

    def origin(self, module: Module, dotted: str) -> str:
        """Return the full name of a name in a module, as far as its imports show."""
        head, _, rest = dotted.partition(".")
        if head not in module.imports:
            return dotted
        return ".".join(part for part in (*module.imports[head], rest) if part)

    def _follow(self, module: Module, dotted: str, steps: int) -> tuple[Module, Definition] | None:
        if not steps:
            return None
        if dotted in module.definitions:
            found = module.definitions[dotted]
            if isinstance(found, ast.Name | ast.Attribute) and ast.unparse(found) != dotted:
                return self._follow(module, ast.unparse(found), steps - 1) or (module, found)
            return module, found
        if dotted.split(".", maxsplit=1)[0] in module.imports:
            return self._elsewhere(self.origin(module, dotted), steps)
        for star in module.stars:
            if (other := self.named(star)) and (found_there := self._follow(other, dotted, steps - 1)):
                return found_there
        return None

    def _elsewhere(self, full: str, steps: int) -> tuple[Module, Definition] | None:
        parts = full.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            if other := self.named(".".join(parts[:cut])):
                return self._follow(other, ".".join(parts[cut:]), steps - 1)
        return None

    def _parse(self, path: Path, root: Path) -> Module | None:
        file = str(path.relative_to(self.base)) if path.is_relative_to(self.base) else str(path)
        try:
            tree = ast.parse(NEW_EXCEPT.sub(rb"\1(\2)\3", path.read_bytes()))
        except (SyntaxError, ValueError):
            self.unread.append(file)
            return None
        names = module_names(path, root)
        return Module(names[0], names, file, tree, path.stem == "__init__")


def module_names(path: Path, root: Path) -> tuple[str, ...]:
    """Return the possible module names of a file, the most likely first.

    All folders that are packages belong to the name. Each folder above that is not a package may be a namespace package
    or be on the path; a project's own folder and ``src`` are on the path.
    """
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    names = [".".join(parts)]
    likely = 0
    while folder != root and root in folder.parents:
        if likely == len(names) - 1 and folder.name != "src" and not _holds_a_project(folder):
            likely += 1
        parts.insert(0, folder.name)
        names.append(".".join(parts))
        folder = folder.parent
    named = [name for name in names if name]
    if not named:
        return ("__init__",)
    best = names[likely]
    return tuple(dict.fromkeys([best, *named])) if best else tuple(named)


def _holds_a_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in PROJECT_FILES)


def _is_source(path: Path, root: Path) -> bool:
    folder = root
    for part in path.relative_to(root).parts[:-1]:
        folder = folder / part
        if part in SKIPPED or part.startswith(".") or (part in BUILT and not (folder / "__init__.py").exists()):
            return False
    return not TESTS.fullmatch(path.name)
