"""DynamoDB's condition, key and update expressions, parsed once per text into functions of an item."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

Item = dict[str, Any]
Value = dict[str, Any]
"""As on the wire: ``{"S": "text"}``."""

_TOKEN: Final = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:\w.\[\]]+)")


class BadExpression(Exception):
    """An expression that this stub does not support."""


@dataclass(frozen=True, slots=True)
class Context:
    """Input of an expression's evaluation."""

    item: Item
    names: dict[str, str]
    values: dict[str, Value]

    def path(self, text: str) -> list[str]:
        """Split a document path, with its placeholders replaced."""
        return [self.names.get(part, part) for part in text.split(".")]


Operand = Callable[[Context], Value | None]
Condition = Callable[[Context], bool]
Action = Callable[[Context, Item], None]


@lru_cache(maxsize=1024)
def condition(text: str) -> Condition:
    """Parse a condition or key condition expression."""
    parser = _Parser(text)
    parsed = parser.either()
    parser.end()
    return parsed


@lru_cache(maxsize=1024)
def update(text: str) -> tuple[Action, ...]:
    """Parse an update expression into its actions, each of which changes a copy of the item."""
    return _Parser(text).actions()


def order(value: Value) -> Any:
    """Return the key by which a value is sorted and compared."""
    ((kind, raw),) = value.items()
    return Decimal(raw) if kind == "N" else raw


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _split(text)
        self._at = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise BadExpression(f"cannot read {self._tokens[self._at :]}")

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _word(self, word: str) -> bool:
        if self._peek().upper() == word:
            self._at += 1
            return True
        return False

    # --- conditions
    def either(self) -> Condition:
        parts = [self._all()]
        while self._word("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda context: any(part(context) for part in parts)

    def _all(self) -> Condition:
        parts = [self._single()]
        while self._word("AND"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else lambda context: all(part(context) for part in parts)

    def _single(self) -> Condition:
        if self._word("NOT"):
            inner = self._single()
            return lambda context: not inner(context)
        if self._word("("):
            inner = self.either()
            self._next()
            return inner
        if self._peek(1) == "(" and self._peek() != "size":
            return self._function()
        return self._comparison(self.operand())

    def _function(self) -> Condition:
        name, arguments = self._next(), self._arguments()
        first = arguments[0]
        if name == "attribute_exists":
            return lambda context: first(context) is not None
        if name == "attribute_not_exists":
            return lambda context: first(context) is None
        second = arguments[1]
        if name == "begins_with":
            return lambda context: _text(first(context)).startswith(_text(second(context)))
        if name == "contains":
            return lambda context: _text(second(context)) in _text(first(context))
        raise BadExpression(f"function {name}")

    def _comparison(self, left: Operand) -> Condition:
        operator = self._next().upper()
        if operator == "BETWEEN":
            low = self.operand()
            self._next()
            high = self.operand()
            return lambda context: (
                _compare("<=", low(context), left(context)) and _compare("<=", left(context), high(context))
            )
        if operator == "IN":
            among = self._arguments()
            return lambda context: any(_compare("=", left(context), one(context)) for one in among)
        right = self.operand()
        return lambda context: _compare(operator, left(context), right(context))

    # --- values
    def operand(self) -> Operand:
        token = self._next()
        if token.startswith(":"):
            return lambda context: context.values[token]
        if self._peek() == "(":
            return self._value_function(token)
        return lambda context: _look_up(context, token)

    def _value_function(self, name: str) -> Operand:
        arguments = self._arguments()
        if name == "if_not_exists":
            return lambda context: next(value for one in arguments if (value := one(context)) is not None)
        if name == "size":
            return lambda context: {"N": str(len(_text(arguments[0](context))))}
        if name == "list_append":
            return lambda context: {"L": [entry for one in arguments for entry in (one(context) or {"L": []})["L"]]}
        raise BadExpression(f"function {name}")

    def _arguments(self) -> list[Operand]:
        self._next()
        found = [self.operand()]
        while self._next() == ",":
            found.append(self.operand())
        return found

    # --- updates
    def actions(self) -> tuple[Action, ...]:
        found: list[Action] = []
        clause = ""
        while self._at < len(self._tokens):
            if self._peek().upper() in ("SET", "REMOVE", "ADD") and self._peek(1) not in ("=", ","):
                clause = self._next().upper()
            found.append({"SET": self._set, "REMOVE": self._remove, "ADD": self._add}[clause]())
            self._word(",")
        return tuple(found)

    def _set(self) -> Action:
        path = self._next()
        self._next()
        value = self.operand()
        if self._peek() in ("+", "-"):
            value = _sum(value, 1 if self._next() == "+" else -1, self.operand())
        return lambda context, item: _store(item, context.path(path), value(context))

    def _remove(self) -> Action:
        path = self._next()
        return lambda context, item: _store(item, context.path(path), None)

    def _add(self) -> Action:
        path, value = self._next(), self.operand()
        total = _sum(lambda context: _look_up(context, path) or {"N": "0"}, 1, value)
        return lambda context, item: _store(item, context.path(path), total(context))


def _split(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadExpression(text[at:])
        tokens.append(match.group(1))
        at = match.end()
    return tokens


def _look_up(context: Context, text: str) -> Value | None:
    found: Any = {"M": context.item}
    for part in context.path(text):
        found = found.get("M", {}).get(part) if found else None
    return found  # type: ignore[no-any-return]


def _store(item: Item, path: list[str], value: Value | None) -> None:
    """Set or remove a value; maps on its path are copied, since the old item must not change."""
    for part in path[:-1]:
        copied = dict(item[part]["M"])
        item[part] = {"M": copied}
        item = copied
    if value is None:
        item.pop(path[-1], None)
    else:
        item[path[-1]] = value


def _sum(left: Operand, sign: int, right: Operand) -> Operand:
    def total(context: Context) -> Value:
        first, second = left(context), right(context)
        if first is None or second is None:
            raise BadExpression("a sum of an attribute that is not there")
        return {"N": str(Decimal(first["N"]) + sign * Decimal(second["N"]))}

    return total


def _text(value: Value | None) -> str:
    return "" if value is None else str(next(iter(value.values())))


def _compare(operator: str, left: Value | None, right: Value | None) -> bool:
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>" and left != right
    first, second = order(left), order(right)
    if operator in ("=", "<>"):
        return bool(first == second) is (operator == "=")
    return bool({"<": first < second, "<=": first <= second, ">": first > second, ">=": first >= second}[operator])
