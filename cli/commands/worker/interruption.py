"""`jobclaim worker watch-interruption`: stop the worker in time when its EC2 instance is about to end."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import click

from jobclaim.cli.errors import Refused
from jobclaim.cli.output import Format, Output, remark, report_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration

if TYPE_CHECKING:
    from jobclaim.cli.commands.worker.local import LocalWorker
    from jobclaim.infra.metadata import Metadata, Notice


class CommandAfterDashes(click.Command):
    """Pass what follows ``--`` to the last argument, so that it is never read as the worker's name, which may be left
    out.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what is before the first ``--``, and append the rest to the last argument."""
        cut = args.index("--") if "--" in args else len(args)
        (last,) = [each for each in self.params if each.nargs == -1]
        rest = super().parse_args(ctx, args[:cut])
        ctx.params[str(last.name)] += tuple(args[cut + 1 :])
        return rest


@click.command(
    "watch-interruption",
    cls=CommandAfterDashes,
    epilog="""\b
Examples:
  jobclaim worker watch-interruption mail
  jobclaim worker watch-interruption mail --within 30m -- systemctl stop jobclaim-worker@mail.service
""",
)
@click.argument("name", required=False)
@click.argument("stop_command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND]")
@click.option("--every", type=Duration(), default="2s", show_default=True, help="Time between two checks.")
@click.option(
    "--within", type=Duration(), help="Time for jobs to end when a group scales in; default: the stop timeout."
)
@click.option("--group", "group_name", help="Auto Scaling group to notify when the worker has ended; needs --hook.")
@click.option("--hook", help="The group's lifecycle hook.")
@click.option("--metadata-url", help="URL of the instance's metadata service; default: EC2's own.")
@report_option
@pass_session
def watch_interruption(
    session: Session,
    name: str | None,
    stop_command: tuple[str, ...],
    every: int,
    within: int | None,
    group_name: str | None,
    hook: str | None,
    metadata_url: str | None,
    output: Format | None,
) -> None:
    """Wait until EC2 announces that this instance will end, then stop the worker in the time that is left.

    EC2 announces a spot interruption two minutes ahead, and that an Auto Scaling group scales in or replaces the
    instance. The worker gets SIGTERM; or COMMAND is run, which must return only when the worker has ended (where
    systemd restarts the worker, use `systemctl stop`). Then this command completes the group's lifecycle hook, for
    which the group waits, and ends.
    """
    from jobclaim.cli.commands.worker.local import LocalWorker, stop_seconds
    from jobclaim.infra.metadata import METADATA_URL, Metadata

    if (group_name is None) != (hook is None):
        raise click.UsageError("--group and --hook belong together: name both, or neither")
    metadata, out = Metadata(metadata_url or METADATA_URL), Output(output)
    notice = _wait(metadata, every / 1000)
    if notice is None:
        return
    worker = LocalWorker.of(session.settings, name)
    _stop(worker, stop_command, notice, stop_seconds(session.settings, within), out)
    if notice.by == "autoscaling" and group_name and hook:
        _let_go(session, metadata.instance_id(), group_name, hook, out)


def _wait(metadata: Metadata, seconds: float) -> Notice | None:
    from jobclaim.infra.metadata import MetadataError, wait_for_notice

    stop, silent = threading.Event(), False

    def look() -> Notice | None:
        nonlocal silent
        try:
            found = metadata.notice()
        except MetadataError as error:
            if not silent:  # once per outage: the service may be away for a while
                remark(str(error))
            silent = True
            return None
        silent = False
        return found

    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return wait_for_notice(look, lambda: stop.wait(seconds))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(worker: LocalWorker, command: tuple[str, ...], notice: Notice, within: float, out: Output) -> None:
    from jobclaim.infra.metadata import stop_deadline

    now = time.time()
    until = stop_deadline(notice, now, within)
    left = max(0.0, until - now)
    out.fact(
        {"state": "noticed", "by": notice.by, "seconds_left": round(left, 1), "worker": worker.name},
        f"this instance ends ({notice.by}): worker {worker.name!r} has {left:.0f} s",
    )
    if command:
        if worker.folder.exists():
            worker.stop_by(until)
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise Refused(f"{command[0]!r} cannot be run ({error.strerror}), so the worker still runs") from None
        if code:
            raise Refused(f"{' '.join(command)!r} ended with {code}: the worker may still be running; see its log")
    else:
        worker.stop(left, by=until)
    out.fact({"state": "stopped", "worker": worker.name}, f"worker {worker.name!r} has stopped")


def _let_go(session: Session, instance_id: str, group: str, hook: str, out: Output) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    from jobclaim.infra.clients import client

    try:
        client(session.settings, "autoscaling").complete_lifecycle_action(
            AutoScalingGroupName=group,
            LifecycleHookName=hook,
            InstanceId=instance_id,
            LifecycleActionResult="CONTINUE",
        )
    except (BotoCoreError, ClientError) as error:
        raise Refused(
            f"hook {hook!r} was not completed, so group {group!r} waits until it times out: {error}"
        ) from error
    out.fact({"state": "released", "instance": instance_id}, f"group {group!r} may end instance {instance_id}")
