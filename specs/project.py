"""Where a project's settings are: its ``pyproject.toml``, or the file that ``JOBCLAIM_CONFIG`` names.

A program finds the same settings from every directory of a project: the search goes from the working directory upwards
and ends at the root of the repository, so that a checkout inside another project never uses that project's settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jobclaim.specs.variables import CONFIG

PYPROJECT: Final = "pyproject.toml"
TABLE: Final = "[tool.jobclaim]"
REPOSITORY: Final = (".git", ".hg", ".svn", ".jj")
"""Name that marks the root of a repository; a directory, or a file in a worktree or a submodule."""


class ConfigError(ValueError):
    """A configuration file cannot be used; the message names it and says what to do."""

    source = CONFIG


@dataclass(frozen=True, slots=True)
class Project:
    """The directory that settings belong to, and the content of its configuration file.

    Attributes
    ----------
    folder : Path, optional
        Where ``.env`` is read from; ``None`` if the working directory was deleted.
    file : Path, optional
        The configuration file; ``None`` if there is none.
    table : mapping
        The settings in that file.
    """

    folder: Path | None
    file: Path | None = None
    table: Mapping[str, Any] = field(default_factory=dict)


def find(environment: Mapping[str, str]) -> Project:
    """Find the project: by ``JOBCLAIM_CONFIG``, else from the working directory upwards.

    The nearest ``pyproject.toml`` with a table ``[tool.jobclaim]`` is the project's; without one, the nearest
    ``pyproject.toml``; without any, the working directory is the project.

    Raises
    ------
    ConfigError
        A file is missing, unreadable or not TOML, or its table is not a table.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # deleted while the program runs; a file can still be named
        here = None
    named = environment.get(CONFIG)
    if named:
        return _named(Path(named).expanduser(), here)
    return Project(None) if here is None else _upwards(here)


def _named(path: Path, here: Path | None) -> Project:
    file = path if here is None else here / path
    content = _read(file)
    if content is None:
        raise ConfigError(f"{CONFIG}={path}: the file does not exist; correct the name, or unset {CONFIG}")
    if path.name != PYPROJECT and "tool" not in content:
        return Project(file.parent, file, content)
    table = _table(content, file)
    if table is None:
        raise ConfigError(f"{CONFIG}={path}: the file has no table {TABLE}; add it, or name another file")
    return Project(file.parent, file, table)


def _upwards(here: Path) -> Project:
    nearest: Path | None = None
    for folder in _folders(here):
        content = _read(folder / PYPROJECT)
        if content is None:
            continue
        table = _table(content, folder / PYPROJECT)
        if table is not None:
            return Project(folder, folder / PYPROJECT, table)
        nearest = nearest or folder
    return Project(nearest or here)


def _folders(here: Path) -> Iterator[Path]:
    """Yield a directory and those above it, up to the root of its repository or of the file system."""
    for folder in (here, *here.parents):
        yield folder
        if any((folder / mark).exists() for mark in REPOSITORY):
            return


def _read(file: Path) -> Mapping[str, Any] | None:
    """Read a TOML file; ``None`` if there is no such file."""
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"configuration file {file} cannot be read: {error.strerror}; make it readable, or name another file in "
            f"{CONFIG}"
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"configuration file {file} is not TOML ({error}); correct it") from error


@lru_cache(maxsize=8)
def _parsed(text: str) -> Mapping[str, Any]:
    """Parse TOML; kept by its text, for parsing a project's file takes longer than all its settings."""
    return tomllib.loads(text)


def _table(content: Mapping[str, Any], file: Path) -> Mapping[str, Any] | None:
    tool = content.get("tool")
    table = tool.get("jobclaim") if isinstance(tool, Mapping) else None
    if table is not None and not isinstance(table, Mapping):
        raise ConfigError(f"{file}: tool.jobclaim={table!r} is not a table; write {TABLE} and the settings below it")
    return table
