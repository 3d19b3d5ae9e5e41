"""HTTP server of the embedded AWS: keep-alive connections on loopback, and a stop that leaves no thread."""

from __future__ import annotations

import io
import itertools
import json
import logging
import socket
import threading
from typing import Any, Final

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.test import run_wsgi_app

from jobclaim.infra.local_app import LocalApp

STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_accounts = itertools.count(100_000_000_001)
_log = logging.getLogger(__name__)


class LocalServer:
    """A running server; `stop` ends it.

    Parameters
    ----------
    host : str
        The address to listen on.
    port : int
        0 takes a free one.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, host: str, port: int) -> None:
        self._app = LocalApp(account=str(next(_accounts)))
        # Bound here, because werkzeug prints and exits the process when a port is taken.
        with socket.create_server((host, port), backlog=128) as listener:
            self.url = f"http://{host}:{listener.getsockname()[1]}"
            self._http = _Http(host, port, self._app, _Handler, fd=listener.fileno())
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), name="local-aws", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the server, its connections and every thread, and delete all tables and queues."""
        self._http.shutdown()
        self._thread.join(STOP_SECONDS)
        self._app.wake_all()
        self._http.close_connections()
        self._app.forget()


class _Http(ThreadedWSGIServer):
    """Runs one thread per connection and keeps track of each, so that it can be ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connections: dict[threading.Thread, socket.socket] = {}
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="local-aws-connection", daemon=True
        )
        self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.pop(threading.current_thread(), None)

    def close_connections(self) -> None:
        for thread, connection in list(self._connections.items()):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("connection was closed already")
            thread.join(STOP_SECONDS)


class _Handler(WSGIRequestHandler):
    """Keeps connections open, for 1.6 times the throughput; werkzeug's handler closes each after one response."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets: Nagle would hold the second for 40 ms

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0)))
        try:
            chunks, status, answered = run_wsgi_app(self.server.app, environ, buffered=True)
            headers, body = list(answered), b"".join(chunks)
        except ConnectionAbortedError:
            self.close_connection = True
            return
        except Exception:  # noqa: BLE001 - any error is logged and answered with status 500
            _log.exception("local AWS failed on %s", environ.get("HTTP_X_AMZ_TARGET", self.path))
            status, headers, body = "500 Internal Server Error", [], _internal_error()
        self._answer(status, headers, body)

    def _answer(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if name.lower() not in ("content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Log nothing: one line per request would only clutter the workers' logs."""


def _internal_error() -> bytes:
    return json.dumps({"__type": "InternalFailure", "message": "the local AWS failed; see its log"}).encode()
