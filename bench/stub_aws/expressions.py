"""DynamoDB's condition, key and update expressions, parsed once per text into functions of an item."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, reduce
from typing import Any, Final

Item = dict[str, Any]
Value = dict[str, Any]
"""As on the wire: ``{"S": "text"}``."""

_TOKEN: Final = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:\w.\[\]]+)")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadExpression(Exception):
    """An expression that this stub does not support."""


@dataclass(slots=True)
class Context:
    """Input of an expression's evaluation."""

    item: Item
    names: dict[str, str]
    values: dict[str, Value]


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
        found = self._all()
        while self._word("OR"):
            found = _one_of(found, self._all())
        return found

    def _all(self) -> Condition:
        found = self._single()
        while self._word("AND"):
            found = _both(found, self._single())
        return found

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
        word = self._next().upper()
        if word == "BETWEEN":
            low = self.operand()
            self._next()
            return _both(_compared("<=", low, left), _compared("<=", left, self.operand()))
        if word == "IN":
            return reduce(_one_of, [_compared("=", left, one) for one in self._arguments()])
        return _compared(word, left, self.operand())

    # --- values
    def operand(self) -> Operand:
        token = self._next()
        if token.startswith(":"):
            return lambda context: context.values[token]
        if self._peek() == "(":
            return self._value_function(token)
        return _attribute(token)

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
            value = _sum(value, self._next(), self.operand())
        return _store(path, value)

    def _remove(self) -> Action:
        return _store(self._next(), lambda _: None)

    def _add(self) -> Action:
        path, value = self._next(), self.operand()
        before = _attribute(path)
        return _store(path, _sum(lambda context: before(context) or {"N": "0"}, "+", value))


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


def _attribute(path: str) -> Operand:
    """Return the operand that reads a document path; placeholders in it are replaced when it is read."""
    first, *inner = path.split(".")

    def read(context: Context) -> Value | None:
        names = context.names
        found: Any = context.item.get(names.get(first, first))
        for part in inner:
            found = found.get("M", {}).get(names.get(part, part)) if found else None
        return found  # type: ignore[no-any-return]

    return read


def _store(path: str, value: Operand) -> Action:
    """Return the action that sets a value, or removes it if there is none.

    Maps on its path are copied, since the old item must not change.
    """
    *maps, last = path.split(".")

    def store(context: Context, item: Item) -> None:
        names, new = context.names, value(context)
        for part in maps:
            name = names.get(part, part)
            copied = dict(item[name]["M"])
            item[name] = {"M": copied}
            item = copied
        if new is None:
            item.pop(names.get(last, last), None)
        else:
            item[names.get(last, last)] = new

    return store


def _sum(left: Operand, sign: str, right: Operand) -> Operand:
    combined = operator.add if sign == "+" else operator.sub

    def total(context: Context) -> Value:
        first, second = left(context), right(context)
        if first is None or second is None:
            raise BadExpression("a sum of an attribute that is not there")
        return {"N": str(combined(Decimal(first["N"]), Decimal(second["N"])))}

    return total


def _text(value: Value | None) -> str:
    return "" if value is None else str(next(iter(value.values())))


def _both(first: Condition, second: Condition) -> Condition:
    return lambda context: first(context) and second(context)


def _one_of(first: Condition, second: Condition) -> Condition:
    return lambda context: first(context) or second(context)


def _compared(word: str, left: Operand, right: Operand) -> Condition:
    """Return the comparison of two values; those of different types, or that are not there, are only unequal."""
    if word not in _OPERATORS:
        raise BadExpression(f"operator {word}")
    holds, unequal = _OPERATORS[word], word == "<>"

    def compare(context: Context) -> bool:
        first, second = left(context), right(context)
        if first is None or second is None:
            return unequal and first is not second
        ((kind, raw),) = first.items()
        if kind not in second:
            return unequal
        other = second[kind]
        return holds(Decimal(raw), Decimal(other)) if kind == "N" else holds(raw, other)

    return compare
