"""YAML fragments with ``@{name}`` in them: the one thing that is replaced. CloudFormation's own ``${...}`` stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from jobclaim.infra.errors import InfraError

_BLOCK: Final = re.compile(r"^( *)@\{(\w+)\}$\n?", re.MULTILINE)
_INLINE: Final = re.compile(r"@\{(\w+)\}")


class FragmentError(InfraError):
    """A fragment asks for a value that nobody gives."""


def fill(name: str, values: Mapping[str, object]) -> str:
    """Give a fragment with its values put in.

    A value alone on its line is a block: each of its lines gets that line's indentation, and an empty value takes the
    line away. Any other is put where it stands.

    Raises
    ------
    FragmentError
        The fragment names a value that is not among `values`.
    """

    def value(match: re.Match[str], group: int) -> str:
        if match[group] not in values:
            raise FragmentError(
                f"infra/fragments/{name}.yaml asks for @{{{match[group]}}}, which is not among {sorted(values)}; "
                "correct the name"
            )
        return str(values[match[group]])

    def block(match: re.Match[str]) -> str:
        lines = value(match, 2).splitlines()
        return "".join(f"{match[1]}{line}\n" if line else "\n" for line in lines)

    return _INLINE.sub(lambda match: value(match, 1), _BLOCK.sub(block, _read(name)))


def _read(name: str) -> str:
    return files("jobclaim.infra").joinpath(f"fragments/{name}.yaml").read_text(encoding="utf-8")
