"""The event loop keeps no timer of a job that has ended."""

from __future__ import annotations

from kombu.asynchronous.timer import Timer

from jobclaim.workers.process.intake import MANY_TIMERS, drop_cancelled


def test_cancelled_timers_are_dropped_and_the_others_stay_in_their_order() -> None:
    timer, fired = Timer(), list[int]()
    for number in range(MANY_TIMERS + 1):
        entry = timer.call_after(1_800 - number % 7, fired.append, (number,))
        if number % 100:
            entry.cancel()
    drop_cancelled(timer)
    assert len(timer) == MANY_TIMERS // 100 + 1
    etas = [timer._queue[0].eta, *(one.eta for one in timer.queue)]
    assert etas[1:] == sorted(etas[1:])
    assert etas[0] == etas[1]


def test_a_few_timers_are_left_alone() -> None:
    timer = Timer()
    timer.call_after(1_800, print).cancel()
    drop_cancelled(timer)
    assert len(timer) == 1
