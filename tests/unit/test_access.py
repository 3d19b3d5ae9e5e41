"""Access to AWS that is found without a boto3 client is the access that the client would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobclaim.jobs.storage import access, connect
from jobclaim.jobs.storage.lean import LeanClient, client_of, lean
from jobclaim.settings import Service, Settings


def known(found: Any) -> dict[str, Any]:
    """What matters of an access; the keys in plain text, to compare them."""
    keys = found.credentials and found.credentials.get_frozen_credentials()
    names = ("service", "region", "url", "certificates", "connect_seconds", "read_seconds")
    return {name: getattr(found, name) for name in names} | {"keys": keys}


@pytest.mark.parametrize("service", ["dynamodb", "sqs"])
@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ({}, {}),
        ({"region": "eu-central-1"}, {}),
        ({"region": "ap-southeast-4", "read_timeout_seconds": 7.0}, {}),
        ({"region": "us-gov-west-1", "endpoint_url": "https://vpce.example"}, {}),
        ({"endpoint_url": "http://127.0.0.1:8000"}, {"AWS_ACCESS_KEY_ID": ""}),
        ({"endpoint_url": "http://127.0.0.1:8000/"}, {}),
        ({"sqs_endpoint_url": "http://localhost:1", "dynamodb_endpoint_url": "http://[::1]:2"}, {}),
        ({}, {"AWS_CA_BUNDLE": "/etc/own.pem"}),
        ({}, {"REQUESTS_CA_BUNDLE": "/etc/theirs.pem"}),
        ({}, {"ENDPOINT_URL": "http://127.0.0.1:9", "SQS": "of another program"}),
        ({"endpoint_url": "http://127.0.0.1:8000"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
        ({"endpoint_url": "http://127.0.0.1:8000"}, {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}),
    ],
)
def test_it_is_that_of_a_boto3_client(
    service: Service, settings: dict[str, Any], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    found = access.of_settings(Settings(**settings), service)
    assert found is not None
    assert known(found) == known(access.of_client(connect.client(Settings(**settings), service)))


@pytest.mark.parametrize(
    ("region", "environment", "profile"),
    [
        ("cn-north-1", {}, ""),
        ("us-gov-west-1", {}, ""),
        ("us-iso-east-1", {}, ""),
        ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
        ("us-east-1", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
        ("us-east-1", {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9"}, ""),
        ("us-east-1", {}, "endpoint_url = http://127.0.0.1:9"),
        ("us-east-1", {}, "use_fips_endpoint = true"),
        ("us-east-1", {}, "dynamodb =\n  signature_version = v4a"),
    ],
)
def test_what_only_a_client_resolves_is_asked_of_a_client(
    region: str, environment: dict[str, str], profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    for name, value in {"AWS_CONFIG_FILE": str(tmp_path / "config"), **environment}.items():
        monkeypatch.setenv(name, value)
    settings = Settings(region=region)
    assert access.of_settings(settings, "dynamodb") is None
    made = client_of(settings, "dynamodb")
    assert made.meta.endpoint_url == connect.client(settings, "dynamodb").meta.endpoint_url


@pytest.mark.parametrize("profile", ["signature_version = v4a", "dynamodb =\n  signature_version = v4a"])
def test_signatures_are_a_clients_even_where_the_endpoint_is_chosen(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert access.of_settings(Settings(endpoint_url="http://127.0.0.1:8000"), "dynamodb") is None


def test_a_variable_without_a_value_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "")
    assert access.of_settings(Settings(), "dynamodb") is not None


@pytest.mark.parametrize(
    ("changed", "proxy", "direct"),
    [
        ({}, "", True),
        ({"url": "https://aws.example/dynamodb/"}, "", False),
        ({"certificates": ""}, "", False),
        ({}, "http://127.0.0.1:9", False),
    ],
    ids=["root", "path", "not verified", "proxy"],
)
def test_libcurl_asks_the_root_of_a_verified_server_without_a_proxy(
    changed: dict[str, Any], proxy: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    found = access.of_settings(Settings(), "dynamodb")
    assert found is not None
    assert replace(found, **changed).is_direct() is direct


def test_a_client_that_verifies_no_server_has_no_certificates() -> None:
    unverified = boto3.client("dynamodb", region_name="us-east-1", verify=False)
    assert access.of_client(unverified).certificates == ""
    assert lean(unverified) is unverified


def test_a_client_of_boto3_is_made_for_rare_requests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(settings: Settings, service: Service) -> Any:
        made.append(service)
        return original(settings, service)

    original = connect.client
    monkeypatch.setattr(connect, "client", make)
    ours = client_of(Settings(), "dynamodb")
    assert isinstance(ours, LeanClient)
    for name in ("put_item", "update_item", "get_item", "query", "batch_get_item", "transact_write_items"):
        getattr(ours, name)
    assert made == []
    assert ours.describe_table.__name__ == "describe_table"
    assert made == ["dynamodb"]
