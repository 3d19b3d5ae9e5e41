"""Who looks, and what that person may do. Authentication puts a `Person` into the request's scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from starlette.requests import HTTPConnection


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Retry, cancel, resume, drain, resolve and abandon too."""
    HOLDER = "holder"
    """Resume the one wait whose token the request brings, and nothing else."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever sent a request.

    Attributes
    ----------
    name : str
        As the audit trail will have it.
    token : str
        Of a wait, where that is all that is known of the sender.
    """

    name: str
    role: Role = Role.VIEWER
    token: str = field(default="", repr=False)

    @property
    def may_act(self) -> bool:
        """Whether buttons do something."""
        return self.role is Role.OPERATOR


SCOPE_KEY: Final = "jobclaim.person"
"""Key of the ASGI scope under which authentication leaves the `Person`."""
NOBODY: Final = Person("anonymous")


def person_of(connection: HTTPConnection) -> Person:
    """Give the person of a request: a viewer without a name where no authentication ran."""
    found = connection.scope.get(SCOPE_KEY, NOBODY)
    assert isinstance(found, Person)
    return found
