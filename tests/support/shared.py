"""Servers that all processes of a run share: the one that deals out the tests starts each when it is first asked for.

To start a server and to warm it up takes seconds of CPU, and no two tests give their tables and queues the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from tests.support.artifacts import Unavailable
from tests.support.endpoints import Endpoint, dynamodb_local, elasticmq

Serve = Callable[[Path], AbstractContextManager[Endpoint]]
SERVERS: Mapping[str, Serve] = {"dynamodb": dynamodb_local, "sqs": elasticmq}
ADDRESS = "keeper_of_servers"
"""Under this name each process of a run is given the keeper's address."""


class Keeper:
    """Starts servers for whoever asks at its address, each once, and ends them when it is closed.

    One thread does all of it: a server ends with the thread that started it.
    """

    def __init__(self, servers: Mapping[str, Serve] = SERVERS) -> None:
        self._servers = servers
        self._listener = Listener(family="AF_UNIX")
        self.address = str(self._listener.address)
        self._running: dict[str, Endpoint] = {}
        self._thread = Thread(target=self._serve, name="keeper of servers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all servers."""
        with Client(self.address) as connection:
            connection.send("")
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with ExitStack() as exits:
            logs = Path(exits.enter_context(TemporaryDirectory(prefix="servers-")))
            while True:
                with self._listener.accept() as connection, suppress(EOFError, ConnectionError):
                    if not (name := connection.recv()):
                        return
                    connection.send(self._answer(name, logs, exits))

    def _answer(self, name: str, logs: Path, exits: ExitStack) -> Endpoint | Exception:
        try:
            if name not in self._running:
                self._running[name] = exits.enter_context(self._servers[name](logs))
        except (Unavailable, AssertionError, OSError) as error:
            return error
        return Endpoint(self._running[name].service, self._running[name].endpoint_url)


def asked(address: str, name: str) -> Endpoint:
    """Ask a keeper for a server; raises what kept it from starting one."""
    with Client(address) as connection:
        connection.send(name)
        answer = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Endpoint)
    return answer


def serving(name: str, config: pytest.Config) -> Serve:
    """Give the run's own server; where one process runs all tests, start it."""
    address = getattr(config, "workerinput", {}).get(ADDRESS)
    return SERVERS[name] if address is None else lambda _: nullcontext(asked(address, name))
