"""Whatever comes in, looking at it ends in a message that Celery can run or in `Poison`, never in anything else."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import dumps
from kombu.transport.virtual import Channel, Message

from jobclaim.jobs import PayloadTooLarge
from jobclaim.workers.messages.envelope import PACKED, seal, unseal
from jobclaim.workers.messages.inflate import TooLarge
from jobclaim.workers.process.poison import MAX_REASON
from jobclaim.workers.transport.inspect import Poison, bounded, build_message, check_call, check_headers, read_envelope
from tests.support.poison import CORPUS, envelope, mutants, wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class Decoder(Channel):
    """The part of a channel that decodes bodies."""

    def __init__(self) -> None:
        """Without a connection."""


def inspect(body: Any) -> Message:
    """Look at a message as the channel does."""
    payload = bounded(read_envelope(body))
    payload["properties"]["delivery_tag"] = "tag"
    return build_message(lambda: Message(payload, channel=Decoder()))


def test_a_good_message_passes_as_base64_and_as_plain_json() -> None:
    for body in (wire(envelope()), json.dumps(envelope())):
        assert inspect(body).payload[0] == [1]


FOR_CELERY = {"task not registered", "task with quotes", "eta no date", "expires no date"}
"""Refused by Celery itself, without harm."""


@pytest.mark.parametrize("name", sorted(CORPUS.keys() - FOR_CELERY))
def test_the_corpus_is_refused(name: str) -> None:
    with pytest.raises(Poison, match=r"\w"):
        inspect(CORPUS[name])


@given(body=st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()) | JSON.map(wire) | JSON)
def test_any_body_is_an_object_or_poison(body: Any) -> None:
    with contextlib.suppress(Poison):
        assert isinstance(read_envelope(body), dict)


@given(call=JSON | st.tuples(JSON, JSON, JSON).map(list))
def test_any_call_is_args_kwargs_and_embed_or_poison(call: Any) -> None:
    try:
        check_call(call)
    except Poison:
        return
    args, kwargs, embed = call
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)
    assert embed is None or isinstance(embed, dict)


@given(
    headers=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["task", "id", "eta", "timelimit", "retries", "stamps"], JSON)
    )
)
def test_any_headers_name_task_and_id_or_are_poison(headers: dict[str, Any]) -> None:
    try:
        check_headers(headers)
    except Poison:
        return
    assert headers["task"]
    assert headers["id"]


def test_mutants_are_inspected_without_any_other_error() -> None:
    passed = refused = 0
    for body in mutants(seed=7, count=400):
        try:
            inspect(body)
            passed += 1
        except Poison:
            refused += 1
    assert passed > 40, "the mutants are not all nonsense"
    assert refused > 100


def test_a_reason_shows_no_value_of_the_message() -> None:
    with pytest.raises(Poison) as caught:
        check_call(["a secret argument", {}, {}])
    assert "secret" not in str(caught.value)


def compressed(call: bytes, method: str = "application/x-gzip") -> str:
    """A message whose call is compressed, as ``task.apply_async(compression="zlib")`` sends it."""
    made = envelope(compression=method)
    return wire({**made, "body": base64.b64encode(zlib.compress(call, 9)).decode()})


@pytest.mark.parametrize("method", ["application/x-gzip", "gzip", "zlib"])
def test_a_compressed_call_passes(method: str) -> None:
    assert inspect(compressed(b"[[1, 2], {}, {}]", method)).payload[0] == [1, 2]


def test_a_bomb_is_refused_before_it_has_gone_off() -> None:
    bomb = compressed(b'[["' + b"a" * 200_000_000 + b'"], {}, {}]')
    assert len(bomb) < 600_000
    tracemalloc.start()
    try:
        with pytest.raises(Poison, match="inflates to more than 8388608 bytes"):
            inspect(bomb)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_a_compressed_call_that_is_cut_off_is_refused() -> None:
    made = envelope(compression="zlib")
    cut = zlib.compress(b"[[1], {}, {}]")[:-3]
    with pytest.raises(Poison, match="truncated"):
        inspect(wire({**made, "body": base64.b64encode(cut).decode()}))


def test_an_envelope_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(PayloadTooLarge, match="link fewer tasks"):
        seal({"shadow": "a" * 9_000_000})


def test_a_bomb_in_a_stored_envelope_is_refused() -> None:
    bomb = PACKED + base64.b85encode(zlib.compress(b" " * 200_000_000, 9)).decode()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="more than 8388608 bytes"):
            unseal(bomb)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def sent_with(serializer: str) -> str:
    """A call as kombu sends it with another serializer."""
    content_type, content_encoding, data = dumps([["secret"], {}, {}], serializer=serializer)
    raw = data if isinstance(data, bytes) else data.encode()
    made = envelope() | {"content-type": content_type, "content-encoding": content_encoding}
    return wire(made | {"body": base64.b64encode(raw).decode()})


PICKLE = base64.b64encode(pickle.dumps({"secret": 1})).decode()
FOREIGN = [
    pytest.param(sent_with("pickle"), "pickled call", "task_serializer = 'json'", id="pickle"),
    pytest.param(sent_with("yaml"), "YAML call", "task_serializer = 'json'", id="yaml"),
    pytest.param(
        wire(envelope() | {"content-type": "application/x-msgpack", "content-encoding": "binary", "body": "k5GhYQ=="}),
        "msgpack call",
        "task_serializer = 'json'",
        id="msgpack",
    ),
    pytest.param(wire(envelope() | {"content-type": "text/csv"}), "text/csv", "task_serializer = 'json'", id="csv"),
    pytest.param(wire(envelope() | {"content-type": "a secret"}), "no type", "'json'", id="nonsense for a type"),
    pytest.param(PICKLE, "pickled data", "task_serializer = 'json'", id="bare pickle"),
    pytest.param(base64.b64encode(b"\x93\xa6secret\x01\xc0").decode(), "msgpack", "'json'", id="bare msgpack"),
    pytest.param(base64.b64encode(b"\xff\xfesecret").decode(), "binary data", "'json'", id="bare bytes"),
    pytest.param("task: mail\nargs: [secret]\n", "YAML", "jobclaim submit", id="bare yaml"),
    pytest.param("---\n- secret\n", "YAML", "jobclaim submit", id="yaml document"),
    pytest.param('{"task": "mail", "args": ["secret"]}', "bare JSON", "jobclaim submit", id="bare json"),
    pytest.param('["mail", "secret"]', "bare JSON (list)", "jobclaim submit", id="bare json list"),
    pytest.param(wire("secret"), "bare JSON (str)", "jobclaim submit", id="bare json text"),
    pytest.param('{"task": "mail", "secret', "truncated", "jobclaim submit", id="half of JSON"),
    pytest.param("secret", "plain text", "jobclaim submit", id="text"),
    pytest.param('{"Records": [{"s3": "secret"}]}', "S3", "queue of its own", id="S3"),
    pytest.param('{"Type": "Notification", "TopicArn": "a", "Message": "secret"}', "SNS", "own", id="SNS"),
    pytest.param('{"detail-type": "x", "detail": {"a": "secret"}}', "EventBridge", "own", id="EventBridge"),
    pytest.param(CORPUS["protocol 1"], "protocol 1", "task_protocol = 2", id="protocol 1"),
    pytest.param(CORPUS["no task"], "'task' is missing", "jobclaim submit", id="no task"),
]


@pytest.mark.parametrize(("body", "what", "remedy"), FOREIGN)
def test_a_reason_says_what_the_message_is_and_what_to_do(body: str, what: str, remedy: str) -> None:
    with pytest.raises(Poison) as caught:
        inspect(body)
    reason = str(caught.value)
    assert what in reason
    assert remedy in reason
    assert "secret" not in reason
    assert len(reason) <= MAX_REASON
