"""The idempotency key of a call of a task: pure derivation from the bound arguments.

::

    f(1, b=2), f(b=2, a=1), f(1)          one call, where b's default is 2: arguments are bound and defaults applied
      │ identifying values: all arguments, or those that the task names
      │ scope: global, or within one user, one tenant, or the owner that a callable returns
      ▼
    SHA-256 of the canonical JSON (`jobs.idempotency`)      or the caller's own `idempotency_key`, within the scope

A default that JSON cannot represent (a sentinel, a datetime) is left out of the key: no argument of a message can equal
it. Changing a default in the code changes the key of the calls that rely on it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from jobclaim.jobs import InvalidInput, InvalidPayload
from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.idempotency import GLOBAL, derive_key

Scope: TypeAlias = str | Callable[[dict[str, Any]], Any]
"""``"global"``, ``"user"``, ``"tenant"``, or a function from the arguments by name to the owner of the scope."""
KeyFrom: TypeAlias = Sequence[str] | Callable[[dict[str, Any]], Any]
"""Names of the arguments that identify a call, or a function from the arguments by name to a JSON value that does."""

OWNERS: Final = {"user": "user_id", "tenant": "tenant_id"}
"""Argument that names the owner of each scope, unless the task sets another one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that makes equal calls one job.

    Attributes
    ----------
    key : str
        The key as the job stores it.
    fingerprint : str
        Hash of the values that identify the call: the same key with another fingerprint is a mistake.
    """

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a task's calls are identified.

    Attributes
    ----------
    scope : str or callable
    argument : str, optional
        Name of the argument that holds the scope's owner; default by `OWNERS`.
    key_from : sequence of str or callable, optional
        What identifies a call; default all its arguments.
    """

    scope: Scope = GLOBAL
    argument: str | None = None
    key_from: KeyFrom | None = None

    def check(self) -> None:
        """Refuse an unknown scope; problems that depend on the arguments are found at the call."""
        if not callable(self.scope) and self.scope != GLOBAL and self.scope not in OWNERS:
            known = [GLOBAL, *OWNERS]
            raise InvalidInput(
                f"idempotency_scope={self.scope!r} must be one of {known}, or a function of the arguments"
            )


def bind(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, partial: bool = False
) -> dict[str, Any]:
    """Return the arguments of a call by name, defaults applied; extra ones under ``*name`` and ``**name``.

    Parameters
    ----------
    partial : bool
        Whether arguments may be missing.

    Raises
    ------
    TypeError
        The arguments do not fit the function.
    """
    signature = inspect.signature(function)
    bound = (signature.bind_partial if partial else signature.bind)(*args, **kwargs)
    names = set(bound.arguments)
    bound.apply_defaults()
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values |= {f"*{name}": list(value)} if value else {}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            values |= {f"**{name}": dict(value)} if value else {}
        elif name in names or _is_json(value):
            values[name] = value
    return values


def identify(task: str, values: dict[str, Any], rules: Rules, key: str | None = None) -> Identity:
    """Identify a call.

    Parameters
    ----------
    values : dict
        The call's arguments by name, from `bind`.
    key : str, optional
        The caller's own key; it counts within the scope.

    Raises
    ------
    InvalidInput, InvalidPayload
        No owner for the scope, an unknown argument in ``key_from``, a key that is not text, or values that JSON cannot
        represent.
    """
    rules.check()
    scope = rules.scope if isinstance(rules.scope, str) else "custom"
    owner = _owner(task, values, rules)
    if key is not None:
        return Identity(_own_key(key, scope, owner), _digest(canonical(values)))
    derived = derive_key(task, _identifying(task, values, rules.key_from), scope=scope, owner=owner)
    return Identity(derived, derived[:16])


def key_of(task: Any, arguments: Mapping[str, Any]) -> str:
    """Return the idempotency key of a task's call, given its identifying arguments by name.

    The task's scope, defaults and types apply, as at a submission. Arguments that do not identify a call may be left
    out.

    Raises
    ------
    InvalidInput
        An identifying argument is missing, or an argument is unknown, so the key is ambiguous.
    """
    rules: Rules = task.idempotency_rules() or Rules()
    try:
        args, kwargs = task.to_json((), dict(arguments))
        values = bind(task.run, args, kwargs, partial=True)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the values do not fit the arguments of task {task.name!r}, so its key cannot be computed: {error}; "
            "correct them"
        ) from None
    if missing := _missing(task, values, rules):
        raise InvalidInput(
            f"the key of task {task.name!r} cannot be computed without {', '.join(missing)}; give their values, or "
            "the whole key as `jobclaim show JOB` prints it"
        )
    return identify(task.name, values, rules).key


def _missing(task: Any, values: Mapping[str, Any], rules: Rules) -> list[str]:
    if rules.key_from is not None and not callable(rules.key_from):
        return []  # `identify` reports them
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(task.run).parameters.values()
    return [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in variable and each.name not in values
    ]


def _owner(task: str, values: dict[str, Any], rules: Rules) -> Any:
    if rules.scope == GLOBAL:
        return None
    if callable(rules.scope):
        owner, source = rules.scope(values), "idempotency_scope"
    else:
        source = rules.argument or OWNERS[rules.scope]
        owner = named(values).get(source)
    if owner is None or owner == "":
        raise InvalidInput(
            f"task {task!r} is idempotent within a scope, but {source} does not name an owner for this call "
            f"({owner!r}); pass one, or correct idempotency_scope_argument"
        )
    return owner


def _identifying(task: str, values: dict[str, Any], key_from: KeyFrom | None) -> Any:
    if key_from is None:
        return values
    if callable(key_from):
        return key_from(values)
    known = named(values)
    missing = [name for name in key_from if name not in known]
    if missing:
        raise InvalidInput(
            f"idempotency_key_from of task {task!r} names {missing}, but its arguments are {sorted(known)}; correct "
            "the names"
        )
    return {name: known[name] for name in key_from}


def named(values: dict[str, Any]) -> dict[str, Any]:
    """Return arguments by name, those caught by ``**kwargs`` among them."""
    caught = [value for name, value in values.items() if name.startswith("**")]
    return {**(caught[0] if caught else {}), **values}


def _own_key(key: Any, scope: str, owner: Any) -> str:
    if not isinstance(key, str) or not key.strip():
        raise InvalidInput(f"idempotency_key={key!r} must be non-empty text")
    if scope == GLOBAL:
        return key
    # quoted, so that no owner's name can collide with another one's keys
    return f"{scope}={quote(canonical(owner), safe='')}/{key}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)  # fails for dates and the like: a default such as datetime.now() differs between processes
        canonical(value)
    except (InvalidPayload, TypeError, ValueError):
        return False
    return True
