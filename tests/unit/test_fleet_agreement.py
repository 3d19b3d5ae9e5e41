"""Workers whose settings differ are told, by name and in plain words; those that cannot tell are not accused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobclaim.infra.doctor import Finding, Level, Snapshot, diagnose
from jobclaim.settings import Settings
from jobclaim.specs.agreement import REMEDY, compare

OWN, OTHER, THIRD = Settings().digest, Settings(max_attempts=7).digest, Settings(index_shards=8).digest
CASES: list[tuple[str, dict[str, str], bool, str]] = [
    ("no worker", {}, False, ""),
    ("one like the asker", {"w-1": OWN}, False, f"1 worker (w-1) has digest {OWN}; this command has {OWN}"),
    (
        "all like each other and unlike the asker",
        {"w-2": OTHER, "w-1": OTHER},
        True,
        f"2 workers (w-1, w-2) have digest {OTHER}; this command has {OWN}",
    ),
    (
        "unlike each other, the most first",
        {"w-1": OTHER, "w-2": OWN, "w-3": OWN, "w-4": THIRD},
        True,
        f"2 workers (w-2, w-3) have digest {OWN}; "
        + "; ".join(
            f"1 worker ({name}) has digest {digest}" for digest, name in sorted([(OTHER, "w-1"), (THIRD, "w-4")])
        )
        + f"; this command has {OWN}",
    ),
    (
        "an older release beside equals",
        {"w-1": OWN, "w-2": ""},
        False,
        (
            f"1 worker (w-1) has digest {OWN}; this command has {OWN}; "
            "not known for 1 worker (w-2): records of an older release have no digest"
        ),
    ),
    (
        "older releases alone",
        {"w-1": "", "w-2": ""},
        False,
        "not known for 2 workers (w-1, w-2): records of an older release have no digest",
    ),
    ("an older release beside others", {"w-1": OTHER, "w-2": ""}, True, "w-2"),
    ("many", {f"w-{n}": OTHER for n in range(9)}, True, "9 workers (w-0, w-1, w-2, w-3, w-4 and 4 more)"),
]


@pytest.mark.parametrize(("workers", "differs", "words"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_digests_are_compared(workers: dict[str, str], differs: bool, words: str) -> None:
    found = compare(workers, OWN, caller="this command")

    assert found.differs is differs
    assert found.text.startswith(words) if len(words) > 40 or not words else words in found.text


def test_the_doctor_warns_of_workers_with_other_settings() -> None:
    (finding,) = _about_workers(Snapshot(workers={"w-1": OTHER, "w-2": OWN}))

    assert (finding.level, finding.fix) == (Level.WARN, REMEDY)
    assert "w-1" in finding.problem
    assert OTHER in finding.problem


@pytest.mark.parametrize("digest", [OWN, ""])
def test_the_doctor_is_content_where_nobody_differs(digest: str) -> None:
    (finding,) = _about_workers(Snapshot(workers={"w-1": digest}))

    assert finding.level is Level.OK


def test_the_doctor_says_nothing_of_workers_that_it_did_not_look_at() -> None:
    assert _about_workers(Snapshot()) == []
    assert _about_workers(replace(Snapshot(), workers={})) == []


def _about_workers(snapshot: Snapshot) -> list[Finding]:
    return [each for each in diagnose(snapshot, Settings()) if each.subject == "settings of live workers"]
