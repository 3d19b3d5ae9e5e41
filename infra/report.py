"""What provisioning did, as data: one row per resource."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["table", "index", "expiry", "queue", "dead-letter queue"]
Action: TypeAlias = Literal["created", "changed", "unchanged", "left"]


@dataclass(frozen=True, slots=True)
class ProvisionRow:
    """One resource and what was done with it.

    Attributes
    ----------
    resource : str
        Physical name of the table or queue.
    kind : str
        Kind of resource: table, index, expiry, queue or dead-letter queue.
    action : str
        ``created``; ``changed`` (``detail`` says old -> new); ``unchanged``; ``left``: not as wanted, and not ours to
        change or not known to this endpoint (``detail`` says why).
    detail : str
        Details in words, for people.
    """

    resource: str
    kind: Kind
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProvisionReport:
    """All rows of one run, tables first.

    Attributes
    ----------
    rows : tuple of ProvisionRow
    """

    rows: tuple[ProvisionRow, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was created or changed."""
        return bool(self.of("created", "changed"))

    def of(self, *actions: Action) -> tuple[ProvisionRow, ...]:
        """Return the rows with one of these actions."""
        return tuple(row for row in self.rows if row.action in actions)

    @classmethod
    def gather(cls, parts: Iterable[Iterable[ProvisionRow]]) -> ProvisionReport:
        """Join the rows of all resources."""
        return cls(tuple(row for part in parts for row in part))
