"""Record every form and POST in the audit trail, through `jobclaim.fleet.acting`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from jobclaim.dashboard.person import Person
from jobclaim.dashboard.services import Services
from jobclaim.fleet.acting import framed, named

T = TypeVar("T")

_OWN: Final = frozenset({"verb", "reason", "expected", "id", "back"})


def recorded(
    services: Services, name: str, fields: Mapping[str, str], person: Person, face: str, act: Callable[[], T]
) -> T:
    """Carry out an action; one that does not record itself is recorded when it has succeeded."""
    verb, why = fields.get("verb") or name.replace("_", " "), fields.get("reason", "")
    with framed(lambda: services.repo, verb, by=person.name, face=face, what=_what(fields), why=why):
        return act()


def _what(fields: Mapping[str, str]) -> str:
    words = [fields["id"]] if fields.get("id") else []
    for name, value in fields.items():
        if value and name not in _OWN:
            words.append(named(name, value))
    return " ".join(words)
