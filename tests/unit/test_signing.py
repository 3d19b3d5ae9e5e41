"""The lean client's signature is botocore's, for whatever credentials, endpoint, body and time."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs.storage.signing import CONTENT_TYPE, Signer

TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
CREDENTIALS = st.builds(ReadOnlyCredentials, TEXT, TEXT, st.none() | TEXT)
URLS = (
    "https://dynamodb.us-east-1.amazonaws.com/",
    "http://127.0.0.1:4566/",
    "https://sqs.eu-west-1.amazonaws.com:443/",
    "https://vpce-0.sqs.eu-west-1.vpce.amazonaws.com/",
    "http://[::1]:8000/",
    "http://localhost:80/",
)
TARGETS = {"dynamodb": "DynamoDB_20120810.UpdateItem", "sqs": "AmazonSQS.SendMessage"}
NOW = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC)


def botocores(
    url: str, service: str, region: str, credentials: ReadOnlyCredentials, body: bytes, at: int
) -> dict[str, str]:
    """Sign with botocore, and give all headers that it signs or adds."""
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": TARGETS[service]}
    request = AWSRequest("POST", url, headers, body)
    moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(credentials, service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("service", TARGETS)
@pytest.mark.parametrize("url", URLS)
@given(credentials=CREDENTIALS, body=st.binary(max_size=3000), at=st.integers(0, 4_000_000_000))
def test_each_header_is_botocores(
    url: str, service: str, credentials: ReadOnlyCredentials, body: bytes, at: int
) -> None:
    signer = Signer(url, service, "eu-west-1", lambda: at)
    lines = dict(line.split(": ", 1) for line in signer.headers(credentials, TARGETS[service], body))
    expected = botocores(url, service, "eu-west-1", credentials, body, at)
    assert {name.lower(): value for name, value in lines.items()} == expected


def test_new_credentials_and_a_new_day_make_a_new_key() -> None:
    """One signer lives for weeks: its credentials change every few hours, its key every midnight."""
    now = int(NOW.timestamp())
    signer = Signer(URLS[0], "dynamodb", "us-east-1", lambda: now)
    first, second = ReadOnlyCredentials("A", "one", "t"), ReadOnlyCredentials("A", "two", None)
    for credentials in (first, second, first):
        for later in (0, 1, 0):
            now = int(NOW.timestamp()) + later
            [granted] = [
                line for line in signer.headers(credentials, TARGETS["dynamodb"], b"{}") if "Signature" in line
            ]
            theirs = botocores(URLS[0], "dynamodb", "us-east-1", credentials, b"{}", now)["authorization"]
            assert granted == f"Authorization: {theirs}"
