"""Who did what: one item of the job table per action of a person, listed newest first within its retention.

Actions from all interfaces are recorded through `jobclaim.fleet.acting`. Decisions about a job are stored with
the job too (`Job.decisions`); the trail also has the actions that concern no job, such as those on SQS's own
dead-letter queues.

An entry's key is ``jobclaim-audit``, the AWS user id of its writer, its time and a random part. Like the key of a note,
it contains a unit separator, so no call mistakes it for a job. The managed policies of `template.yaml` allow everyone
to write entries under their own user id only, and deny changing and deleting any: whose entry it is cannot be forged,
and another person's entry cannot be rewritten. Its index partition, ``AUDIT``, is its own and is not read by anything
else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Final, Self, TypeVar

from jobclaim.fleet.identity import Identity, caller
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding import codec, schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.notes import SEPARATOR
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.jobs.storage.table import JobTable

T = TypeVar("T")

PARTITION: Final = "AUDIT"
PREFIX: Final = f"jobclaim-audit{SEPARATOR}"
END_OF_USER: Final = "|"
"""Ends the user id in a key. No id has it, and a policy can write it, unlike a separator."""
UNKNOWN_USER: Final = "unknown"
"""Stands for the AWS user id in the key of an entry whose writer STS did not name."""
LONGEST: Final = 1_000
"""Maximum bytes stored of an entry's text."""
LOOKED_AT: Final = 1_000
"""Entries that one search reads at most; a cursor continues it."""
PAGE: Final = 100
"""Entries per read, the most that one BatchGetItem takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action.

    Attributes
    ----------
    at : int
        When it began, in epoch milliseconds.
    by : str
        The name that the person gave, or the user of the machine; not verified.
    what : str
        The job ids, or the filter as text.
    done, refused : int or None
        ``None`` for an action that did not finish; its jobs show what it did.
    face : str
        Where it was done: ``cli``, ``dashboard``, ``api`` or ``python``.
    arn : str
        The AWS identity whose credentials were used, from STS; empty if STS did not answer.
    user_id : str
        AWS's unique id of that identity, from the entry's key, which the policies protect from forgery.
    """

    at: int
    verb: str
    by: str
    why: str = ""
    what: str = ""
    done: int | None = None
    refused: int | None = None
    face: str = ""
    arn: str = ""
    user_id: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted; empty values select all.

    Attributes
    ----------
    who : str
        Part of the name, of the ARN or of the user id.
    verb : str
        The verb, or its last word: ``retry`` finds ``dead retry``.
    what : str
        Part of what it was done to, for example a job id.
    since, until : int
        Epoch milliseconds, inclusive; 0 for no bound.
    """

    who: str = ""
    verb: str = ""
    what: str = ""
    since: int = 0
    until: int = 0

    def fits(self, entry: AuditEntry) -> bool:
        """Check whether an entry is wanted, apart from its time."""
        return (
            any(self.who in name for name in (entry.by, entry.arn, entry.user_id))
            and self.verb in ("", entry.verb, entry.verb.rpartition(" ")[2])
            and self.what in entry.what
        )


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Matching entries, newest first, among the ``looked_at`` that were read; ``after`` continues, ``None`` at the
    end.
    """

    entries: tuple[AuditEntry, ...]
    looked_at: int
    after: IndexEntry | None


class Audit:
    """The audit trail of one job table. All methods raise `StoreUnavailable`."""

    def __init__(
        self, table: JobTable, *, clock: Clock, keep_ms: int, identity: Callable[[], Identity] = Identity
    ) -> None:
        self._table = table
        self._clock = clock
        self._keep_ms = keep_ms
        self._identity = identity

    @classmethod
    def of(cls, repo: JobRepo) -> Self:
        """Return the audit trail of a repo's table; entries are kept as long as failed jobs."""
        return cls(repo.table, clock=repo.clock, keep_ms=repo.retention.dead, identity=lambda: caller(repo.settings))

    def begin(self, verb: str, *, by: str, why: str = "", what: str = "", face: str = "") -> AuditEntry:
        """Record that an action begins, before it does anything, so that a killed one leaves a trace."""
        entry = self._entry(verb, by, why, what, face)
        self._put(entry)
        return entry

    def end(self, entry: AuditEntry, *, done: int, refused: int) -> None:
        """Record the result of an action."""
        self._put(replace(entry, done=done, refused=refused))

    def record(
        self, verb: str, *, by: str, why: str = "", what: str = "", face: str = "", done: int = 1, refused: int = 0
    ) -> AuditEntry:
        """Record an action that has ended, in one write."""
        entry = replace(self._entry(verb, by, why, what, face), done=done, refused=refused)
        self._put(entry)
        return entry

    def entries(self, *, limit: int = 50) -> list[AuditEntry]:
        """Return the latest entries, newest first."""
        return list(self.find(AuditFilter(), limit=limit).entries)

    def find(
        self, entry_filter: AuditFilter, *, limit: int = 50, at_most: int = LOOKED_AT, after: IndexEntry | None = None
    ) -> AuditPage:
        """Return the latest matching entries, newest first, reading at most ``at_most`` entries of that time.

        Requests: one Query and one BatchGetItem per 100 entries read.
        """
        found: list[AuditEntry] = []
        looked_at, place = 0, after
        while looked_at < at_most:
            size = min(PAGE, at_most - looked_at)
            rows = self._table.entries(
                PARTITION,
                limit=size,
                newest_first=True,
                after=place,
                since=entry_filter.since or None,
                up_to=entry_filter.until or (self._clock() + self._keep_ms if entry_filter.since else None),
            )
            known = self._read([row.job_id for row in rows])
            for row in rows:
                looked_at, place = looked_at + 1, row
                entry = known.get(row.job_id)
                if entry is not None and entry_filter.fits(entry):
                    found.append(entry)
                if len(found) >= limit:
                    return AuditPage(tuple(found), looked_at, place)
            if len(rows) < size:
                return AuditPage(tuple(found), looked_at, None)
        return AuditPage(tuple(found), looked_at, place)

    def _entry(self, verb: str, by: str, why: str, what: str, face: str) -> AuditEntry:
        now, identity = self._clock(), self._identity()
        verb, by, why, what = (codec.cut(text, LONGEST) for text in (verb, by, why, what))
        user = identity.user_id or UNKNOWN_USER
        key = f"{PREFIX}{user}{END_OF_USER}{now}-{secrets.token_hex(8)}"
        return AuditEntry(
            at=now, verb=verb, by=by, why=why, what=what, face=face, arn=identity.arn, user_id=user, key=key
        )

    def _put(self, entry: AuditEntry) -> None:
        item = {
            schema.KEY: attribute(entry.key),
            schema.INDEX_HASH: attribute(PARTITION),
            schema.INDEX_RANGE: attribute(entry.at),
            schema.TTL: attribute((entry.at + self._keep_ms) // 1000),
            "entry": attribute(_text(entry)),
        }
        self._ask(lambda: self._table.client().put_item(TableName=self._table.name, Item=item))

    def _read(self, keys: Sequence[str]) -> dict[str, AuditEntry]:
        entries = [_entry_of(item) for item in self._table.items(keys)]
        return {entry.key: entry for entry in entries if entry is not None}

    def _ask(self, request: Callable[[], T]) -> T:
        return persistently(request, clock=self._clock, sleep=self._table.sleep)


_STORED: Final = frozenset(field.name for field in fields(AuditEntry)) - {"key", "user_id"}


def _entry_of(item: Item) -> AuditEntry | None:
    """Read an entry; ``None`` if the item is not an entry. The user comes from its key, which IAM can restrict, not
    from its text.
    """
    key = item[schema.KEY]["S"]
    try:
        row = json.loads(item["entry"]["S"])
        user = key.removeprefix(PREFIX).partition(END_OF_USER)[0] if key.startswith(PREFIX) else ""
        return AuditEntry(**{name: row[name] for name in _STORED if name in row}, user_id=user, key=key)
    except (KeyError, ValueError, TypeError, IndexError):
        return None


def _text(entry: AuditEntry) -> str:
    row = {name: value for name, value in asdict(entry).items() if name in _STORED and value not in (None, "")}
    return json.dumps({"verb": "", "by": "", **row}, separators=(",", ":"), ensure_ascii=False)
