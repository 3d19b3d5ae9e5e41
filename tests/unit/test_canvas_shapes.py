"""Canvases of every shape give what plain Celery gives: the same canvas on both, drained message by message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signature
from celery.app.trace import build_tracer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import JobTask, install
from tests.support.volume import volume


def register(app: Celery, ran: list[Any], base: Any) -> dict[str, Any]:
    """The same few tasks, on either app; each says that it ran."""

    def show(value: Any) -> str:
        return str(value)

    def say(*values: Any) -> Any:
        ran.append(("say", show(values)))
        return list(values)

    def one(value: Any = None) -> Any:
        ran.append(("one", show(value)))
        return value

    def tag(value: Any = None, mark: Any = "-") -> Any:
        ran.append(("tag", show((value, mark))))
        return [value, mark]

    def fail(*values: Any) -> None:
        ran.append(("fail", show(values)))
        raise LookupError("nothing there")

    def size(values: Any) -> int:
        ran.append(("size", show(values)))
        return len(values) if isinstance(values, list) else -1

    def told(request: Any, error: Any, traceback: Any) -> None:
        ran.append(("told", type(error).__name__))

    made = {
        function.__name__: app.task(name=f"shape.{function.__name__}", base=base, shared=False)(function)
        for function in (say, one, tag, fail, size)
    }
    return {**made, "told": app.task(name="shape.told", shared=False)(told)}


class Yardstick:
    """Plain Celery: its in-memory results, a list for its queue, and its own trace for a worker."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.app = Celery("yardstick", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(task_ignore_result=False, task_default_queue="default")
        self.tasks = register(self.app, self.ran, self.app.Task)
        self.app.finalize()

    def drain(self) -> None:
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            queue = self.app.amqp.queues["default"](channel)
            queue.declare()
            looks = 0
            while (message := queue.get(no_ack=True)) is not None:
                looks += message.headers["task"] == "celery.chord_unlock"
                if looks > MOST_LOOKS:
                    queue.purge()  # it waits for ever
                    return
                self._run(message)

    def _run(self, message: Any) -> None:
        args, kwargs, embed = message.payload
        headers = message.headers
        task = self.app.tasks[headers["task"]]
        request = {
            **headers,
            "args": args,
            "kwargs": kwargs,
            **embed,
            "group": headers.get("group"),
            "delivery_info": {},
            "is_eager": False,
            "hostname": "yardstick",
        }
        if headers["task"] == "celery.chord_unlock":
            request["retries"] = headers.get("retries") or 0
        build_tracer(task.name, task, app=self.app)(headers["id"], args, kwargs, request)


class Ours:
    """jobclaim, by its own harness."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.app = Celery("shapes", set_as_current=False)
        install(self.app, Settings())
        self.tasks = register(self.app, self.ran, JobTask)
        self.harness: Any = None


MOST_LOOKS = 20
"""Times that Celery looks whether a chord is complete."""
Build = Callable[[dict[str, Any]], Any]


# --- shapes: a name that can be read, and a function that builds it of either app's tasks
Shape = tuple[str, Build]


LEAVES: list[Shape] = [
    ("say(1)", lambda t: t["say"].s(1)),
    ("say()", lambda t: t["say"].s()),
    ("say(1).si", lambda t: t["say"].si(1)),
    ("tag(mark=x)", lambda t: t["tag"].s(mark="x")),
    ("one", lambda t: t["one"].s()),
    ("one.si(7)", lambda t: t["one"].si(7)),
    ("starmap", lambda t: t["say"].starmap([(1, 2), (3, 4)])),
    ("map", lambda t: t["one"].map([1, 2, 3])),
    ("fail", lambda t: t["fail"].s()),
    ("fail.on_error", lambda t: t["fail"].s().on_error(t["told"].s())),
    ("say.on_error", lambda t: t["say"].s(5).on_error(t["told"].s())),
]
SAFE = [one for one in LEAVES if "fail" not in one[0] and "map" not in one[0]]


def chained(parts: list[Shape]) -> Shape:
    return f"chain({', '.join(name for name, _ in parts)})", lambda t: chain(*[made(t) for _, made in parts])


def piped(parts: list[Shape]) -> Shape:
    def build(t: dict[str, Any]) -> Any:
        made = parts[0][1](t)
        for _, part in parts[1:]:
            made = made | part(t)
        return made

    return " | ".join(f"({name})" if " | " in name else name for name, _ in parts), build


def grouped(parts: list[Shape]) -> Shape:
    return f"group({', '.join(name for name, _ in parts)})", lambda t: group([made(t) for _, made in parts])


def chorded(header: list[Shape], body: Shape) -> Shape:
    return (
        f"chord([{', '.join(name for name, _ in header)}], {body[0]})",
        lambda t: chord([made(t) for _, made in header], body[1](t)),
    )


def chunked() -> Shape:
    return "chunks", lambda t: t["one"].chunks([(1,), (2,), (3,)], 2).group()


def shapes(leaves: list[Shape]) -> st.SearchStrategy[Shape]:
    return st.recursive(
        st.sampled_from([*leaves, chunked()]) if any("map" in name for name, _ in leaves) else st.sampled_from(leaves),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(chained),
            st.lists(inner, min_size=2, max_size=3).map(piped),
            st.lists(inner, min_size=1, max_size=3).map(grouped),
            st.tuples(st.lists(inner, min_size=1, max_size=2), inner).map(lambda made: chorded(*made)),
        ),
        max_leaves=7,
    )


def flat(result: Any, app: Celery) -> Any:
    """States and values of a result, a group's members in their order."""
    if hasattr(result, "results"):
        return [flat(member, app) for member in result.results]
    found = app.AsyncResult(result.id)
    if found.state == "SUCCESS":
        return ("SUCCESS", found.result)
    return (found.state, type(found.result).__name__ if found.state == "FAILURE" else None)


def outcome(build: Build, side: Any, drain: Callable[[], Any]) -> Any:
    side.ran.clear()
    side.app.set_current()  # signatures in signatures belong to it
    try:
        result = build(side.tasks).apply_async()
    except Exception as error:  # noqa: BLE001 - Celery refuses some shapes: then so do we
        drain()
        return "refused", type(error).__name__, Counter()
    drain()
    states: list[Any] = []
    node = result
    while node is not None and len(states) < MOST_LOOKS:  # some of Celery's results are their own ancestors
        states.append(flat(node, side.app))
        node = node.parent
    return (
        states,
        sorted(one for one in side.ran if one[0] != "told"),
        Counter(one for one in side.ran if one[0] == "told"),
    )


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Yardstick, Ours]]:
    """Both, for all tests; each canvas has ids of its own."""
    yardstick, ours = Yardstick(), Ours()
    with Harness.of(ours.app) as harness:
        ours.harness = harness
        yield yardstick, ours


def compare(sides: tuple[Yardstick, Ours], shape: Shape) -> None:
    yardstick, ours = sides
    name, build = shape
    *theirs, they_told = outcome(build, yardstick, yardstick.drain)
    *here, we_told = outcome(build, ours, ours.harness.drain)
    if "PENDING" in repr(theirs):
        assert "PENDING" not in repr(here[:1]), f"{name}: Celery's own hangs, ours must not"
        return
    assert here == theirs, name
    assert they_told <= we_told, name  # Celery forgets the error callback on the first step of a body that is a chain


def first(name: str) -> Shape:
    return next(one for one in LEAVES if one[0] == name)


A, B, C, FAIL = first("say(1)"), first("tag(mark=x)"), first("one"), first("fail")
TABLE: list[Shape] = [
    chained([A, B, C]),
    piped([A, B, C]),
    grouped([A, A, A]),
    chorded([A, A], C),
    chained([grouped([A, A]), grouped([B, B]), C]),
    piped([grouped([A, A]), grouped([B, B]), grouped([C, C]), C]),
    chained([A, grouped([B, B]), grouped([C, C]), C]),
    chained([A, grouped([B, B])]),
    chained([chained([A, B]), chained([B, C])]),
    grouped([grouped([A, A]), A]),
    grouped([chained([A, B]), chorded([A, A], C)]),
    chorded([chorded([A, A], C), A], C),
    chorded([A, A], chorded([B, B], C)),
    chorded([A, A], chained([B, grouped([C, C]), C])),
    chorded([A, A], grouped([B, C])),
    piped([chorded([A, A], C), chorded([B, B], C), C]),
    piped([A, chorded([B, B], C), grouped([B, B])]),
    chained([first("say(1).si"), first("one.si(7)"), B]),
    piped([first("starmap"), C]),
    piped([first("map"), grouped([B, B]), C]),
    piped([grouped([first("map"), first("starmap")]), C]),
    piped([chunked(), C]),
    chained([A, FAIL, C]),
    chorded([A, FAIL], C),
    chorded([A, A], FAIL),
    chained([A, grouped([B, FAIL]), C, C]),
    chained([grouped([A, A]), grouped([B, FAIL]), C]),
    chorded([chorded([A, FAIL], C), A], C),
    chorded([A, FAIL], grouped([B, C])),
    chorded([A, first("fail.on_error")], first("say.on_error")),
]


@pytest.mark.parametrize("shape", TABLE, ids=[name for name, _ in TABLE])
def test_a_canvas_gives_what_celerys_own_gives(sides: tuple[Yardstick, Ours], shape: Shape) -> None:
    compare(sides, shape)


@pytest.mark.parametrize("freeze", ["frozen", "as a dict", "twice"])
@pytest.mark.parametrize("shape", TABLE[:16:3], ids=[name for name, _ in TABLE[:16:3]])
def test_a_canvas_that_was_frozen_or_came_as_json_gives_the_same(
    sides: tuple[Yardstick, Ours], shape: Shape, freeze: str
) -> None:
    name, build = shape

    def prepared(tasks: dict[str, Any]) -> Any:
        made = build(tasks)
        if freeze == "as a dict":
            return signature(loads(dumps(made)), app=tasks["say"].app)
        made.freeze()
        if freeze == "twice":
            made.freeze()
        return made

    compare(sides, (f"{name}, {freeze}", prepared))


QUICK = settings(
    max_examples=volume(20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(shape=shapes(SAFE))
def test_canvases_give_what_celerys_own_give(sides: tuple[Yardstick, Ours], shape: Shape) -> None:
    compare(sides, shape)


@QUICK
@given(shape=shapes(LEAVES))
def test_canvases_that_fail_somewhere_do_as_celerys_own(sides: tuple[Yardstick, Ours], shape: Shape) -> None:
    compare(sides, shape)
