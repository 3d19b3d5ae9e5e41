"""A server in the test's own process that answers every request of DynamoDB and SQS with success, and keeps count."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


class FakeAws(ThreadingHTTPServer):
    """Answers after ``before_answer`` has returned.

    Attributes
    ----------
    requests : list of (str, dict)
        Operation and body of each.
    connections : int
        How many were opened.
    before_answer : callable
        Called with the operation, in the thread of the request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0
        self.before_answer: Callable[[str], object] = lambda _: None
        self.url = f"http{'s' if certificate else ''}://{LOOPBACK}:{self.server_port}"
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)

    def count(self, operation: str) -> int:
        """How many requests named an operation."""
        return sum(found == operation for found, _ in self.requests)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handle one connection, in its thread."""
        self.connections += 1
        with self._tls.wrap_socket(request, server_side=True) if self._tls else request as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: programs that end cut their connections off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeAws

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.server.requests.append((operation, body))
        self.server.before_answer(operation)
        answer = b'{"MessageId":"1","MD5OfMessageBody":""}' if operation == "SendMessage" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def fake_aws(certificate: Path | None = None) -> Iterator[FakeAws]:
    """Serve until the block ends."""
    server = FakeAws(certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def make_certificate(path: Path) -> Path:
    """Write a key and a certificate of loopback that signs itself; clients trust it as ``AWS_CA_BUNDLE``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)]), datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def environment(server: FakeAws) -> dict[str, str]:
    """Variables by which a program's jobclaim uses the server."""
    return {
        "JOBCLAIM_ENDPOINT_URL": server.url,
        "JOBCLAIM_QUEUE_URLS": json.dumps({name: f"{server.url}/1/{name}" for name in ("default", "recovery")}),
    }
