"""How modules stand to each other: no name of a package hides a module, and no import comes back to where it began."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jobclaim

ROOT = Path(jobclaim.__file__).parent


def test_no_name_of_a_package_hides_one_of_its_modules() -> None:
    hidden = [
        f"{package}.{name}"
        for package, tree in _packages()
        for name in _bound(tree, package)
        if f"{package}.{name}" in MODULES
    ]
    assert not hidden, f"a name in __init__.py and a module are called alike, rename the module: {hidden}"


def test_imports_run_in_no_circle() -> None:
    """Those within functions and for type checkers count as well."""
    try:
        TopologicalSorter({name: _imports(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"move what both need below them: {' -> '.join(error.args[1])}")


def test_no_two_packages_within_a_package_import_each_other() -> None:
    """Imports within functions count as well; modules that stand beside the packages may use any of them."""
    used = {
        (parent, one, other)
        for name in MODULES
        for imported in _imports(name)
        for parent, one, other in _siblings(name, imported)
    }
    mutual = sorted({(parent, *sorted((one, other))) for parent, one, other in used if (parent, other, one) in used})
    assert not mutual, f"move what both need to a package of its own, or to the lower one: {mutual}"


def _siblings(name: str, imported: str) -> Iterator[tuple[str, str, str]]:
    """The two packages of one parent that an import connects, if there are such."""
    ones, others = name.split("."), imported.split(".")
    same = next((at for at, (one, other) in enumerate(zip(ones, others, strict=False)) if one != other), 0)
    parent = ".".join(ones[:same])
    if same > 1 and {f"{parent}.{ones[same]}", f"{parent}.{others[same]}"} <= PACKAGES:
        yield parent, ones[same], others[same]


def _modules() -> Iterator[tuple[str, Path]]:
    for folder, _, files in os.walk(ROOT, followlinks=True):
        for file in (Path(folder, name) for name in files if name.endswith(".py")):
            parts = file.relative_to(ROOT.parent).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), file


def _packages() -> Iterator[tuple[str, ast.Module]]:
    for name, file in MODULES.items():
        if file.name == "__init__.py":
            yield name, _tree(name)


def _bound(tree: ast.Module, package: str) -> Iterator[str]:
    """Names that a package gives to something else than a module of its own."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != package:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


@cache
def _imports(name: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return (found & MODULES.keys()) - {name}


MODULES = dict(_modules())
PACKAGES = {name for name, file in MODULES.items() if file.name == "__init__.py"}
