"""Run a trial from minutes and a seed to a verdict; the command ``jobclaim verify`` calls it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobclaim import local_aws
from jobclaim.verify.checks import CheckResult, Evidence, evaluate
from jobclaim.verify.deployment import Endpoints, environment_without_settings, temporary_deployment
from jobclaim.verify.plan import LONG, SHORT, Plan, draw_plan
from jobclaim.verify.report import Figures
from jobclaim.verify.run import Notify, run


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a run."""

    evidence: Evidence
    figures: Figures
    results: list[CheckResult]

    @property
    def held(self) -> bool:
        """Whether every promise was tested and held."""
        return all(result.held for result in self.results)


def verify_promises(
    *,
    minutes: float,
    jobs: int,
    seed: int,
    folder: Path,
    notify: Notify,
    endpoints: Endpoints | None = None,
    plan: Plan | None = None,
    modules: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Verdict:
    """Run workers under faults for so many minutes, and judge the evidence.

    Parameters
    ----------
    folder : Path
        Folder for logs and evidence.
    endpoints : Endpoints, optional
        Default: an embedded AWS.
    plan : Plan, optional
        Default: drawn from the seed.
    modules : sequence of str
        Further modules that workers import, besides the bodies.
    environment : mapping, optional
        Environment variables for the processes, in addition to this process's own.
    """
    seconds, scale = 60 * minutes, LONG if minutes >= 2 else SHORT
    plan = plan or draw_plan(seed, seconds=seconds, jobs=jobs, scale=scale)
    with _reachable(endpoints) as (where, access), _environment({**environment_without_settings(), **access}), _quiet():
        own = {**os.environ, **(environment or {})}
        with temporary_deployment(where, folder, scale, environment=own, modules=modules) as deployment:
            evidence, figures = run(deployment, plan, seconds, scale, notify)
    return Verdict(evidence, figures, evaluate(evidence))


@contextmanager
def _reachable(endpoints: Endpoints | None) -> Iterator[tuple[Endpoints, dict[str, str]]]:
    """Yield the endpoints, and the environment with which processes reach them."""
    if endpoints is not None:
        yield endpoints, {}
        return
    with local_aws() as aws:
        access = {name: value for name, value in aws.environment().items() if not name.startswith("JOBCLAIM_")}
        yield Endpoints(aws.endpoint_url, aws.endpoint_url), access


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Replace this process's environment during the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence this process's log: its submissions meet every fault and would fill the terminal."""
    log = logging.getLogger("jobclaim")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
