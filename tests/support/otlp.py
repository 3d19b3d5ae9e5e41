"""An OTLP receiver on loopback, for tests: keeps the spans that arrive."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._by_id: dict[bytes, Any] = {}
        self.metrics: list[Any] = []

    @property
    def spans(self) -> list[Any]:
        """All of them; one that was told twice is one."""
        return list(self._by_id.values())

    def told(self, spans: list[Any]) -> None:
        """Keep spans."""
        self._by_id.update({span.span_id: span for span in spans})

    def named(self, name: str) -> list[Any]:
        """Spans of a name, in the order of their start."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano)


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """Receive on a free port."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                asked = ExportTraceServiceRequest.FromString(body)
                receiver.told([s for r in asked.resource_spans for scope in r.scope_spans for s in scope.spans])
            else:
                told = ExportMetricsServiceRequest.FromString(body)
                receiver.metrics += [
                    m for r in told.resource_metrics for scope in r.scope_metrics for m in scope.metrics
                ]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
