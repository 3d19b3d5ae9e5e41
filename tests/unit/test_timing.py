"""Celery's countdown, eta and expires as moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from jobclaim.jobs import InvalidInput
from jobclaim.workers.submission.timing import due_at, start_by

NOW = 1_750_000_000_000
MOMENT = datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(minutes=25)


@pytest.mark.parametrize(("countdown", "after"), [(0, 0), (1.5, 1500), (-3, 0), (86_400 * 365, 31_536_000_000)])
def test_a_countdown_counts_from_now(countdown: float, after: int) -> None:
    assert due_at(countdown, None, NOW, UTC) == NOW + after


@pytest.mark.parametrize(
    "eta",
    [MOMENT, MOMENT.isoformat(), MOMENT.astimezone(timezone(timedelta(hours=9))), MOMENT.replace(tzinfo=None)],
)
def test_an_eta_is_a_moment_in_any_form_and_one_without_a_zone_is_the_apps(eta: Any) -> None:
    assert due_at(None, eta, NOW, UTC) == NOW + 25 * 60_000


def test_a_countdown_goes_before_an_eta_as_in_celery() -> None:
    assert due_at(5, MOMENT, NOW, UTC) == NOW + 5000


def test_nothing_asked_is_now() -> None:
    assert due_at(None, None, NOW, UTC) is None
    assert start_by(None, NOW, UTC) is None


@pytest.mark.parametrize(("expires", "at"), [(60, NOW + 60_000), (MOMENT, NOW + 25 * 60_000), (-1, NOW - 1000)])
def test_expires_is_a_moment_too_even_one_that_is_over(expires: Any, at: int) -> None:
    assert start_by(expires, NOW, UTC) == at


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "soon", True, object(), b"1"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="countdown"):
        due_at(value, None, NOW, UTC)
    if not isinstance(value, float | bool):
        with pytest.raises(InvalidInput, match="eta"):
            due_at(None, value, NOW, UTC)
    with pytest.raises(InvalidInput, match="expires"):
        start_by(value, NOW, UTC)
