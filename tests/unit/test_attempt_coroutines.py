"""Async bodies: which can be interrupted from outside, and what is refused because nobody awaited it."""

from __future__ import annotations

import inspect
from typing import Any
from unittest.mock import MagicMock, patch

import pytest

from jobclaim.workers.attempt import coroutines
from jobclaim.workers.attempt.coroutines import interrupt, is_async, refuse_awaitable


async def body() -> int:
    return 1


async def stream() -> Any:
    yield 1


class Awaitable:
    """What has no coroutine in it and can be awaited."""

    def __await__(self) -> Any:
        yield


def test_only_a_body_of_this_process_is_interrupted() -> None:
    known = MagicMock()
    with patch.dict(coroutines._bodies, {"key": known}):
        assert interrupt("other") is False
        assert not known.interrupt.called
        assert interrupt("key") is True
    assert known.interrupt.call_args.args == ()


def test_what_nobody_awaited_is_refused_and_a_coroutine_is_closed() -> None:
    never = body()
    for result in (never, stream(), Awaitable()):
        with pytest.raises(TypeError, match="which was never awaited"):
            refuse_awaitable(result, "t")
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED
    refuse_awaitable(7, "t")


def test_a_wrapped_coroutine_function_is_one() -> None:
    def wrapper() -> Any:
        return body()

    assert (is_async(body), is_async(wrapper)) == (True, False)
    wrapper.__wrapped__ = body  # type: ignore[attr-defined]
    assert is_async(wrapper)
