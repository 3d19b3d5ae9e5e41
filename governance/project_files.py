"""Schedules in a project's ``pyproject.toml``, in ``[tool.jobclaim]``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from jobclaim.governance.schedules import NEVER, Entry, entry_of
from jobclaim.specs.cron import parse_cron

FILE: Final = "pyproject.toml"


def schedules_of_project(roots: Iterable[Path]) -> list[Entry]:
    """Read the schedules in the ``pyproject.toml`` of the given folders, or of the closest parent that has one."""
    found = {path for root in roots if (path := _file_of(root.resolve())) is not None}
    return [entry for path in sorted(found) for entry in _entries(path)]


def _file_of(folder: Path) -> Path | None:
    return next((path for each in (folder, *folder.parents) if (path := each / FILE).is_file()), None)


def _entries(path: Path) -> Iterator[Entry]:
    text = path.read_text()
    try:
        table = tomllib.loads(text).get("tool", {}).get("jobclaim", {}).get("schedules", {})
    except tomllib.TOMLDecodeError:
        return  # the project's own tools report that
    shown = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    for name, spec in table.items():
        if isinstance(spec, Mapping) and "task" in spec:
            yield _entry(name, spec, shown, _line_of(text, name))


def _entry(name: str, spec: Mapping[str, Any], file: str, line: int) -> Entry:
    options = {"queue": spec.get("queue", ""), "expires": spec.get("expires", "when the next tick is due")}
    row = {"task": spec["task"], "schedule": _when(spec), "options": options}
    return entry_of(name, row | {key: spec[key] for key in ("args", "kwargs") if key in spec}, file, line)


def _when(spec: Mapping[str, Any]) -> Any:
    if "cron" not in spec:
        return spec.get("every")
    try:
        return parse_cron(str(spec["cron"]))
    except ValueError:
        return NEVER


def _line_of(text: str, name: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), start=1) if name in line), 0)
