"""Cron expressions as values: five fields as in crontab(5), parsed once and validated completely.

::

    30 2 * * mon-fri
    │  │ │ │ └── day of week   0-7 or sun-sat; 0 and 7 are Sunday
    │  │ │ └──── month         1-12 or jan-dec
    │  │ └────── day of month  1-31
    │  └──────── hour          0-23
    └─────────── minute        0-59

A field is ``*``, a value, a range ``a-b``, a step ``*/n`` or ``a-b/n``, or a list of these. If day of month and day of
week are both restricted, that is, neither begins with ``*``, a day that matches either of them is enough. Extensions of
other programs (``mon#1``, ``L``, ``W``, ``?``) are refused, because each program interprets them differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

LEAP_CYCLE_DAYS: Final = 41 * 366
"""Days that contain every combination of date and weekday, including 29 February on a given weekday around 2100."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When a crontab fires, as sets of matching values.

    Attributes
    ----------
    weekdays : frozenset of int
        Sunday is 0.
    either_day : bool
        Whether a match of ``days`` or of ``weekdays`` is enough; else both must match, as in Celery's ``crontab``.
    """

    minutes: frozenset[int] = frozenset(range(60))
    hours: frozenset[int] = frozenset(range(24))
    weekdays: frozenset[int] = frozenset(range(7))
    days: frozenset[int] = frozenset(range(1, 32))
    months: frozenset[int] = frozenset(range(1, 13))
    either_day: bool = False

    def fits_day(self, day: date) -> bool:
        """Check whether it fires on a day."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either_day else by_date and by_weekday

    def ever_fires(self) -> bool:
        """Check whether there is a day on which it fires: 30 February never comes."""
        start = date(2024, 1, 1)
        return any(self.fits_day(start + timedelta(days=n)) for n in range(LEAP_CYCLE_DAYS))


class CronError(ValueError):
    """A cron expression cannot be read; the message names the expression, the field, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five fields of a crontab."""

    name: str
    first: int
    last: int
    names: Mapping[str, int]

    @property
    def range(self) -> str:
        """The allowed values in readable form."""
        words = f", or {next(iter(self.names))} to {list(self.names)[-1]}" if self.names else ""
        return f"{self.first} to {self.last}{words}"


_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = {name: n for n, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS: Final = {name: n for n, name in enumerate(_WEEKDAY_NAMES)}
_FIELDS: Final = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EXTENSIONS: Final = {
    "#": "the n-th weekday of a month is not standard cron; schedule the weekday and return early from the task on the "
    "other days",
    "?": "'?' is not standard cron; write '*'",
    "~": "a random value is not standard cron; choose one",
}


def parse_cron(expression: str) -> Cron:
    """Parse a cron expression.

    Raises
    ------
    CronError
    """
    text = expression.strip().lower()
    if text.startswith("@"):
        text = _of_nickname(expression, text)
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise CronError(
            f"cron={expression!r} has {len(fields)} fields; write five: minute, hour, day of month, month, day of week"
        )
    try:
        values = [_values(field, text) for field, text in zip(_FIELDS, fields, strict=True)]
    except CronError as error:
        raise CronError(f"cron={expression!r} cannot be read: {error}") from None
    minutes, hours, days, months, weekdays = values
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )


def _of_nickname(expression: str, text: str) -> str:
    if text not in _NICKNAMES:
        remedy = "beat does not run at the start of a machine" if text == "@reboot" else "the nickname is not known"
        raise CronError(f"cron={expression!r} cannot be read: {remedy}; write five fields, or {', '.join(_NICKNAMES)}")
    return _NICKNAMES[text]


def _values(field: _Field, text: str) -> frozenset[int]:
    """Parse a list of values, ranges and steps."""
    found: set[int] = set()
    for term in text.split(","):
        if not term:
            raise CronError(f"{field.name} {text!r} has an empty entry in its list; remove a comma")
        found.update(_term(field, term))
    return frozenset(found)


def _term(field: _Field, term: str) -> range:
    for sign, remedy in _EXTENSIONS.items():
        if sign in term:
            raise CronError(f"{field.name} {term!r}: {remedy}")
    span, slash, step = term.partition("/")
    if span == "*":
        values = range(field.first, field.last + (0 if field.last == 7 else 1))
    elif "-" in span:
        values = _range(field, span)
    else:
        start = _value(field, span)
        values = range(start, start + 1)
    if not slash:
        return values
    if len(values) == 1 and "-" not in span:
        raise CronError(f"{field.name} {term!r}: a step needs a range; write {span}-{field.last}/{step}")
    return values[:: _step(field, term, step)]


def _range(field: _Field, span: str) -> range:
    low, _, high = span.partition("-")
    first, last = _value(field, low), _value(field, high)
    if field.last == 7 and last == 0 and first > 0:
        last = 7  # as in sat-sun
    if last < first:
        wrapped = f"{low}-{field.last},{field.first}-{high}"
        raise CronError(f"{field.name} {span!r} runs backwards; write {wrapped}")
    return range(first, last + 1)


def _step(field: _Field, term: str, step: str) -> int:
    size = field.last - field.first + 1
    if not _is_number(step) or not 1 <= int(step) <= size:
        raise CronError(f"{field.name} {term!r}: a step must be a number from 1 to {size}")
    return int(step)


def _value(field: _Field, word: str) -> int:
    if word in field.names:
        return field.names[word]
    if not _is_number(word):
        raise CronError(f"{field.name} {word!r} is not understood{_hint(field, word)}; write {field.range}")
    if not field.first <= int(word) <= field.last:
        raise CronError(f"{field.name} {word!r} is out of range; write {field.range}")
    return int(word)


def _hint(field: _Field, word: str) -> str:
    """Explain syntax that other programs accept and cron does not."""
    if field.name.startswith("day") and word.strip("0123456789") in ("l", "w", "lw"):
        return " (the last day and the nearest weekday, 'L' and 'W', are not standard cron)"
    if word[:3] in field.names:
        return f" (did you mean {word[:3]!r}?)"
    return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 4
