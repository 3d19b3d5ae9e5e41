"""Fixtures for every test: no way to real AWS, and the real local endpoints, started once and only when asked for."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import hypothesis
import pytest
import structlog

from tests.support import cheap_clients, cheap_moto, endpoints, shared, shared_tasks
from tests.support.artifacts import Unavailable
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint
from tests.support.volume import volume

T = TypeVar("T")

FAKE_AWS = {
    "AWS_ACCESS_KEY_ID": "jobclaimtest",
    "AWS_SECRET_ACCESS_KEY": "jobclaimtest",
    "AWS_SESSION_TOKEN": "jobclaimtest",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
KEEPER = pytest.StashKey[shared.Keeper]()
TEST_SWITCHES = {"JOBCLAIM_REQUIRE_REAL", "JOBCLAIM_CACHE"}


cheap_clients.install()
cheap_moto.install()

# no test depends on the machine's speed
hypothesis.settings.register_profile("jobclaim", deadline=None, max_examples=volume(100))
hypothesis.settings.load_profile("jobclaim")


def pytest_configure(config: pytest.Config) -> None:
    """Turn SIGTERM into a normal end of the run, so that fixtures still end their processes.

    And let SIGINT be heard where a shell started the run in its background: what tests start would ignore it too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A child does not cache a test's throwaway modules: written twice in a second, the second would not be seen.
    # The processes of a run are no such children: each would compile all tests again.
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    own_pid = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own_pid:
            raise KeyboardInterrupt("SIGTERM")
        signal.signal(number, signal.SIG_DFL)  # a forked child of a test just ends
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each process of a run who keeps the servers that all of them share."""
    if (keeper := node.config.stash.get(KEEPER, None)) is None:
        keeper = node.config.stash[KEEPER] = shared.Keeper()
    node.workerinput[shared.ADDRESS] = keeper.address


def pytest_unconfigure(config: pytest.Config) -> None:
    """End those servers."""
    if (keeper := config.stash.get(KEEPER, None)) is not None:
        keeper.close()


TESTS = Path(__file__).parent
WAITING = ("adoption", "browser", "infra", "integration")
"""Folders whose tests mostly wait, for processes of their own."""
COMPUTING_FOR_EACH = 2
"""Files of the other folders between two of these."""
NEW_OBJECTS = 10_000
"""Between two garbage collections; Python's default is 700."""


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect tests without a garbage collection, and leave what is made out of every later one: most of the heap.

    What tests make is young garbage or stays, so later ones are rare too: they took a fifteenth of the CPU.
    """
    gc.disable()
    try:
        _import_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)
        gc.enable()


def _import_share(config: pytest.Config) -> None:
    """Import this process's share of a whole run's modules first, and so compile it for the other processes too."""
    worker = getattr(config, "workerinput", None)
    if worker is None or TESTS not in (config.rootpath / argument for argument in config.args):
        return
    modules = sorted(path for path in TESTS.rglob("test_*.py") if "hosts" not in path.parts)
    for path in modules[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        with suppress(Exception):  # collecting it tells
            import_module(".".join(path.relative_to(TESTS.parent).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files that wait with files that compute, so that the cores are busy all the time; the short ones end the run.

    The order within a file stays.
    """
    files = dict.fromkeys(item.path for item in items)
    waiting = [path for path in files if path.relative_to(TESTS).parts[0] in WAITING]
    computing = [path for path in files if path not in set(waiting)]
    place = {path: float(number) for number, path in enumerate(waiting)}
    place |= {path: number / COMPUTING_FOR_EACH for number, path in enumerate(computing)}
    items.sort(key=lambda item: place[item.path])


@pytest.fixture(autouse=True)
def aws_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake credentials, and none of the caller's AWS or jobclaim settings: no test can reach an account."""
    for name in list(os.environ):
        if name.startswith("AWS_") or (name.startswith("JOBCLAIM_") and name not in TEST_SWITCHES):
            monkeypatch.delenv(name)
    for name, value in FAKE_AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def no_sts_but_a_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's own STS is not asked who acts; one behind a test's endpoint is."""
    from jobclaim.fleet import identity

    ask = identity._ask
    monkeypatch.setattr(identity, "_ask", lambda known: ask(known) if known.endpoint_url else identity.UNKNOWN)
    identity.forget()


@pytest.fixture(autouse=True)
def no_writes_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of a test's repos are not written by a timer or at the end of the run, when their tables are gone."""
    from jobclaim.jobs.storage import pending

    monkeypatch.setattr(pending, "writes_by_itself", lambda _: False)


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test makes of the log, another does not see: no logger is kept, and the defaults come back."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **options: configure(**{**options, "cache_logger_on_first_use": False})
    )
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@contextmanager
def same_celery_apps() -> Iterator[None]:
    """Put back the current and the default app of Celery's process state, and whether results may be waited for.

    A test's own app that stayed the current one would be asked for shared tasks by later tests; and one that is closed
    by then does not know those of modules that are imported after it.
    """

    def state() -> Any:
        return sys.modules.get("celery._state")  # where nothing has imported Celery yet, nothing is current

    known = state()
    before = (known._tls.current_app, known.default_app) if known else (None, None)
    blocks = known._task_join_will_block if known else False
    yield
    if (known := state()) is None:
        return
    known._tls.current_app, default = before
    known._task_join_will_block = blocks  # a worker that a test makes in this process says so
    apps = sys.modules.get("jobclaim.workers.apps")
    if known.default_app not in (apps._default if apps else ()):  # made once a process, and so the default for good
        known.default_app = default


@pytest.fixture(autouse=True, scope="module")
def own_celery_apps_of_the_module(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module's fixtures make current, the next module does not see, nor the tasks that it shares."""
    with same_celery_apps(), shared_tasks.only_those_of(request.module):
        yield


@pytest.fixture(autouse=True)
def own_celery_apps(own_celery_apps_of_the_module: None) -> Iterator[None]:
    """What one test makes current, another does not see."""
    with same_celery_apps():
        yield


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only the test moves."""
    return ManualClock()


@pytest.fixture(scope="session")
def dynamodb_local(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """AWS's DynamoDB Local, shared by the run: give tables a `unique_name`."""
    with required(shared.serving("dynamodb", pytestconfig), tmp_path_factory.mktemp("dynamodb")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def unshared_dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A DynamoDB Local for one module, whose tests change tables.

    Each table with an expiry keeps one of its few background threads; after about ten of them no index that is added to
    an existing table ever becomes ACTIVE, and the shared server has far more.
    """
    with required(endpoints.dynamodb_local, tmp_path_factory.mktemp("dynamodb")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def elasticmq(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """ElasticMQ, shared by the run: give queues a `unique_name`."""
    with required(shared.serving("sqs", pytestconfig), tmp_path_factory.mktemp("elasticmq")) as endpoint:
        yield endpoint


@contextmanager
def required(serve: Callable[[Path], AbstractContextManager[T]], log_dir: Path) -> Iterator[T]:
    """Skip where a server or the browser cannot be had; fail where ``JOBCLAIM_REQUIRE_REAL=1`` says that it must be."""
    try:
        server = serve(log_dir)
        endpoint = server.__enter__()
    except Unavailable as error:
        if os.environ.get("JOBCLAIM_REQUIRE_REAL") == "1":
            pytest.fail(f"JOBCLAIM_REQUIRE_REAL=1, but {error}", pytrace=False)
        pytest.skip(str(error))
    try:
        yield endpoint
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(autouse=True, scope="module")
def modelled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the harness's tables in the model that the contract holds to DynamoDB Local: its requests cost far less.

    Modules marked ``embedded`` keep moto, which is what the harness's users get.
    """
    from jobclaim.testing import harness
    from tests.simulation.client import in_model

    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("embedded"):
            patch.setattr(harness, "in_memory", in_model)
        yield
