"""``python -m bench.peers``: the table of the README, as JSON and Markdown.

Speed, requests and units on the metering stub, in alternating rounds, those of peers on Redis or PostgreSQL on a server
of their own; behavior under three faults on DynamoDB Local and ElasticMQ. Needs redis-server, PostgreSQL, openssl, for
the faults Java and, the first time, a package index for the peers' virtual environments.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import readme
from bench.peers import faults, report, speed
from bench.peers.brokers import running_broker
from bench.peers.catalog import BY_KEY, PEERS, Peer
from bench.peers.endpoints import Endpoints
from bench.peers.servers import redis_server
from bench.peers.venvs import python_of
from bench.stub import ROOT, make_certificate
from tests.support.endpoints import dynamodb_local, elasticmq
from tests.support.processes import ProcessDied

PROBLEMS = (OSError, RuntimeError, subprocess.SubprocessError, ProcessDied)
"""Failures of a peer that are tolerated: not ending (`TimeoutError`), failing to submit, crashing."""
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
    with tempfile.TemporaryDirectory() as folder:
        rounds = {} if arguments.faults_only else _speed(peers, arguments, Path(folder))
        verdicts = {} if arguments.speed_only else _faults(peers, Path(folder))
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "jobs": arguments.jobs,
        "rounds": max(map(len, rounds.values()), default=0),
        "processes": arguments.processes,
        "latency_ms": speed.LATENCY_MS,
        "slow_line_ms": speed.SLOW_LINE_MS,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "seconds": round(time.monotonic() - began),
    }
    known = json.loads((RESULTS / "peers.json").read_text())
    partial_run = arguments.only or arguments.faults_only
    result = {
        "about": known["about"] if partial_run and arguments.write else about,
        "peers": {
            peer.key: _as_result(peer, rounds, verdicts, known["peers"] if arguments.write else {}) for peer in PEERS
        },
    }
    _say(report.markdown(result))
    if arguments.write:
        (RESULTS / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
        return readme.main()
    return 0


def _as_result(
    peer: Peer,
    rounds: Mapping[str, list[speed.Round]],
    verdicts: Mapping[str, Mapping[str, faults.Verdict]],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a peer's row; what was not to be measured now is kept from the results that are known.

    What was to be measured and failed is left out: a figure of an earlier run would look like one of this run.
    """
    before, judged = known.get(peer.key, {"rounds": [], "faults": {}}), peer.behaves_as or peer.key
    seen = {name: asdict(one) for name, one in verdicts.get(judged, {}).items()}
    return {
        "title": peer.title,
        "note": peer.note,
        "beside": peer.beside,
        "broker": peer.broker,
        "behaves_as": peer.behaves_as,
        "rounds": [asdict(one) for one in rounds[peer.key]] if peer.key in rounds else before["rounds"],
        "faults": seen if judged in verdicts else known.get(judged, before)["faults"],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="begin no later round that would not end by then")
    parser.add_argument("--only", nargs="*", choices=BY_KEY, metavar="PEER", help=f"some of {', '.join(BY_KEY)}")
    parser.add_argument("--speed-only", action="store_true", help="keep the faults of the last result")
    parser.add_argument("--faults-only", action="store_true", help="keep the figures of the last result")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write bench/results/peers.json, its report, README and picture; peers that were not chosen keep theirs",
    )
    return parser.parse_args()


def _speed(peers: list[Peer], arguments: argparse.Namespace, folder: Path) -> dict[str, list[speed.Round]]:
    """Measure each peer once per round, a different one first in each."""
    rounds: dict[str, list[speed.Round]] = {peer.key: [] for peer in peers}
    certificate, began = make_certificate(folder), time.monotonic()
    measure = partial(speed.measure, jobs=arguments.jobs, processes=arguments.processes)
    for number in range(arguments.rounds):
        spent = time.monotonic() - began
        if number and spent * (number + 1) / number > 60 * arguments.minutes:
            _say(f"no round {number + 1}: {number} took {spent / 60:.1f} of {arguments.minutes:g} minutes")
            break
        shift = number * len(peers) // arguments.rounds
        for peer in [*peers[shift:], *peers[:shift]]:
            begun = time.monotonic()
            try:
                with running_broker(peer, certificate) as broker:
                    endpoints = Endpoints(broker.url, broker.url, broker.redis, folder, certificate)
                    endpoints.prepare(peer)
                    done = measure(broker, endpoints, peer, singly=not rounds[peer.key])
            except PROBLEMS as error:  # the others continue; its row shows what is missing
                _say(f"round {number + 1}, {peer.key}: {error}")
                continue
            rounds[peer.key].append(done)
            _say(f"round {number + 1}, {peer.key}, {time.monotonic() - begun:.0f} s: {_in_short(done)}")
    return rounds


def _in_short(done: speed.Round) -> str:
    return (
        f"{done.per_second:.0f} jobs/s, {done.per_second_with_latency:.0f} with latency, "
        f"{sum(done.requests.values()):.2f} requests, {done.write_units:.2f} WRU, CPU submit {done.submit_cpu_ms:.2f}, "
        f"worker {done.worker_cpu_ms:.2f}, with latency {done.worker_cpu_ms_with_latency:.2f} ms, slow line "
        f"{done.per_second_slow_line:.1f} jobs/s, first job {done.first_job_seconds:.1f} s, {done.all_mb:.0f} MB"
    )


def _faults(peers: list[Peer], folder: Path) -> dict[str, dict[str, faults.Verdict]]:
    with ExitStack() as exits:
        redis = exits.enter_context(redis_server())
        dynamodb = exits.enter_context(dynamodb_local(folder))
        sqs = exits.enter_context(elasticmq(folder))
        endpoints = Endpoints(sqs.endpoint_url, dynamodb.endpoint_url, redis, folder)
        judged = [peer for peer in peers if peer.behaves_as is None and peer.broker == "sqs"]
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
