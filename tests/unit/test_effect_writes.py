"""What a caller's write is refused for before anything is sent, and what it becomes."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr

from jobclaim.jobs import Effects, InvalidEffect, InvalidInput
from jobclaim.jobs.effects.collected import MOST_BYTES
from jobclaim.jobs.effects.evidence import MOST, MOST_TEXT, evidence, made, without_keys
from jobclaim.jobs.effects.values import size, to_plain
from jobclaim.jobs.effects.write import ITEM_LIMIT, Write, make

KEY: dict[str, Any] = {"id": "1"}
TYPED: dict[str, Any] = {"id": {"S": "1"}}
SET = "SET a = :a"


def one(call: Callable[[Effects], object]) -> Write:
    effects = Effects({"jobs"})
    call(effects)
    (write,) = effects.seal()
    return write


@pytest.mark.parametrize(
    ("plain", "typed"),
    [
        ({"id": "1", "n": 9.5}, {"id": {"S": "1"}, "n": {"N": "9.5"}}),
        ({"id": "1", "n": 0.1}, {"id": {"S": "1"}, "n": {"N": "0.1"}}),
        ({"id": 1, "n": [1, {"S": "mine"}]}, {"id": {"N": "1"}, "n": {"L": [{"N": "1"}, {"M": {"S": {"S": "mine"}}}]}}),
        ({"id": b"x", "n": {Decimal("1.5")}}, {"id": {"B": b"x"}, "n": {"NS": ["1.5"]}}),
        ({"id": "1", "n": None, "m": True}, {"id": {"S": "1"}, "n": {"NULL": True}, "m": {"BOOL": True}}),
        (
            {"n": {"S": 5, "N": 1}, "m": {"S": 5}, "o": {"x": ""}},
            {
                "n": {"M": {"S": {"N": "5"}, "N": {"N": "1"}}},
                "m": {"M": {"S": {"N": "5"}}},
                "o": {"M": {"x": {"S": ""}}},
            },
        ),
        ({"id": "1", "n": (1, 2)}, {"id": {"S": "1"}, "n": {"L": [{"N": "1"}, {"N": "2"}]}}),
    ],
)
def test_plain_and_typed_values_are_one(plain: dict[str, Any], typed: dict[str, Any]) -> None:
    from_plain = one(lambda effects: effects.put(TableName="t", Item=plain))
    from_typed = one(lambda effects: effects.put(TableName="t", Item=typed))

    assert from_plain.request == from_typed.request == {"TableName": "t", "Item": typed}
    assert (from_plain.is_plain, from_typed.is_plain) == (True, False)


def test_a_condition_of_boto3s_resources_is_written_out() -> None:
    write = one(
        lambda effects: effects.update(
            TableName="t",
            Key=KEY,
            UpdateExpression=SET,
            ConditionExpression=Attr("balance").gte(5) & Attr("id").exists(),
            ExpressionAttributeValues={":a": 1},
        )
    )

    assert write.request["ConditionExpression"] == "(#n0 >= :v0 AND attribute_exists(#n1))"
    assert write.request["ExpressionAttributeNames"] == {"#n0": "balance", "#n1": "id"}
    assert write.request["ExpressionAttributeValues"] == {":a": {"N": "1"}, ":v0": {"N": "5"}}


REFUSED: list[tuple[Callable[[Effects], object], str]] = [
    (
        lambda e: e.put(TableName="t", Item={"id": {"S": "1"}, "n": 5}),
        r"Item\['id'\] is in DynamoDB's typed form and Item\['n'\] is a plain Python value; use one form",
    ),
    (lambda e: e.put(TableName="t", Item={"id": "1", "n": {"N": "5"}}), "use one form"),
    (
        lambda e: e.update(TableName="t", Key=KEY, UpdateExpression=SET, ExpressionAttributeValues={":a": {"N": "1"}}),
        "one form",
    ),
    (lambda e: e.put(TableName="t", Item={"id": "1", "n": datetime.date(2030, 1, 1)}), r"Item\['n'\].*a date as text"),
    (lambda e: e.put(TableName="t", Item={"id": "1", "n": set()}), "non-empty"),
    (lambda e: e.put(TableName="t", Item={"id": "1", "n": float("nan")}), "cannot be stored"),
    (lambda e: e.put(TableName="t", Item={"id": "1", "n": 10**200}), "cannot be stored"),
    (lambda e: e.put(TableName="t", Item={}), "not empty"),
    (lambda e: e.put(TableName="t", Item=[("id", "1")]), "must be a map"),
    (lambda e: e.put(TableName="t", Item=["id"]), "must be a map"),
    (lambda e: e.put(TableName="t", Item={7: "1"}), "must be a map"),
    (lambda e: e.put(TableName="t"), "needs Item"),
    (lambda e: e.put(TableName="t", Key=KEY), "no parameter 'Key'"),
    (lambda e: e.put(TableName="t", item=KEY), "did you mean 'Item'"),
    (lambda e: e.put(TableName="t", Item=KEY, ReturnValues="ALL_OLD"), "no parameter 'ReturnValues'"),
    (lambda e: e.put(TableName=7, Item=KEY), "must be text"),
    (lambda e: e.put(TableName="", Item=KEY), "must be text"),
    (lambda e: e.update(TableName="t", Key=KEY), "needs UpdateExpression"),
    (lambda e: e.check(TableName="t", Key=KEY), "needs ConditionExpression"),
    (lambda e: e.check(TableName="t", Key=KEY, ConditionExpression=7), "must be text, or Attr"),
    (lambda e: e.delete(TableName="t", Key={"a": 1, "b": 2, "c": 3}), "a key has one or two|and a key one or two"),
    (lambda e: e.put(TableName="jobs", Item=KEY), "belongs to jobclaim"),
    (lambda e: e.put(TableName="arn:aws:dynamodb:eu-west-1:1:table/jobs", Item=KEY), "belongs to jobclaim"),
    (lambda e: e.put(TableName="t", Item={"id": "1", "text": "x" * 410_000}), "409,600"),
    (lambda e: e.extend([{"Put": {"TableName": "t", "Item": KEY}, "Delete": {}}]), "map of one operation"),
    (lambda e: e.extend([{"Insert": {}}]), "map of one operation"),
    (lambda e: e.extend(["Put"]), "map of one operation"),
    (lambda e: e.extend([("Put",)]), "map of one operation"),
    (lambda e: e.extend([7]), "map of one operation"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_dynamodb_could_not_make_is_refused_where_it_is_said(number: int) -> None:
    call, message = REFUSED[number]
    effects = Effects({"jobs"})

    with pytest.raises(InvalidEffect, match=message) as error:
        call(effects)

    assert isinstance(error.value, InvalidInput)
    assert len(effects) == 0


TWICE: list[list[Callable[[Effects], object]]] = [
    [lambda e: e.delete(TableName="t", Key=KEY), lambda e: e.delete(TableName="t", Key=KEY)],
    [lambda e: e.delete(TableName="t", Key=KEY), lambda e: e.check(TableName="t", Key=TYPED, ConditionExpression="x")],
    [lambda e: e.delete(TableName="t", Key=KEY), lambda e: e.put(TableName="t", Item={"id": "1", "more": 1})],
    [lambda e: e.put(TableName="t", Item={"id": "1", "more": 1}), lambda e: e.delete(TableName="t", Key=KEY)],
    [lambda e: e.delete(TableName="t", Key={"a": 1, "b": 2}), lambda e: e.delete(TableName="t", Key={"b": 2, "a": 1})],
    [
        lambda e: e.delete(TableName="arn:aws:dynamodb:eu-west-1:1:table/t", Key=KEY),
        lambda e: e.delete(TableName="t", Key=KEY),
    ],
]


@pytest.mark.parametrize("number", range(len(TWICE)))
def test_two_operations_on_one_item_are_refused_as_far_as_its_key_is_known(number: int) -> None:
    first, second = TWICE[number]
    effects = Effects()
    first(effects)

    with pytest.raises(InvalidEffect, match="already has an operation on this item"):
        second(effects)


def test_other_items_and_other_tables_are_others() -> None:
    effects = Effects()
    effects.delete(TableName="t", Key={"id": "1"})
    effects.delete(TableName="t", Key={"id": "2"})
    effects.delete(TableName="u", Key={"id": "1"})
    effects.delete(TableName="t", Key={"id": 1})
    effects.put(TableName="t", Item={"it lacks": "the key, which is DynamoDB's to refuse"})

    assert len(effects) == 5


def test_ninety_nine_writes_are_a_completions_most() -> None:
    effects = Effects()
    for number in range(99):
        effects.delete(TableName="t", Key={"id": number})

    with pytest.raises(InvalidEffect, match="is write 100; a transaction takes 99"):
        effects.delete(TableName="t", Key={"id": "one more"})


def test_four_megabytes_are_a_transactions_most() -> None:
    effects, frame = Effects(), len("id" + "0" + "text")
    for number in range(10):
        effects.put(TableName="t", Item={"id": str(number), "text": "x" * (ITEM_LIMIT - frame)})
    effects.put(TableName="t", Item={"id": "a", "text": "x" * (MOST_BYTES - 10 * ITEM_LIMIT - frame)})

    with pytest.raises(InvalidEffect, match="DynamoDB takes 4,194,304"):
        effects.put(TableName="t", Item={"i": ""})
    with pytest.raises(InvalidEffect, match="DynamoDB stores at most 409,600"):
        Effects().put(TableName="t", Item={"id": "a", "text": "x" * (ITEM_LIMIT - frame + 1)})


def test_a_refused_put_is_named_by_what_its_condition_asks_for() -> None:
    write = make(
        "Put",
        {
            "TableName": "t",
            "Item": {"order": "7", "secret": "s"},
            "ConditionExpression": "attribute_not_exists(#o)",
            "ExpressionAttributeNames": {"#o": "order"},
        },
    )

    assert to_plain(write.shown_key()) == {"order": "7"}


def test_equal_writes_have_one_digest_whatever_the_order_of_their_sets_and_attributes() -> None:
    def named(*values: str) -> str:
        return evidence([make("Put", {"TableName": "t", "Item": {"id": {"S": "1"}, "s": {"SS": list(values)}}})])

    def digest(**item: Any) -> str:
        return evidence([make("Delete", {"TableName": "t", "Key": item})]).partition(" ")[0]

    assert digest(a="ab", b=[1, 2]) == digest(b=[1, 2], a="ab")
    assert (
        len({digest(a="ab"), digest(a="ba"), digest(a=b"ab"), digest(a=b"ba"), digest(a=[1, 2]), digest(a=[2, 1])}) == 6
    )
    assert named("a", "b") == named("b", "a")
    assert named("a") != named("b")
    assert named("a").startswith("1:")
    assert evidence([]) == ""


def test_sizes_are_dynamodbs() -> None:
    item: dict[str, Any] = {
        "id": {"S": "ä"},
        "n": {"N": "-12.50"},
        "l": {"L": [{"NULL": True}]},
        "m": {"M": {"k": {"BOOL": True}}},
    }

    assert size(item) == (2 + 2) + (1 + 3) + (1 + 3 + 2) + (1 + 3 + 2 + 1)
    assert size({"b": {"B": b"abc"}, "s": {"SS": ["a", "bc"]}, "n": {"NS": ["1", "12", "100"]}}) == 4 + 4 + 1 + 2 * 3


def test_a_job_keeps_kind_table_and_key_of_its_first_writes() -> None:
    put = make("Put", {"TableName": "ledger", "Item": {"id": "7", "amount": 5}})
    charge = make(
        "Update",
        {
            "TableName": "arn:aws:dynamodb:eu-west-1:1:table/stock",
            "Key": {"sku": "A1", "part": b"\x01"},
            "UpdateExpression": "ADD n :n",
            "ExpressionAttributeValues": {":n": 1},
        },
    )
    kept = evidence([put, charge])
    assert kept.startswith("2:")
    assert made(kept) == (2, [("put", "ledger", "id=7"), ("update", "stock", "sku=A1, part=01")])
    assert made(without_keys(kept, "-")) == (2, [("put", "ledger", "-"), ("update", "stock", "-")])


def test_what_a_job_keeps_of_its_writes_is_bounded() -> None:
    long = [make("Put", {"TableName": "t" * 200, "Item": {"id": "x" * 900, "n": n}}) for n in range(99)]
    kept = evidence(long)
    number, first = made(kept)
    assert (number, len(first)) == (99, MOST)
    assert all(len(text) <= MOST_TEXT for one in first for text in one)
    assert len(kept.encode()) < 700

    whole = "ä" * (MOST_TEXT - len("id="))
    shown = evidence([make("Put", {"TableName": "t", "Item": {"id": whole}})]).partition(" ")[2]
    assert shown == f'[["put","t","id={whole}"]]'


@pytest.mark.parametrize(
    ("kept", "number"),
    [("", 0), ("3:9f86d081884c7d65", 3), ("3:9f86 {broken", 3), ("what", 0), ("²", 0), ('1:ab [["a"]]', 1)],
)
def test_evidence_of_another_release_has_a_number_at_least(kept: str, number: int) -> None:
    assert made(kept) == (number, [])
    assert without_keys(kept, "-") == kept
