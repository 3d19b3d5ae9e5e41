"""The user of a request, and what the user may do. Authentication puts a `Person` into the request's scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from starlette.requests import HTTPConnection


class Role(StrEnum):
    """What a user may do."""

    VIEWER = "viewer"
    """May view pages."""
    OPERATOR = "operator"
    """May also submit, retry, cancel, resume, drain, resolve and abandon."""
    HOLDER = "holder"
    """May resume only the wait whose token the request carries."""


@dataclass(frozen=True, slots=True)
class Person:
    """The sender of a request.

    Attributes
    ----------
    name : str
        Name for the audit trail.
    token : str
        Token of a wait, if the sender is authenticated by it alone.
    """

    name: str
    role: Role = Role.VIEWER
    token: str = field(default="", repr=False)

    @property
    def may_act(self) -> bool:
        """Return whether actions are enabled."""
        return self.role is Role.OPERATOR


SCOPE_KEY: Final = "jobclaim.person"
"""Key of the ASGI scope under which authentication stores the `Person`."""
NOBODY: Final = Person("anonymous")


def person_of(connection: HTTPConnection) -> Person:
    """Return the person of a request: a viewer without a name if no authentication ran."""
    found = connection.scope.get(SCOPE_KEY, NOBODY)
    assert isinstance(found, Person)
    return found
