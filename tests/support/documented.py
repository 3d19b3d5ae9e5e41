"""The commands that README, docs, hooks and helps show, as their readers type them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

import click

from jobclaim.cli.catalog import COMMANDS
from jobclaim.cli.main import command_line

ROOT = Path(__file__).parents[2]
SHELLS = ("sh", "bash", "console")
PROGRAMS = ("jobclaim", "celery", "python", "make", "sam", "aws", "docker", "pip")
"""Programs whose lines count, where the text is not known to be a shell's."""
INLINE = re.compile(r"`((?:jobclaim|celery -A|python -m) [^`]*)`")
FENCE = re.compile(r"^\s*```(\w*)\s*$")
IN_YAML = re.compile(r"^\s*(?:-\s+)?(?:run:\s+|entry:\s+)?((?:jobclaim|pip) .*)$")


@dataclass(frozen=True, order=True)
class Documented:
    """One command.

    Attributes
    ----------
    where : str
        The file or help that shows it.
    line : str
        As it is run: without prompt, comment and the ``&`` at its end.
    mentioned : bool
        It stands in running text, where arguments may be left out.
    """

    where: str
    line: str
    mentioned: bool = False

    @property
    def words(self) -> list[str]:
        """Program and arguments, up to where another program begins, without variables before it."""
        alone = re.split(r"\s\|\s|\s>\s|\)\"$", self.line)[0].replace("...", "").removeprefix('eval "$(')
        words = [word for word in shlex.split(alone) if word]
        return list(dropwhile(re.compile(r"\w+=").match, words))


def documented() -> list[Documented]:
    """Find all of them, each once per place."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {one for page in pages for one in of_page(page.name, page.read_text())}
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text()
    found |= {Documented(".pre-commit-hooks.yaml", line) for line in _yaml(hooks.splitlines())}
    return sorted(found | set(_of_helps()))


def of_page(where: str, text: str) -> Iterator[Documented]:
    """Find those of a page of Markdown."""
    blocks = list(_blocks(text))
    for language, lines in blocks:
        yield from (Documented(where, line) for line in _of_block(language, lines))
    running = "\n".join(line for language, lines in blocks if language is None for line in lines)
    for line in INLINE.findall(running):
        yield Documented(where, " ".join(line.split()), mentioned=True)


def _of_block(language: str | None, lines: list[str]) -> Iterator[str]:
    if language in SHELLS:
        yield from _shell(lines)
    elif language == "yaml":
        yield from _yaml(lines)
    elif not language:  # of running text what is indented
        code = lines if language == "" else [line for line in lines if line.startswith("    ")]
        yield from (line for line in _shell(code) if line.startswith(PROGRAMS))


def _blocks(text: str) -> Iterator[tuple[str | None, list[str]]]:
    """Split into running text (``None``) and fenced blocks, in order."""
    language: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if fence:
            yield language, lines
            language, lines = (fence[1] if language is None else None), []
        else:
            lines.append(line)
    assert language is None, "a block of code is not closed"
    yield None, lines


def _shell(lines: list[str]) -> Iterator[str]:
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in whole.splitlines():
        yield from (part for part in _bare(line).split(" && ") if part)


def _yaml(lines: list[str]) -> Iterator[str]:
    found = (IN_YAML.match(line) for line in lines if not line.startswith("#"))
    yield from (_bare(match[1]) for match in found if match)


def _bare(line: str) -> str:
    """Take prompt, comment and the sign of the background away."""
    return re.sub(r"(^|\s+)#.*$", "", line.strip().removeprefix("$ ")).removesuffix("&").strip()


def _of_helps() -> Iterator[Documented]:
    for name in COMMANDS:
        for command in _below(command_line.get_command(click.Context(command_line), name)):
            for line in (command.epilog or "").splitlines():
                if re.match(r"(\w+=\S+ |eval \"\$\()*jobclaim ", line.strip()):
                    yield Documented(f"jobclaim {name} --help", re.split(r"\s\s+[a-z]", line.strip())[0])


def _below(command: click.Command | None) -> Iterator[click.Command]:
    assert command is not None
    yield command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _below(below)
