"""Entries of the audit trail by who, what and when, in bounded requests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.services import Services
from jobclaim.fleet.audit import PARTITION, Audit, AuditFilter, AuditPage
from jobclaim.jobs import InvalidInput
from jobclaim.jobs.storage.listing import Position, decode_cursor, encode_cursor
from jobclaim.views.humane import duration

SHOWN: Final = 50
LOOKED_AT: Final = 300
"""Entries that one view reads."""
LONGEST: Final = 300
"""Characters of a filter."""
JOB_ID: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What looks like a job's id, and is linked."""
SCOPE: Final = "audit"
"""What a cursor of the trail is sealed with, so that it continues no other list."""
BUDGET: Final = Budget(requests=2 * (LOOKED_AT // 100 + 1), read_units=LOOKED_AT * 2.0)
"""An entry takes at most four kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """What was asked for, as it was typed; ``since`` is a duration such as ``1d``."""

    who: str = ""
    verb: str = ""
    what: str = ""
    since: str = ""
    cursor: str = ""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """Read the query parameters. Raises `InvalidInput` for one that is too long."""
        found = {name: str(params.get(name) or "").strip() for name in ("who", "verb", "what", "since", "cursor")}
        for name, value in found.items():
            if len(value) > (LONGEST * 4 if name == "cursor" else LONGEST):
                raise InvalidInput(f"{name} has {len(value)} characters; at most {LONGEST} are allowed")
        return cls(**found)

    def parameters(self) -> dict[str, str]:
        """Return the filters for a link."""
        return {"who": self.who, "verb": self.verb, "what": self.what, "since": self.since}

    @property
    def command(self) -> str:
        """Return the command that shows the same in a terminal, quoted for its shell."""
        words = (word for name, value in self.parameters().items() if value for word in (f"--{name}", value))
        return shlex.join(["jobclaim", "trail", *words])

    def filter(self, now: int) -> AuditFilter:
        """Return the filter. Raises `InvalidInput` if ``since`` is not a duration."""
        since = 0
        if self.since:
            try:
                since = max(1, now - duration(self.since))
            except ValueError as error:
                raise InvalidInput(f"since={self.since!r}: {error}") from None
        return AuditFilter(who=self.who, verb=self.verb, what=self.what, since=since)


def read(services: Services, query: AuditQuery) -> AuditPage:
    """Read the matching entries, newest first."""
    after = decode_cursor(query.cursor, SCOPE, [PARTITION])[PARTITION].entry if query.cursor else None
    return Audit.of(services.repo).find(query.filter(services.clock()), limit=SHOWN, at_most=LOOKED_AT, after=after)


def cursor_of(page: AuditPage) -> str | None:
    """Return where the next page begins; ``None`` at the end."""
    return encode_cursor({PARTITION: Position(page.after)}, SCOPE) if page.after else None
