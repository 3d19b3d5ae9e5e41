"""The headers of a message that a body sees are those that Celery shows to any task."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.task import Context

from jobclaim.workers.attempt.custom_headers import with_custom_headers

CELERYS = {"id": "j", "task": "t", "lang": "py", "argsrepr": "[]", "retries": 0, "timelimit": [None, None]}


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"jobclaim": {"job_id": "j", "attempt": 0}},
        {"jobclaim": {"job_id": "j", "attempt": 0}, "claim_token": "c", "trace": None},
        {"headers": None, "tenant": "a"},
        {"headers": {"given": 1}, "tenant": "a"},
        {"headers": {}, "tenant": "a"},
    ],
)
def test_a_body_sees_the_headers_that_celery_would_show(own: dict[str, Any]) -> None:
    seen: list[Any] = []
    tracer = with_custom_headers(lambda *given: seen.append(Context(given[3], args=(), kwargs={}).headers))
    for value in ("first", "second"):
        request = {**CELERYS, **own, "stamp": value}
        tracer("j", (), {}, dict(request))
        assert seen.pop() == Context(request, args=(), kwargs={}).headers


def test_a_call_without_a_request_stays_one() -> None:
    assert with_custom_headers(lambda *given, **options: (given, options))("j", (), {}, loader=1) == (
        ("j", (), {}, None),
        {"loader": 1},
    )
