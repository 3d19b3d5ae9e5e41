"""For all settings that are accepted: the derived numbers keep the promises of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import ValidationError

from jobclaim.settings import SQS_MAX_VISIBILITY, Settings
from tests.support.volume import volume

NAMES = ("default", "ai", "mail", "recovery")
WILD = st.sampled_from([-1, 0, 1, 21_600, 21_601, 43_200, 10**9])


def seldom_wild(usual: st.SearchStrategy[Any], wild: st.SearchStrategy[Any] = WILD) -> st.SearchStrategy[Any]:
    """Mostly what people write, now and then what they should not."""
    return st.integers(0, 24).flatmap(lambda number: wild if number == 24 else usual)


@st.composite
def limits(draw: st.DrawFn) -> dict[str, int]:
    hard = draw(seldom_wild(st.integers(2, 14_000)))
    return {"soft_limit": draw(seldom_wild(st.integers(1, max(1, hard - 1)))), "hard_limit": hard}


@st.composite
def queue(draw: st.DrawFn, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {"name": name, **draw(limits())}
    if draw(st.booleans()):
        values["visibility_factor"] = draw(seldom_wild(st.floats(1, 3), st.sampled_from([0.5, 30, float("inf")])))
    if draw(st.booleans()):
        values["lease_seconds"] = values["hard_limit"] + draw(st.integers(-1, 20_000))
    return values


@st.composite
def task(draw: st.DrawFn) -> dict[str, Any]:
    values: dict[str, Any] = dict(draw(limits())) if draw(st.booleans()) else {}
    if draw(st.booleans()):
        values["queue"] = draw(st.sampled_from(NAMES))
    return values


GIVEN = st.fixed_dictionaries(
    {"queues": st.tuples(*[queue(name) for name in NAMES[:3]])},
    optional={
        "tasks": st.dictionaries(st.sampled_from(["a.one", "a.two", "a.*", "b.one", "*"]), task(), max_size=4),
        "prefetch_multiplier": seldom_wild(st.integers(1, 3)),
        "stop_timeout_seconds": seldom_wild(st.integers(0, 7200)),
        "visibility_slack_seconds": seldom_wild(st.integers(0, 600)),
        "lease_grace_seconds": seldom_wild(st.integers(1, 600)),
        "queue_preset": st.sampled_from(["documents", "service", "priority", None]),
    },
)
ASKED = ("a.one", "a.two", "a.three", "b.one", "elsewhere")


@pytest.fixture(autouse=True)
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@effort(max_examples=volume(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GIVEN)
def test_no_accepted_settings_let_a_running_job_be_redelivered_or_orphaned(values: dict[str, Any]) -> None:
    try:
        built = Settings(**values)
    except ValidationError:
        reject()  # hypothesis complains when too few are accepted

    for task in ASKED:
        name, own = built.queue_of(task), built.limits(task)
        assert 0 < own.soft < own.hard
        assert built.visibility_timeout(name) >= own.hard
        assert built.lease_seconds(name) > own.hard
        assert built.lease_seconds(name, own.hard) > own.hard
    for queue_name in built.queue_names:
        longest = built.longest_hard_limit(queue_name)
        waits = built.prefetch_multiplier * longest + built.stop_timeout_seconds
        assert waits <= built.visibility_timeout(queue_name) <= SQS_MAX_VISIBILITY
        assert longest >= built.queue(queue_name).hard_limit
        assert built.lease_seconds(queue_name) > longest


@effort(max_examples=volume(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 7000), st.floats(1, 3), st.integers(0, 600))
def test_plain_settings_of_every_size_are_accepted(hard: int, factor: float, grace: int) -> None:
    built = Settings(
        queues=[{"name": "default", "soft_limit": hard, "hard_limit": hard + 1, "visibility_factor": factor}],
        lease_grace_seconds=grace + 1,
    )

    assert built.lease_seconds("default") == hard + 1 + grace + 1
