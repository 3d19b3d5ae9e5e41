"""DynamoDB's expressions, each text parsed once into a function of an item."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Value = dict[str, Any]
Item = dict[str, Value]
Names = Mapping[str, str]
Values = Mapping[str, Value]
Operand = Callable[[Item, Names, Values], Value | None]
Condition = Callable[[Item, Names, Values], bool]
Update = Callable[[Item, Item, Names, Values], None]
"""Gets the item as it was and the new one, which it changes."""

TOKENS: Final = re.compile(r"\s*(<>|<=|>=|[()=<>,+-]|[#:\w][#:\w.]*)")
PLACEHOLDERS: Final = re.compile(r"[#:]\w+")
COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}


@lru_cache(maxsize=2048)
def condition(text: str) -> Condition:
    """Parse a condition, or a key condition."""
    parser = Parser(text)
    parsed = parser.either()
    parser.expect("")
    return parsed


@lru_cache(maxsize=2048)
def update(text: str) -> tuple[Update, ...]:
    """Parse an update expression into its assignments."""
    return Parser(text).assignments()


@lru_cache(maxsize=2048)
def unused(texts: tuple[str, ...], given: tuple[str, ...]) -> list[str]:
    """Give the names and values that no expression uses: DynamoDB refuses them."""
    used = set(PLACEHOLDERS.findall(" ".join(texts)))
    return [name for name in given if name not in used]


def plain(value: Value) -> Any:
    """Give what a value compares by."""
    ((kind, raw),) = value.items()
    if kind in ("SS", "NS", "BS"):
        return frozenset(raw)
    return number(raw) if kind == "N" else raw


def number(text: str) -> int | float:
    """Read a number as exactly as Python can."""
    try:
        return int(text)
    except ValueError:
        return float(text)


class Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = TOKENS.findall(text)
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"the model cannot read the expression {text!r}")

    def _peek(self, ahead: int = 0) -> str:
        return self._tokens[ahead] if ahead < len(self._tokens) else ""

    def _take(self, wanted: str) -> bool:
        found = self._peek().upper() == wanted and wanted != ""
        if found:
            self._tokens.pop(0)
        return found

    def expect(self, token: str) -> None:
        """Go past a token; "" is the end."""
        if self._peek() != token:
            raise ValueError(f"the model expected {token or 'the end'!r} and found {self._tokens[:4]}")
        del self._tokens[:1]

    # --- conditions
    def either(self) -> Condition:
        """Parse conditions joined by OR."""
        parts = [self._both()]
        while self._take("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda *given: any(part(*given) for part in parts)

    def _both(self) -> Condition:
        parts = [self._single()]
        while self._take("AND"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else lambda *given: all(part(*given) for part in parts)

    def _single(self) -> Condition:
        if self._take("NOT"):
            inner = self._single()
            return lambda *given: not inner(*given)
        if self._take("("):
            inner = self.either()
            self.expect(")")
            return inner
        name = self._peek().lower()
        if name in ("attribute_exists", "attribute_not_exists"):
            (path,) = self._call()
            return lambda *given: (path(*given) is None) is (name == "attribute_not_exists")
        if name == "attribute_type":
            path, kind = self._call()
            return lambda *given: (kind(*given) or {}).get("S") in (path(*given) or ())
        return self._comparison(self._operand())

    def _comparison(self, left: Operand) -> Condition:
        operator = self._tokens.pop(0).upper()
        if operator == "BETWEEN":
            low = self._operand()
            self.expect("AND")
            high = self._operand()
            return lambda *given: compare("<=", low(*given), left(*given)) and compare("<=", left(*given), high(*given))
        if operator == "IN":
            members = self._members()
            return lambda *given: any(compare("=", left(*given), member(*given)) for member in members)
        right = self._operand()
        return lambda *given: compare(operator, left(*given), right(*given))

    # --- values
    def _operand(self) -> Operand:
        if self._peek(1) == "(":
            if self._peek() == "size":
                (whole,) = self._call()
                return lambda *given: length(whole(*given))
            if self._peek() != "if_not_exists":
                raise ValueError(f"the model knows no function {self._peek()}")
            path, otherwise = self._call()
            return lambda *given: found if (found := path(*given)) is not None else otherwise(*given)
        token = self._tokens.pop(0)
        if token.startswith(":"):
            return lambda item, names, values: values[token]
        parts = token.split(".")
        return lambda item, names, values: look_up(item, named(parts, names))

    def _call(self) -> list[Operand]:
        self._tokens.pop(0)
        return self._members()

    def _members(self) -> list[Operand]:
        self.expect("(")
        found = [self._operand()]
        while self._take(","):
            found.append(self._operand())
        self.expect(")")
        return found

    # --- updates
    def assignments(self) -> tuple[Update, ...]:
        """Parse SET, ADD and REMOVE clauses."""
        found: list[Update] = []
        clause = ""
        while self._tokens:
            if self._peek() in ("SET", "ADD", "REMOVE"):
                clause = self._tokens.pop(0)
            found.append(self._assignment(clause, self._tokens.pop(0).split(".")))
            self._take(",")
        return tuple(found)

    def _assignment(self, clause: str, parts: list[str]) -> Update:
        value = self._new_value(clause, parts)

        def assign(old: Item, new: Item, names: Names, values: Values) -> None:
            store(new, named(parts, names), value and value(old, names, values))

        return assign

    def _new_value(self, clause: str, parts: list[str]) -> Operand | None:
        if clause == "REMOVE":
            return None
        if clause == "ADD":
            more = self._operand()
            return lambda item, names, values: added(look_up(item, named(parts, names)), more(item, names, values))
        self.expect("=")
        first = self._operand()
        if not self._take("+"):
            return first
        second = self._operand()
        return lambda *given: total(first(*given), second(*given))


def length(value: Value | None) -> Value | None:
    """Give the size of a value: members of a collection, characters of a text."""
    if value is None:
        return None
    ((_, raw),) = value.items()
    return {"N": str(len(raw))}


def compare(operator: str, left: Value | None, right: Value | None) -> bool:
    """Compare as DynamoDB does: values of two types are unequal and have no order."""
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>"
    if operator in ("=", "<>"):
        return (plain(left) == plain(right)) is (operator == "=")
    return COMPARE[operator](plain(left), plain(right))


def total(left: Value | None, right: Value | None) -> Value:
    """Add two numbers; an attribute that is not there has no sum."""
    if left is None or right is None:
        raise LookupError("a sum refers to an attribute that does not exist in the item")
    return {"N": str(number(left["N"]) + number(right["N"]))}


def added(left: Value | None, right: Value | None) -> Value:
    """Give what ADD leaves: a sum of numbers, or the union of sets; what is not there counts as nothing."""
    if right is None or "N" in right:
        return total(left or {"N": "0"}, right)
    ((kind, more),) = right.items()
    held = left.get(kind, []) if left else []
    return {kind: [*held, *(one for one in more if one not in held)]}


def named(path: list[str], names: Names) -> list[str]:
    """Put names in the place of their placeholders; one that the request does not define is refused, as there."""
    return [names[part] if part.startswith("#") else part for part in path]


def look_up(item: Item, path: list[str]) -> Value | None:
    """Follow a document path."""
    found = item.get(path[0])
    for part in path[1:]:
        found = found["M"].get(part) if found is not None and "M" in found else None
    return found


def store(item: Item, path: list[str], value: Value | None) -> None:
    """Put a value under a path, or remove what is there; maps on the way are copied, for the old item has them too."""
    for part in path[:-1]:
        inner = item.get(part)
        if inner is None or "M" not in inner:
            raise LookupError("the document path provided in the update expression is invalid for update")
        copy = dict(inner["M"])
        item[part] = {"M": copy}
        item = copy
    if value is None:
        item.pop(path[-1], None)
    else:
        item[path[-1]] = value
