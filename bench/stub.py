"""Run the stub as a separate process and use its control interface."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class RunningStub:
    """A stub that is listening."""

    url: str
    pid: int
    certificate: Path | None = None

    def control(self, **command: Any) -> dict[str, Any]:
        """Change the stub and read its meter; see `bench.stub_aws.server.Stub.control`."""
        request = urllib.request.Request(f"{self.url}/control", json.dumps(command).encode())  # noqa: S310 - loopback
        trusted = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:  # noqa: S310
            return json.load(answer)  # type: ignore[no-any-return]

    def settings(self, **more: str) -> dict[str, str]:
        """Return an environment that points jobclaim at the stub, with fake credentials."""
        fake = {"AWS_ACCESS_KEY_ID": "stub", "AWS_SECRET_ACCESS_KEY": "stub", "AWS_DEFAULT_REGION": "us-east-1"}
        return {**fake, "JOBCLAIM_ENDPOINT_URL": self.url, **more}


@contextmanager
def running_stub(certificate: Path | None = None) -> Iterator[RunningStub]:
    """Serve on a free port of loopback until the block ends, with TLS if there is a certificate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "bench.stub_aws.server", str(port), *([str(certificate)] if certificate else [])]
    process = subprocess.Popen(argv, cwd=ROOT)
    try:
        stub = RunningStub(f"{'https' if certificate else 'http'}://127.0.0.1:{port}", process.pid, certificate)
        _wait_until_it_answers(stub, process)
        yield stub
    finally:
        process.terminate()
        process.wait()


def make_certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 and its key, in one PEM file, by openssl."""
    path = folder / "certificate.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path))
    name = ("-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1")
    argv = [shutil.which("openssl") or "openssl", "req", "-x509", "-days", "2", *key, *name]
    certificate = subprocess.run(argv, check=True, capture_output=True).stdout
    path.write_bytes(path.read_bytes() + certificate)
    return path


@contextmanager
def running_worker(app: str, *options: str, stop_seconds: float = 60) -> Iterator[int]:
    """Run a Celery worker until the block ends; give its pid. If the block raises, print the end of its log."""
    with tempfile.TemporaryFile() as log:
        argv = [sys.executable, "-m", "celery", "-A", app, "worker", *options]
        worker = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield worker.pid
        except BaseException:
            log.seek(0)
            sys.stdout.write(log.read().decode()[-4000:] + "\n")
            raise
        finally:
            worker.terminate()
            worker.wait(stop_seconds)


def _wait_until_it_answers(stub: RunningStub, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            stub.control()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
