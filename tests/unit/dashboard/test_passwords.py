"""Signing in with a password: who is let in, who is not, and what guessing costs."""

from __future__ import annotations

import base64
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import pytest

from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.security import basic
from jobclaim.dashboard.security.asgi import Refusal
from jobclaim.dashboard.security.basic import EVERYWHERE, TRIES, Passwords, hash_password, is_password
from jobclaim.settings import DashboardUser
from tests.support.clock import ManualClock

COST = basic.COST
with patch.object(basic, "COST", 2**10):  # a hash at its own price is a quarter of a second
    HASHED = hash_password("correct horse")
USERS = {"ann": DashboardUser(password=HASHED, operator=True), "bob": DashboardUser(password=HASHED)}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "COST", 2**10)


@pytest.fixture
def passwords(clock: ManualClock) -> Passwords:
    return Passwords(USERS, clock=clock)


def signed(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def status(answer: Person | Refusal) -> int:
    return answer.status if isinstance(answer, Refusal) else 200


def test_a_hash_says_nothing_of_the_password_and_no_two_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "COST", COST)
    hashed = hash_password("correct horse")
    assert "correct" not in hashed
    assert hash_password("correct horse") != hashed
    assert is_password("correct horse", hashed)
    assert not is_password("correct horse ", hashed)
    DashboardUser(password=hashed)


@pytest.mark.parametrize("stored", ["scrypt$9999999$8$1$", "scrypt$1000$8$1$", "scrypt$0000$0$0$"])
def test_a_hash_that_cannot_be_computed_lets_nobody_in(stored: str) -> None:
    assert not is_password("x", stored + "a" * 22 + "$" + "b" * 43)


def test_a_password_in_plain_text_is_no_setting_and_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="hash-password") as caught:
        DashboardUser(password="correct horse")
    assert "correct horse" not in caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]
    assert HASHED not in repr(USERS["ann"])


def test_the_right_password_names_the_person(passwords: Passwords) -> None:
    assert passwords.person(signed("ann", "correct horse")) == Person("ann", Role.OPERATOR)
    assert passwords.person(signed("bob", "correct horse")) == Person("bob", Role.VIEWER)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic " + base64.b64encode(b"ann").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Bearer " + base64.b64encode(b"ann:correct horse").decode(),
        signed("ann", ""),
        signed("ann", "Correct horse"),
        signed("Ann", "correct horse"),
        signed("", "correct horse"),
        signed("nobody", "correct horse"),
        pytest.param(signed("ann", HASHED), id="the hash itself"),  # another one in each process of pytest-xdist
        pytest.param(signed("ann", "x" * 5000), id="a long one"),
    ],
)
def test_anything_else_is_asked_to_sign_in(passwords: Passwords, header: str | None) -> None:
    answer = passwords.person(header)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.headers[0][0]) == (401, "www-authenticate")


def test_a_page_view_after_the_first_checks_no_hash(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(passwords.person(signed("ann", "correct horse"))) == 200

    def must_not(*_: Any) -> bool:
        raise AssertionError("hashed again")

    monkeypatch.setattr(basic, "is_password", must_not)
    assert status(passwords.person(signed("ann", "correct horse"))) == 200


def test_guessing_is_stopped_and_who_signed_in_goes_on(
    passwords: Passwords, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(passwords.person(signed("ann", "correct horse"))) == 200
    monkeypatch.setattr(basic, "is_password", lambda password, stored: password == "new")
    assert [status(passwords.person(signed("ann", f"guess {n}"))) for n in range(TRIES + 2)] == [401] * TRIES + [
        429
    ] * 2
    assert status(passwords.person(signed("ann", "new"))) == 429, "the right one too, while guesses come"
    assert status(passwords.person(signed("ann", "correct horse"))) == 200
    assert status(passwords.person(signed("bob", "new"))) == 200
    clock.advance(61)
    assert status(passwords.person(signed("ann", "new"))) == 200


def test_names_that_do_not_exist_take_as_long_and_fill_no_memory(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def check(password: str, stored: str) -> bool:
        checked.append(stored)
        return True  # even if it were the stand-in's password

    monkeypatch.setattr(basic, "is_password", check)
    monkeypatch.setattr(basic, "COUNTED", TRIES)
    for n in range(3 * TRIES):
        assert status(passwords.person(signed(f"{'nobody' * 100}{n}", "x"))) == 401
    assert len(checked) == 3 * TRIES
    assert all(stored.split("$")[1:4] == HASHED.split("$")[1:4] for stored in checked)
    assert len(passwords._wrong) == TRIES
    assert max(map(len, passwords._wrong)) == 32, "however long the names are"


def test_guessing_does_not_tell_which_names_exist(
    passwords: Passwords, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic, "is_password", lambda *_: False)

    def answers(name: str) -> list[int]:
        return [status(passwords.person(signed(name, f"guess {n}"))) for n in range(TRIES + 2)]

    for name in ("nobody", "ann", "nobody else", "bob"):
        assert answers(name) == [401] * TRIES + [429] * 2, name
    clock.advance(61)
    assert answers("nobody") == answers("ann") == [401] * TRIES + [429] * 2


def test_who_guesses_under_many_names_frees_none_that_waits(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic, "is_password", lambda *_: False)
    for n in range(TRIES):
        passwords.person(signed("ann", f"{n}"))
    for n in range(basic.TRIES_MS // 50):  # a check takes longer than 50 ms
        passwords.person(signed(f"nobody{n}", "x"))
    assert status(passwords.person(signed("ann", "correct horse"))) == 429


def test_guessers_do_not_lock_out_a_new_name(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    first, go_on = Event(), Event()
    checked: list[str] = []

    def check(password: str, _: str) -> bool:
        checked.append(password)
        first.set()
        go_on.wait(30)
        return password == "right"

    monkeypatch.setattr(basic, "is_password", check)
    answers: dict[str, int] = {}

    def ask(name: str, password: str) -> Thread:
        thread = Thread(target=lambda: answers.update({name: status(passwords.person(signed(name, password), "::1"))}))
        thread.start()
        return thread

    threads = [ask("guess 0", "x")]
    assert first.wait(30)
    threads += [ask(f"guess {n}", "x") for n in range(1, 12)]
    threads.append(ask("ann", "right"))
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers.pop("ann") == 200
    assert set(answers.values()) == {401}
    assert len(checked) == 13


def test_a_name_that_one_client_guesses_can_sign_in_from_another(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic, "is_password", lambda password, _: password == "right")
    for _ in range(TRIES + 1):
        passwords.person(signed("ann", "x"), "192.0.2.1")
    assert status(passwords.person(signed("ann", "right"), "192.0.2.1")) == 429
    assert status(passwords.person(signed("ann", "right"), "192.0.2.2")) == 200
    for n in range(EVERYWHERE):
        passwords.person(signed("bob", "x"), f"192.0.2.{n}")
    assert status(passwords.person(signed("bob", "right"), "198.51.100.1")) == 429
