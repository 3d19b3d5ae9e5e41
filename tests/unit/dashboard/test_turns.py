"""Turns for the check of passwords: who asks often does not shut out who asks once."""

from __future__ import annotations

from threading import Event, Thread

from jobclaim.dashboard.security.turns import Turns


class Room:
    """Callers that wait for their turns, and the order in which they got them."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.refused: list[str] = []
        self._threads: list[Thread] = []

    def ask(self, client: str, name: str) -> None:
        """Have somebody ask, and wait until that one waits."""
        before = len(self.turns._waiting)
        thread = Thread(target=self._take, args=(client, name))
        thread.start()
        self._threads.append(thread)
        while len(self.turns._waiting) == before and thread.is_alive() and before < self.turns._places:
            thread.join(0.001)

    def _take(self, client: str, name: str) -> None:
        with self.turns.turn(client, name) as mine:
            (self.order if mine else self.refused).append(f"{client}:{name}")

    def end(self) -> None:
        for thread in self._threads:
            thread.join(30)


def held(turns: Turns) -> tuple[Thread, Event]:
    """Hold the turn until the event."""
    begun, go_on = Event(), Event()

    def hold() -> None:
        with turns.turn("holder", "holder"):
            begun.set()
            go_on.wait(30)

    thread = Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    return thread, go_on


def test_clients_take_turns_and_so_do_the_names_of_each() -> None:
    turns = Turns(seconds=30)
    holder, go_on = held(turns)
    room = Room(turns)
    for name in ("a", "a", "a", "b"):
        room.ask("many", name)
    room.ask("one", "c")
    go_on.set()
    room.end()
    holder.join(30)
    assert room.order[:3] == ["many:a", "one:c", "many:b"]
    assert (len(room.order), room.refused) == (5, [])


def test_where_all_places_are_taken_the_greediest_loses_the_newest() -> None:
    turns = Turns(places=3, seconds=30)
    holder, go_on = held(turns)
    room = Room(turns)
    for name in ("a", "b", "c"):
        room.ask("many", name)
    room.ask("one", "x")
    room.ask("many", "a")
    while len(room.refused) < 2 and not go_on.wait(0.01):
        pass
    go_on.set()
    room.end()
    holder.join(30)
    assert "one:x" in room.order
    assert len(room.order) == 3
    assert all(each.startswith("many:") for each in room.refused)


def test_who_waits_too_long_is_refused() -> None:
    turns = Turns(seconds=0.01)
    holder, go_on = held(turns)
    with turns.turn("a", "a") as mine:
        assert not mine
    go_on.set()
    holder.join(30)
    with turns.turn("a", "a") as mine:
        assert mine
