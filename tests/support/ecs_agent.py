"""An ECS agent of the tests' own: takes what a worker says of its protection, or refuses it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ON, OFF = {"ProtectionEnabled": True, "ExpiresInMinutes": 60}, {"ProtectionEnabled": False}


class Agent:
    """Remembers what it was told; answers with failures while ``failing``, and with ``says`` where that is set."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.failing = False
        self.says: bytes | None = None
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                agent.paths.add(self.path)
                if not agent.failing:
                    agent.told.append(body)
                answer = {"failure": {"Reason": "DEPLOYMENT_BLOCKED"}} if agent.failing else {"protection": body}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode() if agent.says is None else agent.says)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()
