"""Payloads and results: what JSON carries exactly, and nothing else."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from jobclaim.jobs import Failure, FailureKind, InvalidPayload, PayloadTooLarge
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.tagged import tag
from jobclaim.jobs.model import Attempt, Decision
from tests.unit.jobs_strategies import ATTEMPTS, FAILURES, JSON


class Colour(Enum):
    """What JSON has no form for."""

    RED = "red"


LOOP: list[Any] = []
LOOP.append(LOOP)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(JSON)
def test_a_value_comes_back_as_it_went_in_to_the_last_bit_and_type(value: Any) -> None:
    read = codec.decode(codec.encode(value))

    assert read == value
    assert repr(read) == repr(value)  # 1, 1.0 and True are equal, as are 0.0 and -0.0; their texts are not


@given(JSON)
def test_the_text_is_compact_and_its_size_is_counted_in_bytes(value: Any) -> None:
    text = codec.encode(value)
    size = len(text.encode())

    assert text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert codec.encode(value, limit=size) == text
    with pytest.raises(PayloadTooLarge, match=f"{size} bytes, at most {size - 1} are allowed"):
        codec.encode(value, limit=size - 1)


@pytest.mark.parametrize(
    "alien",
    [
        bytearray(b"x"),
        {1, 2},
        frozenset(),
        object(),
        timedelta(1),
        Colour.RED,
        deque([1]),
        1j,
        range(3),
        Exception("x"),
        str,
    ],
)
def test_an_object_that_json_does_not_know_is_refused_with_its_place_and_a_remedy(alien: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"payload\['rows'\]\[1\]\['x'\] is of type \w+.*convert it first"):
        codec.encode({"rows": [1, {"x": alien}]})


@pytest.mark.parametrize("key", [("a",), b"a", UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC)])
def test_a_key_that_json_cannot_make_text_of_is_refused(key: Any) -> None:
    with pytest.raises(InvalidPayload, match="JSON keys are text"):
        codec.encode([{"a": {key: 1}}])


@pytest.mark.parametrize("keys", [(1, "1"), (None, "null"), (True, "true"), (1.5, "1.5")])
def test_keys_that_become_the_same_text_are_refused_for_one_value_would_be_lost(keys: Any) -> None:
    with pytest.raises(InvalidPayload, match="the same in JSON"):
        codec.encode([dict.fromkeys(keys, 0)])


def values() -> st.SearchStrategy[Any]:
    dates = st.datetimes(timezones=st.none() | st.timezones()) | st.dates() | st.times()
    scalars = (
        dates | st.decimals(allow_nan=False) | st.uuids() | st.binary() | st.integers() | st.text() | st.booleans()
    )
    keys = st.text() | st.integers() | st.booleans() | st.none()
    return st.recursive(
        scalars | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=6,
    )


@given(values())
def test_a_value_comes_back_as_it_does_from_kombus_json(value: Any) -> None:
    try:
        text = codec.encode(value)
    except InvalidPayload as error:
        assume("the same in JSON" not in str(error) and "surrogates" not in str(error))
        raise
    theirs = kombu_json.loads(kombu_json.dumps(value))
    assert codec.decode(text) == theirs
    assert kombu_json.loads(text) == theirs, "the text is kombu's form too"
    assert codec.encode(codec.decode(text)) == text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_pass_as_in_kombus_json_and_are_text_for_pages(number: float) -> None:
    assert repr(codec.decode(codec.encode([number]))) == repr([number])
    assert json.dumps(codec.plain({"a": number}), allow_nan=False) == json.dumps({"a": json.dumps(number)})


@pytest.mark.parametrize("value", [{"__type__": "money", "__value__": 1}, {"__type__": "uuid", "__value__": 7},
                                   {"__type__": [], "__value__": 7}, {"__type__": "date"},
                                   {"__type__": "uuid", "__value__": str(UUID(int=1)), "more": 1}])  # fmt: skip
def test_a_map_of_an_older_payload_that_looks_like_a_tag_stays_a_map(value: Any) -> None:
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("value", ["\ud800", {"a": ["\udfff"]}, {"\ud800": 1}])
def test_a_lone_surrogate_is_refused_for_utf8_cannot_carry_it(value: Any) -> None:
    with pytest.raises(InvalidPayload, match="surrogates not allowed"):
        codec.encode(value)


@pytest.mark.parametrize("value", [nested(101), nested(100_000), LOOP])
def test_a_value_that_is_nested_too_deep_is_refused(value: Any) -> None:
    with pytest.raises(InvalidPayload, match="nested more than 100 levels deep"):
        codec.encode(value)


def test_a_value_may_be_nested_a_hundred_deep() -> None:
    assert codec.decode(codec.encode(nested(100))) == nested(100)


def test_an_integer_with_more_digits_than_python_writes_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="cannot be written as JSON"):
        codec.encode([10**5000])


def test_an_error_tells_which_setting_raises_the_limit() -> None:
    with pytest.raises(PayloadTooLarge, match="JOBCLAIM_MAX_RESULT_BYTES"):
        codec.encode("x" * 10, what="result", limit=5)


def test_enums_and_kinds_of_maps_and_lists_are_written_by_their_plain_value() -> None:
    class Colour(StrEnum):
        RED = "red"

    class Size(IntEnum):
        SMALL = 1

    assert codec.encode(OrderedDict(a=(Colour.RED, Size.SMALL))) == '{"a":["red",1]}'


@given(FAILURES)
def test_a_failure_survives_its_text(failure: Failure) -> None:
    assert codec.decode_failure(codec.encode_failure(failure)) == failure


@given(st.lists(ATTEMPTS, max_size=4).map(tuple))
def test_a_history_survives_its_text(history: Any) -> None:
    assert codec.decode_history(codec.encode_history(history)) == history


def test_empty_fields_take_no_room_and_have_their_defaults_when_they_are_read() -> None:
    late = Failure(kind=FailureKind.TIMEOUT, message="é")
    text = '{"kind":"TIMEOUT","message":"é"}'

    assert codec.encode_failure(late) == text
    assert codec.encode_history((Attempt(attempt=1, outcome="fail", failure=late),)) == (
        f'[{{"attempt":1,"outcome":"fail","failure":{text}}}]'
    )
    assert codec.encode_decisions((Decision(verb="retry", by="é"),)) == '[{"verb":"retry","by":"é"}]'
    assert codec.decode_history("[{}]") == (Attempt(attempt=0, outcome=""),)
    assert codec.decode_decisions("[{}]") == (Decision(verb="", by=""),)


class Money:
    """What an object may say of itself to JSON encoders; kombu's asks it too."""

    def __json__(self) -> Any:
        return {"cents": Decimal(5)}


def test_an_object_that_knows_its_json_and_a_lazily_translated_text_are_written_as_what_they_say() -> None:
    from django.utils.functional import lazystr

    assert codec.decode(codec.encode([Money(), lazystr("late")])) == [{"cents": Decimal(5)}, "late"]
    with pytest.raises(InvalidPayload, match="of type type"):
        codec.encode([Money])


def test_without_django_there_is_no_lazy_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "django.utils.functional", raising=False)

    assert codec.decode(codec.encode([datetime(2030, 1, 1, tzinfo=UTC), Money()])) != []
    with pytest.raises(TypeError, match="Object of type object"):
        tag(object())


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300), st.integers(0, 200), st.booleans())
@example("beginning, end", 3, True)
@example("é", 1, False)
@example("é" * 40, 80, False)
def test_cut_text_fits_and_is_a_beginning_or_an_end_and_not_needlessly_short(
    text: str, limit: int, from_end: bool
) -> None:
    kept = codec.cut(text, limit, from_end=from_end)
    size = len(json.dumps(kept, ensure_ascii=False).encode()) - 2

    assert size <= limit
    assert text.endswith(kept) if from_end else text.startswith(kept)
    assert kept == text or size > limit - 12
