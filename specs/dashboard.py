"""Dashboard users, and how they sign in."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from jobclaim.specs.base import Spec
from jobclaim.specs.parsing import Names

SCRYPT_HASH: Final = r"scrypt\$\d{4,7}\$\d{1,2}\$\d{1,2}\$[A-Za-z0-9_-]{22,}\$[A-Za-z0-9_-]{43}"
"""Pattern of a stored password hash: cost, block size, parallelism, salt, key."""


class DashboardUser(Spec):
    """A person or program that signs in to the dashboard with a password (HTTP basic authentication)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    password: Annotated[str, Field(repr=False)]
    """Hash of the password, as printed by ``jobclaim dashboard hash-password``; never the password itself."""
    operator: bool = False
    """Whether the user may act; otherwise read-only."""

    @field_validator("password")
    @classmethod
    def _hashed(cls, password: str) -> str:
        if not re.fullmatch(SCRYPT_HASH, password):
            raise ValueError("password is not a scrypt hash; make one with `jobclaim dashboard hash-password`")
        return password


class DashboardAlb(Spec):
    """An Application Load Balancer that authenticates users by OpenID Connect and passes on their identity."""

    signer: Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:loadbalancer/app/[^/]+/[^/]+$")
    ]
    """ARN of the load balancer: only its tokens are accepted."""
    issuer: Annotated[str, Field(pattern=r"^https://")]
    """Issuer of its OIDC action."""
    client: Annotated[str, Field(min_length=1)]
    """Client id of its OIDC action."""
    user_claim: Annotated[str, Field(min_length=1)] = "email"
    """Claim that names the user, also in the audit trail."""
    operators: tuple[str, ...] = ()
    """Users who may act: values of ``operator_claim``, which may be a list of groups; all others are read-only."""
    operator_claim: str | None = None
    """Claim that decides who may act; default ``user_claim``."""
    key_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    """URL of the region's public keys; default AWS's own. GovCloud's differ."""


def checked_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return host names in lower case.

    Raises
    ------
    ValueError
        A name has a scheme, a port or a path.
    """
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]", host):
            raise ValueError(
                f"dashboard_hosts: {host!r} is not a host name; write it as jobs.example.com, without scheme and port"
            )
    return tuple(host.lower() for host in hosts)


def checked_users(users: dict[str, DashboardUser]) -> dict[str, DashboardUser]:
    """Refuse names that HTTP basic authentication cannot carry.

    Raises
    ------
    ValueError
        A name is empty, too long, or contains a colon or a blank.
    """
    for name in users:
        if not re.fullmatch(r"[^\s:\x00-\x1f\x7f]{1,100}", name):
            raise ValueError(
                f"dashboard_users: {name!r} is not a user name; write 1 to 100 characters without ':' and spaces"
            )
    return users


HostNames = Annotated[Names, AfterValidator(checked_hosts)]
Users = Annotated[dict[str, DashboardUser], AfterValidator(checked_users)]
