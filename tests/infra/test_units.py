"""What the units of systemd and the documentation say, against the settings and the template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobclaim.infra.render import render
from jobclaim.settings import Settings

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"


def lines(unit: str, name: str) -> list[str]:
    """Values of one directive of a unit."""
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def test_beat_sends_nothing_to_the_recovery_queue_where_no_unit_listens_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ["jobclaim recover --every" in line for line in lines("jobclaim-recovery.service", "ExecStart")] == [True]
    monkeypatch.chdir(tmp_path)
    for pair in " ".join(lines("jobclaim-beat.service", "Environment")).split():
        name, _, value = pair.partition("=")
        monkeypatch.setenv(name, value)
    assert Settings().recovery_by_beat is False


def test_the_documented_health_check_is_the_templates() -> None:
    documented = re.search(r"Start period (\d+) s, interval (\d+) s", (ROOT / "docs" / "workers.md").read_text())
    check = re.search(
        r"CMD, jobclaim, worker, health\]\s+Interval: (\d+).*?StartPeriod: (\d+)", render(Settings()), re.DOTALL
    )
    assert documented is not None
    assert check is not None
    assert documented.groups() == check.groups()[::-1]


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.iterdir() if "interruption" not in path.name))
def test_a_unit_has_a_run_folder_of_its_own(unit: str) -> None:
    """The home of the unit's user is not writable: without it beat would never be ready."""
    (made,) = lines(unit, "RuntimeDirectory")
    (told,) = re.findall(r"JOBCLAIM_RUN_DIR=(\S+)", (UNITS / unit).read_text())
    assert told == f"/run/{made}"
