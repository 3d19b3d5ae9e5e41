"""EC2's metadata service, as an HTTP server of the tests' own: IMDSv2 with tokens that end when a test says so."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

INSTANCE = "i-0123456789abcdef0"


class MetadataService:
    """Answers what its paths hold, and 404 elsewhere; without a valid token 401."""

    def __init__(self) -> None:
        self.paths = {"instance-id": INSTANCE, "autoscaling/target-lifecycle-state": "InService"}
        self.token = "first"
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.reply(200, service.token)

            def do_GET(self) -> None:
                path = self.path.removeprefix("/latest/meta-data/")
                service.asked.append(path)
                if self.headers["X-aws-ec2-metadata-token"] != service.token:
                    self.reply(401, "")
                else:
                    self.reply(200 if path in service.paths else 404, service.paths.get(path, ""))

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def interrupt(self, at: float) -> None:
        """Announce the end of a spot instance, at an epoch time."""
        when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.paths["spot/instance-action"] = json.dumps({"action": "terminate", "time": when})

    def scale_in(self) -> None:
        """Announce that the instance's group ends it."""
        self.paths["autoscaling/target-lifecycle-state"] = "Terminated"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()
