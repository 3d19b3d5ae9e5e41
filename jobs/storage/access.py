"""What a request to AWS needs: where to send it, who signs it, which certificates to trust.

A boto3 client has this too, but creating one loads the service's whole model: 50 ms and 10 MB in every process that
only claims jobs. botocore's session provides it without a client, unless the configuration sets endpoints or signatures
that only a client resolves: then `of_settings` returns ``None``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.session import Session
from botocore.utils import get_environ_proxies

from jobclaim.jobs.storage.connect import USER_AGENT, fake_credentials
from jobclaim.jobs.storage.cooperative import sockets_are_patched
from jobclaim.settings import Service, Settings

ORDINARY_REGION: Final = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+")
"""Regions of AWS's main partition (botocore, ``partitions.json``); the others have endpoints of other domains."""
RESOLVED_BY_CLIENTS: Final = (
    "ENDPOINT_URL",
    "USE_FIPS_ENDPOINT",
    "USE_DUALSTACK_ENDPOINT",
    "SERVICES",
    "SIGNATURE_VERSION",
    "AUTH_SCHEME_PREFERENCE",
    "DYNAMODB",
    "SQS",
)
"""Settings of AWS's configuration file, or variables after ``AWS_``, that choose an endpoint or a signature."""


@dataclass(frozen=True, slots=True)
class Access:
    """Access to one service.

    Attributes
    ----------
    service, region : str
        AWS's names of the service and the region, as in the scope of a signature.
    url : str
        Its endpoint, with a slash at the end.
    credentials
        botocore's; ``None`` where requests are not signed.
    certificates : str
        Path of the certificate authorities; empty where servers are not verified.
    hooks
        botocore's event emitter, by which moto answers instead of AWS.
    agent : str
        The header ``User-Agent``.
    connect_seconds, read_seconds : float
        How long to wait for a connection, and for an answer.
    """

    service: str
    region: str
    url: str
    credentials: Any
    certificates: str
    hooks: Any
    agent: str
    connect_seconds: float
    read_seconds: float

    def is_direct(self) -> bool:
        """Check whether libcurl may make the requests: to the endpoint's root, not through a proxy or on greenlets."""
        to_root = urlsplit(self.url).path == "/"
        return to_root and bool(self.certificates) and not get_environ_proxies(self.url) and not sockets_are_patched()


def of_client(client: Any) -> Access:
    """Return the access that a boto3 client has."""
    meta = client.meta
    return Access(
        meta.service_model.service_name,
        meta.region_name,
        meta.endpoint_url.rstrip("/") + "/",
        client._request_signer._credentials,
        get_cert_path(client._endpoint.http_session._verify) or "",
        meta.events,
        meta.config.user_agent,
        meta.config.connect_timeout,
        meta.config.read_timeout,
    )


def of_settings(settings: Settings, service: Service) -> Access | None:
    """Return the access of a boto3 client with these settings; ``None`` where only that client knows it."""
    session, endpoint = Session(), settings.endpoint(service)
    if _is_resolved_by_clients(session.get_scoped_config(), chosen=endpoint is not None):
        return None
    if endpoint is None and not ORDINARY_REGION.fullmatch(settings.region):
        return None
    url = endpoint or f"https://{service}.{settings.region}.amazonaws.com"
    trusted: Any = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    return Access(
        service,
        settings.region,
        url.rstrip("/") + "/",
        fake_credentials(endpoint) or session.get_credentials(),
        get_cert_path(trusted) or "",
        session.get_component("event_emitter"),
        USER_AGENT,
        settings.connect_timeout_seconds,
        settings.read_timeout_seconds,
    )


def _is_resolved_by_clients(profile: Mapping[str, Any], *, chosen: bool) -> bool:
    """Check for settings that only boto3's clients apply: on endpoints and signatures, or on signatures alone if the
    endpoint is ``chosen``.
    """
    named = {*(name.upper() for name in profile)}
    named |= {name.removeprefix("AWS_") for name, value in os.environ.items() if name.startswith("AWS_") and value}
    words = RESOLVED_BY_CLIENTS[4:] if chosen else RESOLVED_BY_CLIENTS
    return any(name == word or name.startswith(f"{word}_") for name in named for word in words)
