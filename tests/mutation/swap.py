"""Putting a change into a process that has imported everything: a function gets the code of its changed self.

Whoever has imported the function, holds it in a table or has wrapped it calls the new code too, for the function stays
the same object.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tests.mutation.operators import Change


class CannotBeMade(LookupError):
    """The change is in a function that is made anew at each call, or in none."""


def module_of(path: str) -> str:
    """Give the name of the module in a file."""
    parts = Path(path).with_suffix("").parts
    return ".".join(("jobclaim", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def swap(change: Change, path: str) -> None:
    """Make the change in this process.

    Raises
    ------
    CannotBeMade
        It is not in a function that can be found.
    """
    module = importlib.import_module(module_of(path))
    changed = dict(_codes(compile(change.text, str(Path(module.__file__ or path)), "exec", dont_inherit=True)))
    count = 0
    for name, function in _functions(module):
        code = changed.get(name)
        if code is not None and code.co_freevars == function.__code__.co_freevars:
            # what `types.coroutine` has made of a generator when the module was imported
            code = code.replace(co_flags=code.co_flags | function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE)
            if code != function.__code__:
                count += 1
                function.__code__ = code
    if not count:
        raise CannotBeMade(f"{change.name} is not in a function of {module.__name__}")


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner.co_qualname, inner
            if "<locals>" not in inner.co_qualname:
                yield from _codes(inner)


def _functions(module: Any) -> Iterator[tuple[str, FunctionType]]:
    for owner in (module, *(value for value in vars(module).values() if _is_own_class(value, module))):
        for value in list(vars(owner).values()):
            function = _unwrapped(value)
            if function is not None and function.__module__ == module.__name__:
                yield function.__qualname__, function


def _is_own_class(value: Any, module: Any) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def _unwrapped(value: Any) -> FunctionType | None:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if hasattr(value, "cache_clear"):
        value.cache_clear()
    if isinstance(value, (functools.partial, functools.cached_property)):
        value = value.func
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value if isinstance(value, FunctionType) else None
