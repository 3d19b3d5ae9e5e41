"""Whether the processes of a fleet have the same settings, by the digests in the workers' records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

NAMED: Final = 5
"""Maximum workers named per digest; beyond that only their number is given."""
REMEDY: Final = (
    "give all processes the same configuration and restart those that differ; it is normal only during a deployment"
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Result of comparing the digests of live workers.

    Attributes
    ----------
    differs : bool
        Whether workers disagree with each other or with the process that asks. A worker without a digest, from an older
        release, does not disagree.
    text : str
        A sentence for display, without its full stop; empty if there are no workers.
    """

    differs: bool
    text: str


def compare(workers: Mapping[str, str], own: str, *, caller: str) -> Agreement:
    """Compare the digests of live workers with each other and with that of the process that asks.

    Parameters
    ----------
    workers : mapping of str to str
        Digest by worker id; empty if the record has none.
    own : str
        Digest of the process that asks.
    caller : str
        Name of that process: ``this command``, ``the dashboard``.
    """
    workers_by_digest: dict[str, list[str]] = {}
    for worker, digest in sorted(workers.items()):
        workers_by_digest.setdefault(digest, []).append(worker)
    unknown = workers_by_digest.pop("", [])
    known = sorted(workers_by_digest.items(), key=lambda row: (-len(row[1]), row[0]))
    parts = [f"{_workers(names)} {'has' if len(names) == 1 else 'have'} digest {digest}" for digest, names in known]
    if known:
        parts.append(f"{caller} has {own}")
    if unknown:
        parts.append(f"not known for {_workers(unknown)}: records of an older release have no digest")
    return Agreement(bool(set(workers_by_digest) - {own}), "; ".join(parts))


def _workers(names: list[str]) -> str:
    count = "1 worker" if len(names) == 1 else f"{len(names)} workers"
    return f"{count} ({_listed(names)})"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
