"""UpdateItem requests built from a move, its expected values, and its changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from jobclaim.jobs.encoding.changes import Change, Increment, PlusAttribute
from jobclaim.jobs.encoding.item import ALWAYS_STORED, attribute
from jobclaim.jobs.model import JobStatus
from jobclaim.jobs.transitions import TRANSITIONS, Move

Barred: TypeAlias = Mapping[str, tuple[str, ...]]
"""By attribute, the values with which a move is refused; at most a hundred each, as ``IN`` takes them."""
NOTHING_BARRED: Final[Barred] = MappingProxyType({})


def update_request(
    move: Move, expected: Mapping[str, str | int], changes: Mapping[str, Change], barred: Barred = NOTHING_BARRED
) -> dict[str, Any]:
    """Build the arguments of an UpdateItem for one move; the caller adds the table's name and the key.

    The condition consists of the transition's sources and guards, literally, and requires that attributes which must be
    fresh are not stored yet; the new status is the transition's target.
    """
    transition = TRANSITIONS[move]
    guards = transition.expected(expected)
    deadline = transition.deadline if "now" in expected else ""
    not_before = transition.not_before if "due" in expected else ""
    bars = tuple((name, len(barred[name])) for name in transition.barred if barred.get(name)) if barred else ()
    values = dict(_states(transition.target, transition.sources))
    absent: list[str] = []
    for name, value in guards.items():
        if value or name in ALWAYS_STORED:
            values[f":if_{name}"] = attribute(value)
        else:
            absent.append(name)
    if deadline:
        values[":now"] = attribute(expected["now"])
    if not_before:
        values[":due"] = attribute(expected["due"])
    for name, _ in bars:
        values |= {f":bar_{name}{n}": attribute(value) for n, value in enumerate(barred[name])}
    shape = _shape(changes, values)
    expression, condition, names = _expressions(move, tuple(guards), tuple(absent), shape, deadline, not_before, bars)
    return {
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValues": "ALL_NEW" if transition.brings else "NONE",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


@lru_cache(maxsize=64)
def _states(target: JobStatus, sources: tuple[JobStatus, ...]) -> dict[str, dict[str, str]]:
    return {":status": attribute(str(target))} | {
        f":source{n}": attribute(str(source)) for n, source in enumerate(sources)
    }


@lru_cache(maxsize=512)
def _expressions(
    move: Move,
    guards: tuple[str, ...],
    absent: tuple[str, ...],
    shape: tuple[tuple[str, str], ...],
    deadline: str,
    not_before: str,
    bars: tuple[tuple[str, int], ...],
) -> tuple[str, str, dict[str, str]]:
    transition, written = TRANSITIONS[move], [name for name, _ in shape]
    sources = " OR ".join(f"#status = :source{n}" for n in range(len(transition.sources)))
    terms = {"status", *guards, *written}
    clauses = [f"({sources})", *(_holds(name, name in absent) for name in guards)]
    if deadline:
        clauses.append(f"(attribute_not_exists(#{deadline}) OR #{deadline} >= :now)")
        terms.add(deadline)
    if not_before:
        clauses.append(f"#{not_before} <= :due")
        terms.add(not_before)
    clauses += [f"NOT #{name} IN ({', '.join(f':bar_{name}{n}' for n in range(count))})" for name, count in bars]
    terms |= {name for name, _ in bars}
    clauses += [f"#{name} <> :{name}" for name in transition.fresh if name in written]
    sets = ["#status = :status"]
    sets += [f"#{name} = :{name}" for name, kind in shape if kind == "set"]
    sets += [f"#{name} = :{name} + #{kind}" for name, kind in shape if kind not in ("set", "add", "remove")]
    adds = [f"#{name} :{name}" for name, kind in shape if kind == "add"]
    removes = [f"#{name}" for name, kind in shape if kind == "remove"]
    expression = "SET " + ", ".join(sets)
    if adds:
        expression += " ADD " + ", ".join(adds)
    if removes:
        expression += " REMOVE " + ", ".join(removes)
    terms |= {kind for _, kind in shape if kind not in ("set", "add", "remove")}
    return expression, " AND ".join(clauses), {f"#{name}": name for name in sorted(terms)}


def _holds(name: str, absent: bool) -> str:
    """Build the condition that an attribute is unchanged; ``absent`` if it is not stored, because its value
    is empty.
    """
    return f"attribute_not_exists(#{name})" if absent else f"#{name} = :if_{name}"


def _shape(changes: Mapping[str, Change], values: dict[str, dict[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the clause of each change (``set``, ``add``, ``remove``, or the attribute to which a sum adds), and put
    their values among those of the expression.
    """
    kinds: dict[str, str] = {}
    for name, change in changes.items():
        if change is None:
            kinds[name] = "remove"
        elif type(change) is Increment:
            kinds[name], values[f":{name}"] = "add", attribute(change.by)
        elif type(change) is PlusAttribute:
            kinds[name], values[f":{name}"] = change.attribute, attribute(change.value)
        else:
            kinds[name], values[f":{name}"] = "set", attribute(change)
    return tuple(kinds.items())
