"""The dashboard as a separate process: its socket, its logging and its shutdown."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from jobclaim.dashboard.app import create_app
from jobclaim.dashboard.security import access_of, check_bind
from jobclaim.dashboard.services import Services
from jobclaim.settings import Settings

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8484
STOP_SECONDS: Final = 5


class CannotListen(OSError):
    """The address is in use, or does not belong to this machine."""


def serve(
    settings: Settings,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    operator: bool = False,
    user: str = "local",
    ready: Callable[[str], None] = lambda _: None,
    app: Callable[[], Any] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    port : int
        0 chooses a free port.
    operator, user
        Whether local users may act when sign-in is not configured, and under which name.
    ready : callable
        Called with the URL to open, once it listens.
    app : callable, optional
        Returns the Celery app with the users' tasks, for submissions; default: made from settings.

    Raises
    ------
    dashboard.security.RefusedToServe
        The dashboard would be open to unauthenticated users.
    CannotListen
    """
    import uvicorn

    from jobclaim.dashboard.connections import LONGEST_HEAD, BoundedProtocol
    from jobclaim.workers.telemetry import logs

    check_bind(host, settings, operator=operator)
    logs.configure(settings)
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    services = Services.of(settings, app=app)
    site = create_app(settings, services=services, access=access_of(settings, operator=operator, user=user))
    with listening(host, port) as open_socket:
        config = uvicorn.Config(
            site,
            log_config=None,
            access_log=False,  # URLs hold job ids and search terms
            proxy_headers=False,  # forwarding headers are not trusted
            server_header=False,
            http=BoundedProtocol,
            ws="none",
            h11_max_incomplete_event_size=LONGEST_HEAD,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        ready(address(host, open_socket.getsockname()[1]))
        uvicorn.Server(config).run(sockets=[open_socket])


def listening(host: str, port: int) -> socket.socket:
    """Open the socket first, so that a port in use is reported before anything else is done."""
    bare = host.strip("[]")
    try:
        found = socket.getaddrinfo(bare or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0])
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port} ({error}); choose another --port or --host") from error


def address(host: str, port: int) -> str:
    """Return the URL to open."""
    bare = host.strip("[]")
    if bare in ("", "0.0.0.0", "::"):  # noqa: S104 - compared only, not listened on
        bare = socket.gethostname()
    return f"http://[{bare}]:{port}/" if ":" in bare else f"http://{bare}:{port}/"
