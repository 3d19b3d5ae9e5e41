"""YAML fragments, which are Jinja templates with ``@{name}`` for a value: CloudFormation's own ``${...}`` stays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from jobclaim.infra.errors import InfraError


class FragmentError(InfraError):
    """A fragment names a value that was not given."""


def fill(name: str, values: Mapping[str, object]) -> str:
    """Return a fragment with its values filled in; a value's trailing line break is dropped.

    Raises
    ------
    FragmentError
        The fragment names a value that is not among `values`.
    """
    try:
        return _fragments().get_template(f"{name}.yaml").render(values)
    except UndefinedError as error:
        raise FragmentError(
            f"infra/fragments/{name}.yaml uses a value that is not one of {sorted(values)}: {error.message}; correct "
            "the name"
        ) from error


@cache
def _fragments() -> Environment:
    return Environment(
        loader=PackageLoader("jobclaim.infra", "fragments"),
        autoescape=False,  # noqa: S701 - YAML, made of the operator's own settings
        variable_start_string="@{",
        variable_end_string="}",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=lambda value: value.removesuffix("\n") if isinstance(value, str) else value,
    )
