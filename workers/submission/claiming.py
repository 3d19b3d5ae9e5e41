"""Determine whether a plain task claims its job itself: from its author's declaration, else from its code.

A job of a task that does not claim would call the body with the job's id as the argument, again after each redispatch
by recovery, because nothing ends the job.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, Final

CLAIMS: Final = frozenset({"claim_job", "claimed", "conditional_update_status_to_processing"})
"""Methods of `JobRepo` by which a body claims."""
DEEPEST: Final = 4
"""Depth of calls that are followed from a body; deeper ones need ``claims = True``."""


def claims(task: Any) -> bool:
    """Check whether a task's body claims its job.

    ``@shared_task(claims=True)`` declares that it does, ``claims=False`` that it does not. Else its code is searched
    for a name in `CLAIMS`, in the body or in functions that it calls by name.
    """
    option = getattr(task, "claims", None)
    if option is not None:
        return bool(option)
    return _mentions(inspect.unwrap(task.run), task, DEEPEST, set())


def _mentions(called: Any, task: Any, depth: int, seen: set[int]) -> bool:
    function = inspect.unwrap(getattr(called, "__func__", called))
    if not isinstance(function, FunctionType) or id(function) in seen:
        return False
    seen.add(id(function))
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    if names & CLAIMS:
        return True
    return depth > 0 and any(_mentions(each, task, depth - 1, seen) for each in _called(function, names, task))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _called(function: FunctionType, names: set[str], task: Any) -> Iterator[Any]:
    """Return what a function may call: by a global name, as a method of the task, or from its closure."""
    for name in names:
        yield function.__globals__.get(name)
        yield inspect.getattr_static(type(task), name, None)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue
