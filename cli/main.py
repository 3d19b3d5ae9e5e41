"""`jobclaim`: the click group that loads each command on its first use."""

from __future__ import annotations

import sys
import traceback
from difflib import get_close_matches
from importlib import import_module
from types import TracebackType
from typing import Any

import click

from jobclaim.cli.catalog import ALIASES, COMMANDS, EPILOG, SECTIONS, TEXT
from jobclaim.cli.completing import add_completion
from jobclaim.cli.errors import debug_option, explain, wants_traceback
from jobclaim.cli.host_app import app_option
from jobclaim.cli.output import say
from jobclaim.cli.recorded import record_acts

__all__ = ["LazyGroup", "command_line", "main"]


class LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; return ``None`` for an unknown name."""
        if cmd_name in ALIASES:
            name, below = ALIASES[cmd_name]
            group = self.get_command(ctx, name)
            return group.get_command(ctx, below) if isinstance(group, click.Group) else None
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"jobclaim.cli.commands.{cmd_name}").command
        command.short_help = COMMANDS[cmd_name]
        _prepare(command)
        record_acts(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, suggest the closest."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS and args[0] not in ALIASES:
            close = get_close_matches(args[0], [*COMMANDS, *ALIASES], n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"{args[0]!r} is not a command.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections from the catalog, so that the help loads no command."""
        for section in SECTIONS:
            with formatter.section(section.title):
                formatter.write_dl(list(section.commands.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn an error into a line on standard error."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise  # click exits quietly: the reader has closed the pipe
        except Exception as error:
            if wants_traceback(ctx):
                raise
            raise explain(error) from error


def _prepare(command: click.Command) -> None:
    """Add ``--debug`` and completion to a command and all of its subcommands."""
    add_completion(command)
    if all(param.name != "debug" for param in command.params):
        command.params.append(debug_option())
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _prepare(below)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"jobclaim {version('jobclaim')}")
    except PackageNotFoundError:
        click.echo("jobclaim, not installed: run `pip install -e .` for a version")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help=TEXT,
    epilog="\b\n" + "\n".join(EPILOG).replace("\n\n", "\n\n\b\n"),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def command_line() -> None:
    pass


command_line.params += [app_option(), debug_option()]


def _print_traceback(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """Print the traceback for ``--debug``, with untrusted text in the exception's message made visible."""
    say("".join(traceback.format_exception(error)).rstrip(), err=True)


def main() -> None:
    """Run the command line; never returns."""
    sys.excepthook = _print_traceback
    command_line(prog_name="jobclaim")
