"""``python -m bench.peers``: the table of the README, as JSON and Markdown.

Speed, requests and units on the metering stub, in alternating rounds; behaviour under three faults on DynamoDB Local
and ElasticMQ. Needs Java, redis-server and, the first time, a package index for the peers' virtual environments.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import readme
from bench.peers import faults, report, speed
from bench.peers.catalog import BY_KEY, PEERS, Peer
from bench.peers.endpoints import Endpoints, redis_server
from bench.peers.venvs import python_of
from bench.stub import ROOT, running_stub
from tests.support.endpoints import dynamodb_local, elasticmq
from tests.support.processes import ProcessDied

PROBLEMS = (TimeoutError, RuntimeError, ProcessDied)
"""Failures of a peer that are tolerated: not ending, failing to submit, crashing."""
RESULTS = ROOT / "bench" / "results"
AT_ONCE = 3
"""Peers tested under faults concurrently: they wait more than they compute, and share only the servers."""


def main() -> int:
    """Measure, print the table and, with ``--write``, save it."""
    arguments = _arguments()
    peers = [BY_KEY[key] for key in arguments.only] if arguments.only else list(PEERS)
    for peer in peers:
        python_of(peer)
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, redis_server() as redis:
        rounds = {} if arguments.faults_only else _speed(peers, arguments, Path(folder), redis)
        verdicts = {} if arguments.speed_only else _faults(peers, Path(folder), redis)
    faulty = {name: {fault: asdict(one) for fault, one in seen.items()} for name, seen in verdicts.items()}
    if arguments.speed_only:
        faulty = _known_faults()
    result: dict[str, Any] = {
        "about": {
            "date": datetime.now(UTC).date().isoformat(),
            "jobs": arguments.jobs,
            "rounds": arguments.rounds,
            "processes": arguments.processes,
            "latency_ms": speed.LATENCY_MS,
            "slow_line_ms": speed.SLOW_LINE_MS,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_before": round(load, 1),
            "seconds": round(time.monotonic() - began),
        },
        "peers": {
            peer.key: {
                "title": peer.title,
                "note": peer.note,
                "redis": peer.redis,
                "rounds": [asdict(one) for one in rounds.get(peer.key, [])],
                "faults": faulty.get(peer.behaves_as or peer.key, {}),
            }
            for peer in peers
        },
    }
    _say(report.markdown(result))
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
        return readme.main()
    return 0


def _known_faults() -> dict[str, Any]:
    """Return the verdicts of the last run that had faults: they do not depend on the machine's speed."""
    known = json.loads((RESULTS / "peers.json").read_text())
    return {key: peer["faults"] for key, peer in known["peers"].items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=BY_KEY, metavar="PEER", help=f"some of {', '.join(BY_KEY)}")
    parser.add_argument("--speed-only", action="store_true", help="keep the faults of the last result")
    parser.add_argument("--faults-only", action="store_true")
    parser.add_argument(
        "--write", action="store_true", help="write bench/results/peers.json, its report, README and picture"
    )
    return parser.parse_args()


def _speed(peers: list[Peer], arguments: argparse.Namespace, folder: Path, redis: str) -> dict[str, list[speed.Round]]:
    """Measure each peer once per round, a different one first in each."""
    rounds: dict[str, list[speed.Round]] = {peer.key: [] for peer in peers}
    for number in range(arguments.rounds):
        shift = number * len(peers) // arguments.rounds
        for peer in [*peers[shift:], *peers[:shift]]:
            try:
                with running_stub() as stub:
                    endpoints = Endpoints(stub.url, stub.url, redis, folder)
                    endpoints.prepare(peer)
                    done = speed.measure(stub, endpoints, peer, arguments.jobs, arguments.processes)
            except PROBLEMS as error:  # the others continue; its row shows what is missing
                _say(f"round {number + 1}, {peer.key}: {error}")
                continue
            rounds[peer.key].append(done)
            _say(f"round {number + 1}, {peer.key}: {_in_short(done)}")
    return rounds


def _in_short(done: speed.Round) -> str:
    return (
        f"{done.per_second:.0f} jobs/s, {done.per_second_with_latency:.0f} with latency, "
        f"{sum(done.requests.values()):.2f} requests, {done.write_units:.2f} WRU, CPU submit {done.submit_cpu_ms:.2f}, "
        f"worker {done.worker_cpu_ms:.2f}, with latency {done.worker_cpu_ms_with_latency:.2f} ms, slow line "
        f"{done.per_second_slow_line:.1f} jobs/s, first job {done.first_job_seconds:.1f} s, {done.all_mb:.0f} MB"
    )


def _faults(peers: list[Peer], folder: Path, redis: str) -> dict[str, dict[str, faults.Verdict]]:
    with ExitStack() as exits:
        dynamodb = exits.enter_context(dynamodb_local(folder))
        sqs = exits.enter_context(elasticmq(folder))
        endpoints = Endpoints(sqs.endpoint_url, dynamodb.endpoint_url, redis, folder)
        judged = [peer for peer in peers if peer.behaves_as is None]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip((peer.key for peer in judged), pool.map(partial(_judged, endpoints), judged), strict=True))


def _judged(endpoints: Endpoints, peer: Peer) -> dict[str, faults.Verdict]:
    try:
        verdicts = faults.judge(endpoints, peer)
    except PROBLEMS as error:
        _say(f"{peer.key}: {error}")
        return {}
    for name, verdict in verdicts.items():
        _say(f"{peer.key}, {name}: {'passes' if verdict.passed else 'fails'}: {verdict.what}")
    return verdicts


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
