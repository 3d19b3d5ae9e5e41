"""`jobclaim completion`: shell completion of commands and options."""

from __future__ import annotations

import click

from jobclaim.cli.exits import ExitCode


@click.command(
    epilog="""\b
Examples:
  eval "$(jobclaim completion bash)"
  jobclaim completion zsh > ~/.zfunc/_jobclaim
  jobclaim completion fish > ~/.config/fish/completions/jobclaim.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from jobclaim.cli.main import command_line

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(command_line, {}, "jobclaim", "_JOBCLAIM_COMPLETE")
    click.echo(script.source_template % script.source_vars())
    click.get_current_context().exit(ExitCode.OK)
