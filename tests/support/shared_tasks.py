"""Shared tasks of other test modules, kept from the apps of the one that runs: each app would bind them all again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType, ModuleType
from typing import Any


@contextmanager
def only_those_of(module: ModuleType) -> Iterator[None]:
    """Hide the shared tasks of other test modules, unless `module` takes functions from them."""
    known: Any = sys.modules.get("celery._state")
    if known is None:  # nothing has imported Celery yet
        yield
        return
    of = {announce: _module_of(announce) for announce in known._on_app_finalizers}
    taken = {each.__module__ for each in vars(module).values() if type(each) is FunctionType} | {module.__name__}
    hidden = {announce for announce, name in of.items() if _is_of_tests(name) and name not in taken}
    known._on_app_finalizers -= hidden
    for app in _lasting_apps(known):
        for announce, name in of.items():
            if name in taken:
                announce(app)  # it may have been finalized while these were hidden
    try:
        yield
    finally:
        known._on_app_finalizers |= hidden


@cache
def _module_of(announce: Any) -> str:
    """Return where the function of a shared task is from; Celery keeps it in what it calls with each new app."""
    held = dict(zip(announce.__code__.co_freevars, announce.__closure__ or (), strict=True))
    return str(held["fun"].cell_contents.__module__) if "fun" in held else ""


def _is_of_tests(name: str) -> bool:
    """Return whether it is a test module; the app of the process is asked for decorated tasks, whatever made it."""
    folder, _, own = name.rpartition(".")
    return folder.startswith("tests") and own.startswith("test_") and not hasattr(sys.modules[name], "with_idempotency")


def _lasting_apps(known: Any) -> list[Any]:
    """Return the apps that outlive a module: the current and the default one, and jobclaim's own."""
    apps = sys.modules.get("jobclaim.workers.apps")
    found = [known.default_app, known._tls.current_app, *(apps._default if apps else ())]
    return [app for app in found if app is not None and app.finalized]
