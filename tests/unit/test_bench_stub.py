"""The stub bills as AWS does: the figures of the pricing pages, and those measured on DynamoDB Local."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.stub_aws.expressions import BadExpression, Context, condition, update
from bench.stub_aws.queues import Queues
from bench.stub_aws.tables import AwsError, Table, size, write_units

DESCRIPTION: dict[str, Any] = {
    "TableName": "t",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_state",
            "KeySchema": [{"AttributeName": "state", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}


def item(name: str, **attributes: Any) -> dict[str, Any]:
    """An item with an id; numbers become N, texts S."""
    typed = {key: {"N": str(value)} if isinstance(value, int) else {"S": value} for key, value in attributes.items()}
    return {"id": {"S": name}, **typed}


def holds(expression: str, of: dict[str, Any], **values: Any) -> bool:
    """Evaluate a condition; values as in `item`."""
    wire = {f":{key}": value for key, value in item("", **values).items()}
    return condition(expression)(Context(of, {"#s": "status"}, wire))


@pytest.fixture
def table() -> Table:
    """An empty table with one index."""
    return Table(DESCRIPTION)


def put(table: Table, new: dict[str, Any], **request: Any) -> None:
    """Put an item."""
    table.write(request, new, table.key_of(new))


class TestUnits:
    @pytest.mark.parametrize(("octets", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (400_000, 391)])
    def test_a_write_is_billed_by_the_kilobyte_that_it_begins(self, octets: int, units: int) -> None:
        assert write_units(octets) == units

    def test_names_and_values_count_towards_the_size(self) -> None:
        assert size(item("abc", text="ä", n=123456)) == len("id") + 3 + len("text") + 2 + len("n") + 4

    def test_an_index_costs_one_unit_to_enter_two_to_move_and_none_when_nothing_of_it_changes(
        self, table: Table
    ) -> None:
        put(table, item("a", state="OPEN", at=1))
        assert dict(table.units) == {"write table": 1, "write index": 1}
        put(table, item("a", state="OPEN", at=1, more="x"))
        assert table.units["write index"] == 1
        put(table, item("a", state="FAILED", at=2))
        assert table.units["write index"] == 3
        put(table, item("a"))
        assert table.units["write index"] == 4
        assert table.units["write table"] == 4

    def test_a_write_is_billed_by_the_larger_of_the_item_before_and_after(self, table: Table) -> None:
        billed = []
        for octets in (500, 1100, 500, 500):
            before = table.units["write table"]
            put(table, item("a", text="x" * octets, more="y"))
            billed.append(table.units["write table"] - before)
        assert billed == [1, 2, 2, 1]

    def test_an_update_is_billed_by_the_whole_item_and_not_by_what_it_changes(self, table: Table) -> None:
        put(table, item("a", text="x" * 1000, more="y"))
        request = {
            "Key": item("a"),
            "UpdateExpression": "SET more = :m REMOVE gone",
            "ExpressionAttributeValues": {":m": {"S": "y" * 100}},
        }
        table.write({}, table.updated(request, ("a",)), ("a",))
        assert table.units["write table"] == 1 + 2

    def test_a_refused_write_is_billed_and_changes_nothing(self, table: Table) -> None:
        put(table, item("a", text="x" * 2000))
        with pytest.raises(AwsError, match="conditional request failed") as caught:
            put(
                table,
                item("a"),
                ConditionExpression="attribute_not_exists(id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        assert table.units["write table"] == 2 + 2
        assert caught.value.more == {"Item": item("a", text="x" * 2000)}


class TestExpressions:
    def test_conditions_read_as_they_are_written(self) -> None:
        job = item("a", status="PENDING", attempt=3)
        assert holds("(#s = :p OR #s = :f) AND attempt = :n", job, p="PENDING", f="FAILED", n=3)
        assert not holds("(#s = :p OR #s = :f) AND attempt = :n", job, p="PENDING", f="FAILED", n=4)
        assert holds("attribute_not_exists(gone) AND attempt BETWEEN :a AND :b", job, a=1, b=3)
        assert holds("NOT attempt < :n", job, n=3)
        assert not holds("attempt = :text", job, text="3"), "a number is no text"
        assert not holds("gone = :n", job, n=1)

    def test_updates_set_add_up_and_remove(self) -> None:
        before = item("a", attempt=1, lease=60, token="x")
        after = dict(before)
        context = Context(before, {"#st": "status"}, {":n": {"N": "1"}, ":now": {"N": "100"}, ":s": {"S": "P"}})
        for action in update("SET #st = :s, expires = :now + lease ADD attempt :n REMOVE token"):
            action(context, after)
        assert after == item("a", attempt=2, lease=60, status="P", expires=160)
        assert before["token"] == {"S": "x"}

    def test_a_map_inside_an_item_is_changed_in_the_copy_alone(self) -> None:
        before = {"id": {"S": "a"}, "commands": {"M": {}}}
        after = dict(before)
        context = Context(before, {"#job": "j-1"}, {":c": {"S": "cancel"}})
        for action in update("SET commands.#job = :c"):
            action(context, after)
        assert after["commands"] == {"M": {"j-1": {"S": "cancel"}}}
        assert before["commands"] == {"M": {}}

    def test_what_it_does_not_know_is_refused_not_guessed(self) -> None:
        with pytest.raises(BadExpression):
            condition("attribute_type(a, :t)")


class Answers:
    """Keeps what a queue answers."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(self, answer: dict[str, Any]) -> None:
        self.all.append(answer)

    def is_open(self) -> bool:
        """Wait for ever."""
        return True


class TestQueues:
    def test_a_batch_is_that_many_messages(self) -> None:
        async def story() -> list[dict[str, Any]]:
            queues, answers = Queues("http://stub"), Answers()
            queues.handle("CreateQueue", {"QueueName": "q"}, answers)
            url = answers.all[0]["QueueUrl"]
            entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(3)]
            queues.handle("SendMessageBatch", {"QueueUrl": url, "Entries": entries}, answers)
            queues.handle("ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10}, answers)
            return answers.all

        _, sent, received = asyncio.run(story())
        assert [one["Id"] for one in sent["Successful"]] == ["0", "1", "2"]
        assert [one["Body"] for one in received["Messages"]] == ["m0", "m1", "m2"]
        assert [one["MessageId"] for one in received["Messages"]] == [one["MessageId"] for one in sent["Successful"]]
