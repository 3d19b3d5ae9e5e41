"""The guard against a Celery or kombu whose insides are others than those that the transport stands on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from celery.exceptions import ImproperlyConfigured
from kombu import Connection
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
        ({"kombu.transport.virtual:Channel._size": "self, queue, soon"}, r"takes \(self, queue\), not"),
        ({"kombu.transport.virtual:Channel._long_gone": "self"}, "_long_gone is gone"),
        ({"kombu.transport.nowhere:Channel.close": "self"}, "nowhere:Channel.close is gone"),
        ({"kombu.transport.virtual:Channel.basic_ack": "self, multiple, ..."}, r"takes \(self, delivery_tag, multiple"),
        ({"kombu.transport.virtual:Channel.basic_ack": "self, delivery_tag"}, r"takes \(self, delivery_tag, multiple"),
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
    assert differences({"kombu.transport.virtual:Channel.basic_ack": "self, ..."}) == []


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
    ours = {name for name in dir(Channel) if hasattr(virtual.Channel, name) and callable(getattr(Channel, name))}
    assert ours >= {"basic_ack", "basic_consume", "basic_cancel", "_put", "_get", "queue_declare", "close"}
    assert hasattr(virtual.Transport, "register_with_event_loop")
    assert "register_with_event_loop" in vars(Transport)


@pytest.mark.versions
def test_the_transport_has_the_attributes_of_kombus() -> None:
    names = {name for name in vars(SQS.Transport) if not name.startswith("_")} - {"Channel"}
    ours, kombus = (made(Connection("sqs://")) for made in (Transport, SQS.Transport))
    for name in names:
        assert getattr(ours, name) == getattr(kombus, name), name
    assert names >= {"connection_errors", "channel_errors", "driver_type", "implements", "default_connection_params"}


def test_a_worker_and_a_channel_load_neither_kombus_transport_nor_boto3() -> None:
    program = """
import sys
from celery import Celery
import jobclaim
app = Celery("small")
jobclaim.install(app)
assert app.connection_for_read().transport.implements.asynchronous
from celery.apps.worker import Worker
Worker(app=app, pool="prefork", concurrency=1)
import jobclaim.workers.process.consumer, jobclaim.workers.process.intake, jobclaim.workers.process.steps
print(*{"boto3", "kombu.transport.SQS"}.intersection(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
