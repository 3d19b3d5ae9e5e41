"""The code broken on purpose: canvases and ticks must notice each way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from celery import uuid
from celery.canvas import maybe_signature
from celery.exceptions import ChordError

from jobclaim.workers.messages import links
from jobclaim.workers.results import followups, joining, waiting
from jobclaim.workers.schedule import beat, sender
from jobclaim.workers.schedule.beat import JobScheduler
from tests.simulation.flows import canvas, ticks

SEEDS: Final = 150


@dataclass(frozen=True, slots=True)
class FlowMutant:
    """A way of breaking the code; ``run`` plays a seed of the world that must notice, ``likely`` are tried first."""

    run: Callable[[int], str]
    apply: Callable[[], AbstractContextManager[Any]]
    likely: tuple[int, ...] = ()

    def hunt(self) -> tuple[int, str] | None:
        """Run seeds until one notices."""
        with self.apply():
            numbers = dict.fromkeys((*self.likely, *range(SEEDS)))
            return next(((number, rule) for number in numbers if (rule := self.run(number))), None)


def _patched(where: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(where, name, value)


def _without_ids(app: Any, link: Any) -> Any:
    return maybe_signature(link, app=app).clone()


def _under_another_id(app: Any, callback: Any, values: list[Any], parent_id: str | None) -> None:
    START_BODY(app, callback.clone().set(task_id=uuid()), values, parent_id)


def _started_all_the_same(app: Any, callback: Any, message: str, cause: BaseException | None = None) -> None:
    START_BODY(app, callback, [0], None)
    raise ChordError(message) from cause


START_BODY: Final = joining._start_body
LOST: Final = waiting.lost


def _forgetting_the_submitter(*given: Any, **known: Any) -> list[str]:
    return LOST(*given, **{**known, "submitter": None})


def _named_by_now(name: str, due: Any) -> str:
    return f"{NAMED(name, due)}.{uuid()[:4]}"


NAMED: Final = beat.tick_id
MUTANTS: Final[Mapping[str, FlowMutant]] = {
    "callbacks get new ids in each attempt": FlowMutant(canvas.run, _patched(links, "_with_ids", _without_ids)),
    "nothing follows a success": FlowMutant(canvas.run, _patched(followups, "send", lambda *_: None)),
    "a chord's body starts although a member failed": FlowMutant(
        canvas.run, _patched(joining, "_fail_body", _started_all_the_same)
    ),
    "a chord's body gets a new id in each attempt": FlowMutant(
        canvas.run, _patched(joining, "_start_body", _under_another_id)
    ),
    "members that an open job sends are lost": FlowMutant(
        canvas.run, _patched(waiting, "lost", _forgetting_the_submitter), (448, 541)
    ),
    "a tick has a random name": FlowMutant(ticks.run, _patched(beat, "tick_id", _named_by_now)),
    "a wrong clock is not noticed": FlowMutant(
        ticks.run, _patched(JobScheduler, "_reset_future_runs", lambda *_: None)
    ),
    "beats do not agree on plain ticks": FlowMutant(ticks.run, _patched(sender.Sender, "_notes", lambda *_: None)),
}
