"""Clients for AWS and for local endpoints: bounded, and without credentials or proxies where none are needed."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.infra import provision, resolve_queue_urls
from jobclaim.infra.clients import client, dynamodb_client, is_loopback, sqs_client
from jobclaim.infra.errors import ProvisionError
from jobclaim.infra.local import local_aws
from jobclaim.settings import Settings
from tests.support.endpoints import free_port

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("https://sqs.us-east-1.amazonaws.com", False),
        ("http://127.0.0.1.evil.test", False),
        (None, False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_looks_like_it(endpoint: str | None, loopback: bool) -> None:
    assert is_loopback(endpoint) is loopback


def test_a_client_has_the_bounds_of_the_settings() -> None:
    settings = Settings(region="eu-west-1", connect_timeout_seconds=1.5, read_timeout_seconds=4)

    for made in (dynamodb_client(settings), sqs_client(settings)):
        config: Any = made.meta.config
        assert made.meta.region_name == "eu-west-1"
        assert (config.connect_timeout, config.read_timeout) == (1.5, 4)
        assert config.retries["total_max_attempts"] == 2
        assert config.tcp_keepalive
        assert config.user_agent.startswith("jobclaim/")


def test_each_service_has_its_own_endpoint() -> None:
    settings = Settings(endpoint_url="http://127.0.0.1:1", sqs_endpoint_url="http://127.0.0.1:2")

    assert dynamodb_client(settings).meta.endpoint_url == "http://127.0.0.1:1"
    assert sqs_client(settings).meta.endpoint_url == "http://127.0.0.1:2"
    assert client(settings, "s3").meta.endpoint_url == "http://127.0.0.1:1"


def test_fake_credentials_never_go_to_aws(no_credentials: None) -> None:
    with pytest.raises(
        ProvisionError,
        match=r"AWS us-east-1 could not be asked: .*no usable credentials: set AWS_PROFILE.* `jobclaim dev`",
    ):
        resolve_queue_urls(Settings())


def test_a_proxy_of_the_environment_is_not_asked_about_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    with local_aws() as local:
        assert provision(local.settings).changed
        assert local.environment()["no_proxy"] == "127.0.0.1"


def test_hosts_that_needed_no_proxy_still_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet.test")

    with local_aws() as local:
        assert local.environment()["NO_PROXY"] == "intranet.test,127.0.0.1"
