"""Failure kinds of the exceptions of well-known libraries: tables by class name, so that nothing optional is imported.

How to choose a kind: TRANSIENT passes by itself within minutes (a lost connection, a deadlock, throttling); EXTERNAL is
a failing third-party service, which may take hours; CONFIGURATION passes when we fix the deployment; PERMANENT is
caused by the input or the code, so the same call fails again.
"""

from __future__ import annotations

import errno
import socket
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from jobclaim.jobs.failures.aws_codes import DEPLOYMENT, THROTTLES, spelled
from jobclaim.jobs.model import FailureKind

_T, _E = FailureKind.TRANSIENT, FailureKind.EXTERNAL
_C, _P = FailureKind.CONFIGURATION, FailureKind.PERMANENT

PASSING_ERRNOS: Final = frozenset(
    {
        *(errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        *(errno.ENOSPC, errno.EDQUOT, errno.ETIMEDOUT, errno.ESTALE, errno.EDEADLK, errno.ENOLCK),
        *(errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EPIPE),
        *(errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED),
    }
)

KINDS: Final[Mapping[str, FailureKind]] = {
    # the standard library
    "ConnectionError": _T,
    "TimeoutError": _T,
    "MemoryError": _C,
    "ImportError": _C,
    "asyncio.exceptions.IncompleteReadError": _T,
    "concurrent.futures.process.BrokenProcessPool": _T,
    "concurrent.futures._base.CancelledError": FailureKind.CANCELLED,
    "asyncio.exceptions.CancelledError": FailureKind.CANCELLED,
    "configparser.Error": _C,
    "http.client.HTTPException": _E,
    "http.client.RemoteDisconnected": _E,
    "http.client.InvalidURL": _P,
    "ssl.SSLError": _T,
    "ssl.SSLCertVerificationError": _C,
    "smtplib.SMTPAuthenticationError": _C,
    "smtplib.SMTPNotSupportedError": _C,
    "smtplib.SMTPRecipientsRefused": _P,
    "smtplib.SMTPServerDisconnected": _E,
    "smtplib.SMTPException": _E,
    "json.decoder.JSONDecodeError": _P,
    "subprocess.TimeoutExpired": FailureKind.TIMEOUT,
    # HTTP clients: any failure on the way to an external service
    "requests.exceptions.RequestException": _E,
    "requests.exceptions.InvalidURL": _P,
    "requests.exceptions.MissingSchema": _P,
    "requests.exceptions.InvalidSchema": _P,
    "requests.exceptions.InvalidHeader": _P,
    "requests.exceptions.TooManyRedirects": _P,
    "requests.exceptions.SSLError": _C,
    "requests.exceptions.InvalidProxyURL": _C,
    "requests.exceptions.JSONDecodeError": _E,
    "urllib3.exceptions.HTTPError": _E,
    "urllib3.exceptions.LocationValueError": _P,
    "urllib3.exceptions.SSLError": _C,
    "httpx.TransportError": _E,
    "httpx.HTTPError": _E,
    "httpx.DecodingError": _E,
    "httpx.InvalidURL": _P,
    "httpx.UnsupportedProtocol": _P,
    "httpx.TooManyRedirects": _P,
    "httpx.LocalProtocolError": _P,
    "aiohttp.client_exceptions.ClientError": _E,
    "aiohttp.client_exceptions.InvalidURL": _P,
    # AWS
    "botocore.exceptions.HTTPClientError": _T,
    "botocore.exceptions.ConnectionError": _T,
    "botocore.exceptions.CredentialRetrievalError": _T,
    "botocore.exceptions.NoCredentialsError": _C,
    "botocore.exceptions.PartialCredentialsError": _C,
    "botocore.exceptions.NoRegionError": _C,
    "botocore.exceptions.ProfileNotFound": _C,
    "botocore.exceptions.ConfigNotFound": _C,
    "botocore.exceptions.UnknownServiceError": _C,
    "botocore.exceptions.InvalidRegionError": _C,
    "botocore.exceptions.TokenRetrievalError": _C,
    "botocore.exceptions.SSLError": _C,
    "botocore.exceptions.ParamValidationError": _P,
    "botocore.exceptions.BotoCoreError": _P,
    "boto3.exceptions.Boto3Error": _P,
    # databases
    "sqlalchemy.exc.OperationalError": _T,
    "sqlalchemy.exc.InterfaceError": _T,
    "sqlalchemy.exc.InternalError": _T,
    "sqlalchemy.exc.DisconnectionError": _T,
    "sqlalchemy.exc.TimeoutError": _T,
    "sqlalchemy.orm.exc.StaleDataError": _T,
    "sqlalchemy.exc.ProgrammingError": _C,
    "sqlalchemy.exc.NoSuchTableError": _C,
    "sqlalchemy.exc.NoSuchModuleError": _C,
    "sqlalchemy.exc.ArgumentError": _C,
    "sqlalchemy.exc.SQLAlchemyError": _P,
    "redis.exceptions.ConnectionError": _T,
    "redis.exceptions.TimeoutError": _T,
    "redis.exceptions.BusyLoadingError": _T,
    "redis.exceptions.ReadOnlyError": _T,
    "redis.exceptions.AuthenticationError": _C,
    "redis.exceptions.RedisError": _P,
    # validation
    "pydantic_core._pydantic_core.ValidationError": _P,
    "pydantic_settings.exceptions.SettingsError": _C,
    "pydantic.errors.PydanticUserError": _C,
    "jsonschema.exceptions.ValidationError": _P,
    # Celery and kombu
    "celery.exceptions.SoftTimeLimitExceeded": FailureKind.TIMEOUT,
    "celery.exceptions.TimeLimitExceeded": FailureKind.TIMEOUT,
    "billiard.exceptions.SoftTimeLimitExceeded": FailureKind.TIMEOUT,
    "billiard.exceptions.TimeLimitExceeded": FailureKind.TIMEOUT,
    "billiard.exceptions.WorkerLostError": FailureKind.ORPHANED,
    "billiard.einfo.WorkerLostError": FailureKind.ORPHANED,
    "celery.exceptions.WorkerLostError": FailureKind.ORPHANED,
    "celery.exceptions.TaskRevokedError": FailureKind.CANCELLED,
    "celery.exceptions.NotRegistered": _C,
    "celery.exceptions.ImproperlyConfigured": _C,
    "kombu.exceptions.OperationalError": _T,
    "kombu.exceptions.EncodeError": _P,
    "kombu.exceptions.DecodeError": _P,
    # our own
    "jobclaim.jobs.errors.StoreUnavailable": _T,
    "jobclaim.jobs.errors.JobError": _P,
}
"""Kinds by the dotted name of a class, without ``builtins.``; an entry also applies to derived classes."""


def http_status(status: int) -> FailureKind:
    """Return the kind for an HTTP status of an external service."""
    if status in (408, 425, 429):
        return _T
    if status in (401, 403, 407):
        return _C
    return _E if status >= 500 else _P


def _client_error(error: Any) -> FailureKind:
    code = spelled(error.response.get("Error", {}).get("Code", ""))
    if code in THROTTLES or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return _T
    return _C if code in DEPLOYMENT else _P


def _os_error(error: OSError) -> FailureKind | None:
    if error.errno in PASSING_ERRNOS:
        return _T
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOEXEC):
        return _C
    return _P


def _name_not_resolved(error: socket.gaierror) -> FailureKind:
    return _T if error.errno == socket.EAI_AGAIN else _C


def _attribute_error(error: AttributeError) -> FailureKind | None:
    """Classify an attribute error: a module that lacks a name is a wrong version; any other object, a code error."""
    return _C if isinstance(error.obj, types.ModuleType) else None


def _sqlite(error: Exception) -> FailureKind:
    text = str(error)
    return _T if "locked" in text or "busy" in text or "disk" in text else _C


def _of_driver(error: Any) -> FailureKind | None:
    """Classify by the driver's error that SQLAlchemy wraps; sqlite reports a missing table as an operational error."""
    original: Any = getattr(error, "orig", None)
    return _sqlite(original) if type(original).__module__ == "sqlite3" else None


RULES: Final[Mapping[str, Callable[[Any], FailureKind | None]]] = {
    "OSError": _os_error,
    "socket.gaierror": _name_not_resolved,
    "AttributeError": _attribute_error,
    "botocore.exceptions.ClientError": _client_error,
    "requests.exceptions.HTTPError": lambda error: http_status(error.response.status_code),
    "httpx.HTTPStatusError": lambda error: http_status(error.response.status_code),
    "urllib.error.HTTPError": lambda error: http_status(error.code),
    "urllib.error.URLError": lambda _: _E,
    "aiohttp.client_exceptions.ClientResponseError": lambda error: http_status(error.status),
    "smtplib.SMTPResponseException": lambda error: _E if 400 <= error.smtp_code < 500 else _P,
    "sqlite3.OperationalError": _sqlite,
    "sqlalchemy.exc.OperationalError": _of_driver,
    "sqlalchemy.exc.DBAPIError": lambda error: _T if error.connection_invalidated else None,
}
"""Functions for classes that do not determine the kind; ``None`` leaves it to `KINDS`, then to the next base class."""

DATABASE_API: Final[Mapping[str, FailureKind]] = {
    "OperationalError": _T,
    "InterfaceError": _T,
    "InternalError": _T,
    "ProgrammingError": _C,
    "NotSupportedError": _C,
    "IntegrityError": _P,
    "DataError": _P,
    "DatabaseError": _P,
}
"""Exception names that PEP 249 defines for every database driver."""
DRIVERS: Final = frozenset(
    {
        "sqlite3",
        "psycopg",
        "psycopg2",
        "asyncpg",
        "pymysql",
        "MySQLdb",
        "mysql",
        "oracledb",
        "cx_Oracle",
        "pyodbc",
        "duckdb",
        "snowflake",
    }
)
