"""The guard against a Celery or kombu whose insides are others than those that the transport stands on."""

from __future__ import annotations

import re

import pytest
from celery.exceptions import ImproperlyConfigured
from kombu.asynchronous.http.base import Request
from kombu.asynchronous.http.curl import CurlClient
from kombu.asynchronous.hub import Hub
from kombu.transport import SQS, virtual

from jobclaim.workers.transport import compatibility
from jobclaim.workers.transport.channel import Channel, Transport
from jobclaim.workers.transport.compatibility import CALLED, READ, differences, ensure_supported


@pytest.mark.versions
def test_the_installed_celery_and_kombu_are_those_that_this_stands_on() -> None:
    assert differences() == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kombu.transport.SQS:Channel._schedule_queue": "self, queue, soon"}, r"takes \(self, queue\), not"),
        ({"kombu.transport.SQS:Channel._long_gone": "self"}, "_long_gone is gone"),
        ({"kombu.transport.nowhere:Channel.close": "self"}, "nowhere:Channel.close is gone"),
        ({"kombu.transport.SQS:Channel.basic_ack": "self, multiple, ..."}, r"takes \(self, delivery_tag, multiple"),
        ({"kombu.transport.SQS:Channel.basic_ack": "self, delivery_tag"}, r"takes \(self, delivery_tag, multiple"),
    ],
)
def test_a_changed_or_missing_part_is_named(changed: dict[str, str], told: str) -> None:
    (found,) = differences(CALLED | changed)
    assert re.search(told, found)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kombu.asynchronous.http.curl:CurlClient", "_long_gone"),
        ("kombu.asynchronous.http.curl:NoClient", "_curls"),
        ("kombu.transport.virtual:QoS", "_long_gone"),
        ("celery.worker.state", "long_gone_requests"),
        ("celery.worker.nowhere", "active_requests"),
    ],
)
def test_a_missing_attribute_is_named(path: str, name: str) -> None:
    assert differences(read={**READ, path: [name]}) == [f"{path} has no {name}"]


def test_further_parameters_may_be_left_open() -> None:
    assert differences({"kombu.transport.SQS:Channel.basic_ack": "self, ..."}) == []


def test_a_worker_on_another_kombu_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "version", lambda name: "5.8.0")
    supported = r"supports celery 5\.6\.x or 5\.7\.x and kombu 5\.6\.x or 5\.7\.x; here .* is 5\.8\.0"
    with pytest.raises(ImproperlyConfigured, match=supported):
        ensure_supported()


@pytest.mark.parametrize("release", ["5.6.0", "5.6.13", "5.7.13"])
def test_every_patch_release_is_supported(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(compatibility, "version", lambda name: release)
    ensure_supported()


@pytest.mark.parametrize("release", ["5.5.9", "5.60.0", "5.8.0"])
def test_every_other_series_is_refused(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(compatibility, "version", lambda name: release)
    with pytest.raises(ImproperlyConfigured, match=f"celery is {release}, not 5.6.x or 5.7.x"):
        ensure_supported()


def test_the_attributes_that_are_read_exist() -> None:
    hub = Hub()
    client = CurlClient(hub)
    try:
        for name in ("_curls", "_free_list", "_pending", "_multi", "_timeout_check_tref"):
            assert hasattr(client, name), name
    finally:
        client.close()
        hub.close()
    for name in ("on_tick", "on_close", "call_later", "call_soon"):
        assert hasattr(hub, name), name
    qos = virtual.QoS(virtual.Channel)
    qos._on_collect.cancel()
    assert (qos._delivered, qos._dirty) == ({}, set())
    assert Request("http://127.0.0.1").on_prepare is None


def test_every_method_that_the_channel_overrides_is_still_there() -> None:
    ours = {name for name in vars(Channel) if callable(vars(Channel)[name]) and hasattr(SQS.Channel, name)}
    assert ours >= {"basic_ack", "basic_consume", "basic_cancel", "_schedule_queue", "sqs", "queue_declare", "close"}
    assert hasattr(SQS.Transport, "register_with_event_loop")
    assert "register_with_event_loop" in vars(Transport)
