"""Texts of expressions in source code: literal, partly computed, or unknown."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Final

from jobclaim.governance.modules import Module, Modules

MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Text:
    """A text as a regular expression; if no part of it is computed, ``exact`` is the text."""

    pattern: str
    exact: str | None = None

    @classmethod
    def of(cls, text: str) -> Text:
        """Return the `Text` of a literal."""
        return cls(re.escape(text), text)

    def __add__(self, other: Text) -> Text:
        both = None if self.exact is None or other.exact is None else self.exact + other.exact
        return Text(self.pattern + other.pattern, both)


COMPUTED: Final = Text(".*")
"""A text that only running the code would show."""


def text_of(node: ast.expr, module: Module, modules: Modules, depth: int = MAX_DEPTH) -> Text:
    """Read a text through constants, other modules' constants, f-strings and concatenations."""
    if not depth:
        return COMPUTED
    match node:
        case ast.Constant(value=str() as text):
            return Text.of(text)
        case ast.JoinedStr(values=values):
            return _sum([text_of(one, module, modules, depth - 1) for one in values])
        case ast.FormattedValue(value=value, format_spec=None):
            return text_of(value, module, modules, depth - 1)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, module, modules, depth - 1) + text_of(right, module, modules, depth - 1)
        case ast.Name() | ast.Attribute():
            return _named(node, module, modules, depth)
    return COMPUTED


def _named(node: ast.expr, module: Module, modules: Modules, depth: int) -> Text:
    dotted = ast.unparse(node)
    if dotted == "__name__":
        return Text.of(module.name)
    found = modules.follow(module, dotted) or modules.follow(module, dotted.removesuffix(".value"))
    if found and isinstance(found[1], ast.expr):
        return text_of(found[1], found[0], modules, depth - 1)
    return COMPUTED


def _sum(parts: list[Text]) -> Text:
    whole = Text.of("")
    for part in parts:
        whole += part
    return whole
