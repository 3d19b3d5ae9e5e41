"""Which calls are one: the idempotency key of a call, as a function of its arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import InvalidInput, InvalidPayload
from jobclaim.jobs.encoding.canonical import canonical
from jobclaim.jobs.idempotency import WINDOWS, derive_key, window_seconds
from jobclaim.workers.submission.idempotency import Rules, bind, identify

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def task(a: Any, b: Any = 2, *rest: Any, flag: Any = None, **extra: Any) -> None:
    """A signature with everything."""


def key_of(*args: Any, **kwargs: Any) -> str:
    return identify("t", bind(task, args, kwargs), Rules()).key


def tangled(value: Any, draw: Any) -> Any:
    """The same value in another form: maps in another order, tuples for lists, whole floats for numbers."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: tangled(value[name], draw) for name in names}
    if isinstance(value, list):
        inner = [tangled(each, draw) for each in value]
        return tuple(inner) if draw(st.booleans()) else inner
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return draw(st.sampled_from([value, float(value)]))
    return value


@given(VALUES, st.data())
def test_equal_values_in_any_form_have_one_key(value: Any, data: st.DataObject) -> None:
    assert derive_key("t", value) == derive_key("t", tangled(value, data.draw))


@given(VALUES, VALUES)
def test_two_values_have_one_key_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == _equal(one, other)


def test_a_key_stays_the_same_in_every_release() -> None:
    assert canonical({"b": "é", "a": [1.0, True]}) == '{"a":[1,true],"b":"é"}'


@given(VALUES)
def test_a_trip_through_json_changes_no_key(value: Any) -> None:
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@given(VALUES, VALUES, VALUES)
def test_positional_and_keyword_forms_of_a_call_are_one(a: Any, b: Any, flag: Any) -> None:
    assert len({key_of(a, b, flag=flag), key_of(a, flag=flag, b=b), key_of(flag=flag, b=b, a=a)}) == 1


def test_a_default_that_is_given_and_one_that_is_not_are_one_call() -> None:
    assert key_of(1) == key_of(1, 2) == key_of(1, b=2) == key_of(1, flag=None)
    assert key_of(1) != key_of(1, 3)


def test_extra_arguments_count_and_their_names_cannot_be_mistaken_for_others() -> None:
    assert key_of(1, other=3) != key_of(1)
    assert key_of(1, 2, 3) != key_of(1, 2, 4)
    assert key_of(1, x=1, y=2) == key_of(1, y=2, x=1)
    assert key_of(1, **{"*rest": [9]}) != key_of(1, 2, 9)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (-0.0, 0), (1e22, 10**22), ((1, 2), [1, 2]), ("é", "\u00e9")])
def test_what_json_cannot_tell_apart_is_one_call(one: Any, other: Any) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, "1"), (None, False), (None, "null"), ("é", "e\u0301"), ([1, [2]], [[1], 2]), ({}, [])],
)
def test_what_differs_in_json_is_two_calls(one: Any, other: Any) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("value", [{1}, {(1,): 2}, object(), "\ud800"])
def test_a_value_that_json_cannot_carry_identifies_nothing(value: Any) -> None:
    with pytest.raises(InvalidPayload):
        key_of(value)


def test_a_default_that_json_cannot_carry_is_left_out() -> None:
    sentinel = object()

    def with_sentinel(a: int, b: Any = sentinel) -> None: ...

    assert bind(with_sentinel, (1,), {}) == {"a": 1}
    assert bind(with_sentinel, (1,), {"b": 2}) == {"a": 1, "b": 2}


def test_task_and_scope_and_its_owner_are_part_of_the_key() -> None:
    keys = [
        derive_key("t", 1),
        derive_key("u", 1),
        derive_key("t", 1, scope="user", owner=1),
        derive_key("t", 1, scope="user", owner=2),
        derive_key("t", 1, scope="tenant", owner=1),
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_is_the_same_in_every_process_and_version() -> None:
    """The digest is sha256sum's of [1,"tasks.add","global",null,{"a":1,"b":[true,null,0.5]}]."""
    assert derive_key("tasks.add", {"a": 1, "b": [True, None, 0.5]}) == (
        "b4f65c41d5bc732737cfa6ef84a7871d628077de3e59d85dc7aa2b4e71386a4e"
    )


# --- scopes and keys of one's own
def by_user(**kwargs: Any) -> str:
    return identify("t", kwargs, Rules(scope="user"), "invoice-7").key


def test_a_key_of_ones_own_counts_within_its_scope() -> None:
    assert by_user(user_id=1) == by_user(user_id=1.0) != by_user(user_id=2)
    assert identify("t", {"a": 1}, Rules(), "invoice-7").key == "invoice-7"


@given(TEXT.filter(bool), TEXT.filter(bool), TEXT.filter(str.strip), TEXT.filter(str.strip))
def test_no_owner_can_be_spelt_to_reach_into_anothers_keys(one: str, other: str, key: str, other_key: str) -> None:
    keys = [
        identify("t", {"user_id": user}, Rules(scope="user"), text).key
        for user, text in ((one, key), (other, other_key))
    ]
    assert (keys[0] == keys[1]) == ((one, key) == (other, other_key))


def test_a_key_of_ones_own_with_other_arguments_has_another_fingerprint() -> None:
    one, same, other = (identify("t", {"a": value}, Rules(), "k") for value in (1, 1.0, 2))
    assert one == same
    assert (one.key, one.fingerprint) != (other.key, other.fingerprint)
    assert one.key == other.key


def test_a_scope_may_be_a_function_of_the_arguments() -> None:
    rules = Rules(scope=lambda arguments: arguments["order"]["shop"])
    one = identify("t", {"order": {"shop": "a", "id": 1}}, rules, "k")
    other = identify("t", {"order": {"shop": "b", "id": 1}}, rules, "k")
    assert one.key != other.key


def test_the_owner_may_be_in_an_argument_of_any_name_even_an_extra_one() -> None:
    rules = Rules(scope="tenant", argument="customer")
    assert (
        identify("t", bind(task, (1,), {"customer": 5}), rules).key
        != identify("t", bind(task, (1,), {"customer": 6}), rules).key
    )


@pytest.mark.parametrize("arguments", [{}, {"user_id": None}, {"user_id": ""}])
def test_a_call_without_an_owner_is_refused_not_shared(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="does not name an owner"):
        identify("t", arguments, Rules(scope="user"))


def test_a_key_may_come_from_some_arguments_only() -> None:
    rules = Rules(key_from=("job_id", "execution_date"))
    one = {"job_id": 7, "execution_date": "2026-11-21", "requested_by": "a"}
    assert identify("t", one, rules) == identify("t", {**one, "requested_by": "b"}, rules)
    assert identify("t", one, rules) != identify("t", {**one, "job_id": 8}, rules)


def test_a_key_may_come_from_a_function_of_the_arguments() -> None:
    rules = Rules(key_from=lambda arguments: arguments["path"].lower())
    assert identify("t", {"path": "A"}, rules) == identify("t", {"path": "a"}, rules)


@pytest.mark.parametrize(
    ("rules", "key"),
    [(Rules(scope="usr"), None), (Rules(key_from=("nothing",)), None), (Rules(), " "), (Rules(), 7)],
)
def test_what_cannot_identify_a_call_is_refused(rules: Rules, key: Any) -> None:
    with pytest.raises(InvalidInput):
        identify("t", {"a": 1}, rules, key)


@pytest.mark.parametrize(("category", "hours"), [("critical", 4), ("high_priority", 2), ("email", 2), ("reports", 24),
                                                 ("mutations", 6), ("maintenance", 12)])  # fmt: skip
def test_categories_of_work_have_the_windows_of_governance(category: str, hours: int) -> None:
    assert window_seconds(category) == WINDOWS[category] == hours * 3600


def test_a_window_is_seconds_or_a_category() -> None:
    assert window_seconds(90) == 90
    assert window_seconds(None) is None
    with pytest.raises(InvalidInput, match="categories"):
        window_seconds("report")


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON values, where a number is no truth value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )
