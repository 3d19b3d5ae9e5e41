"""Whatever comes in, looking at it ends in a message that Celery can run or in `Poison`, never in anything else."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual import Channel, Message

from jobclaim.workers.transport.inspect import Poison, build_message, check_call, check_headers, read_envelope
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
    payload = read_envelope(body)
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
