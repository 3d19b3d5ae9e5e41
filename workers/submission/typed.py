"""Typed payloads: arguments checked against the task's own annotations, at submission and again before the body runs.

::

    pay.delay(Order(...)) ──validate, to plain JSON──▶ payload ──validate, to types──▶ pay(order: Order)
                     └ InvalidArguments: nothing was written        └ InvalidArguments: FAILED, the body does not run

A payload whose arguments do not even fit the task's parameters fails with kind CONFIGURATION, others with PERMANENT.

All annotated parameters of a task with ``validate = True`` are checked; without it, only those whose annotation
contains a pydantic model. A payload may be older than the code that reads it, hence the second check.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

from celery import Task
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from jobclaim.jobs import InvalidInput, InvalidPayload
from jobclaim.jobs.durable.typed import holds_model

MOST_ERRORS: Final = 5
MOST_OF_A_VALUE: Final = 80
"""Limit of a refused value in an error, characters."""

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
Convert = Callable[[TypeAdapter[Any], Any], Any]


class InvalidArguments(InvalidPayload, TypeError):
    """Arguments do not fit the annotations of their task; the message names task, field, value and reason."""


class CallDoesNotFit(InvalidArguments):
    """Arguments are missing, too many or unknown: caller and worker have different versions of the task."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The checks of a task's arguments.

    Attributes
    ----------
    task : str
    signature : inspect.Signature
        The body's signature, without ``self``.
    adapters : mapping of str to TypeAdapter
        Pydantic's checks by parameter; empty for a task whose arguments are not checked.
    by_position : range
        How many arguments a call without keyword arguments may have; others may fit too.
    """

    task: str
    signature: inspect.Signature
    adapters: Mapping[str, TypeAdapter[Any]]
    by_position: range

    def convert(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], change: Convert
    ) -> tuple[list[Any], dict[str, Any]]:
        """Convert every checked argument; positional ones stay positional. Raises `InvalidArguments`."""
        bound = self.bind(args, kwargs)
        problems: list[str] = []
        for name, adapter in self.adapters.items():
            if name in bound.arguments:
                try:
                    bound.arguments[name] = self._change(name, adapter, bound.arguments[name], change)
                except ValidationError as error:
                    problems += _problems(name, error)
        if problems:
            shown = "; ".join(problems[:MOST_ERRORS]) + (" ..." if len(problems) > MOST_ERRORS else "")
            raise InvalidArguments(f"task {self.task!r} refuses {shown}; correct the call, or the task's annotations")
        return self._apart(bound, len(args))

    def fits(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call with positional arguments alone certainly fits; `bind` takes twenty times as long."""
        return not kwargs and len(args) in self.by_position

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Bind each parameter to its argument. Raises `CallDoesNotFit`."""
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise CallDoesNotFit(f"the arguments do not fit task {self.task!r}: {error}; correct the call") from None

    def _apart(self, bound: inspect.BoundArguments, positional: int) -> tuple[list[Any], dict[str, Any]]:
        """Return bound arguments as they were passed: keyword arguments are not made positional."""
        by_position = [name for name, known in self.signature.parameters.items() if known.kind in _BY_POSITION]
        positional_arguments = {name: bound.arguments[name] for name in by_position[:positional]}
        args: list[Any] = list(positional_arguments.values())
        kwargs: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args += value
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs |= value
            elif name not in positional_arguments:
                kwargs[name] = value
        return args, kwargs

    def _change(self, name: str, adapter: TypeAdapter[Any], value: Any, change: Convert) -> Any:
        kind = self.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(change(adapter, inner) for inner in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {key: change(adapter, inner) for key, inner in value.items()}
        return change(adapter, value)


class TypedTask(Task):
    """A task that knows the types of its arguments.

    Attributes
    ----------
    validate : bool
        Whether to check all annotated parameters, not only those whose annotation contains a pydantic model; default
        false.
    """

    abstract = True
    validate: ClassVar[bool] = False

    def to_json(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> tuple[list[Any], dict[str, Any]]:
        """Check arguments and return them as plain JSON values.

        Raises
        ------
        InvalidArguments
        """
        if not self._plan.adapters:
            return list(args or ()), dict(kwargs or {})
        return self._plan.convert(args or (), kwargs or {}, _dump)

    def from_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Check a payload's arguments and return them in their annotated types. Raises as `to_json`."""
        if not self._plan.adapters:
            if self.typing and not self._plan.fits(args, kwargs):
                self._plan.bind(args, kwargs)
            return list(args), dict(kwargs)
        return self._plan.convert(args, kwargs, _load)

    @cached_property
    def _plan(self) -> Plan:
        return plan(self.name, self.run, everything=self.validate)


def plan(task: str, body: Callable[..., Any], *, everything: bool) -> Plan:
    """Make the plan of a task from its body's annotations.

    Raises
    ------
    InvalidInput
        Pydantic cannot check an annotation.
    """
    signature = inspect.signature(body)
    try:
        hints = typing.get_type_hints(inspect.unwrap(body), include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}  # names that exist only for a type checker: nothing can be checked
    adapters = {}
    for name in signature.parameters:
        if name in hints and (everything or holds_model(hints[name])):
            try:
                adapters[name] = TypeAdapter(hints[name])
            except PydanticUserError as error:
                raise InvalidInput(
                    f"parameter {name!r} of task {task!r} has the annotation {hints[name]!r}, which cannot be checked "
                    f"({error.code}); change the annotation, or set validate=False"
                ) from error
    return Plan(task, signature, adapters, _by_position(signature))


def _by_position(signature: inspect.Signature) -> range:
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    needed = [known.kind for known in signature.parameters.values() if known.default is inspect.Parameter.empty]
    if inspect.Parameter.KEYWORD_ONLY in needed:
        return range(0)
    return range(sum(kind in _BY_POSITION for kind in needed), sum(kind in _BY_POSITION for kind in kinds) + 1)


def plain_result(result: Any) -> Any:
    """Return a model that a body returned as plain JSON values; anything else unchanged."""
    return result.model_dump(mode="json") if isinstance(result, BaseModel) else result


def _dump(adapter: TypeAdapter[Any], value: Any) -> Any:
    return adapter.dump_python(adapter.validate_python(value), mode="json")


def _load(adapter: TypeAdapter[Any], value: Any) -> Any:
    return adapter.validate_python(value)


def _problems(name: str, error: ValidationError) -> list[str]:
    """Describe each refused field, as ``order.amount='abc' (Input should be a valid integer)``."""
    return [
        f"{'.'.join([name, *map(str, problem['loc'])])}={_shown(problem['input'])} ({problem['msg']})"
        for problem in error.errors(include_url=False, include_context=False)
    ]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_OF_A_VALUE else text[:MOST_OF_A_VALUE] + "..."
