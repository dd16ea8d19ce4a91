"""The root command: options that stand before or after a command's name, errors, exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

import click

from abstractruntime.cli import console
from abstractruntime.cli.commands import (
    answers,
    approvals,
    budgets,
    graphs,
    health,
    holds,
    looks,
    mail,
    moves,
    pauses,
    snapshots,
    whys,
)
from abstractruntime.cli.demo.command import demo
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.surface import shared_options
from abstractruntime.errors import RuntimeFault, StoreCorrupt
from abstractruntime.inspect.text import visible


class Root(click.Group):
    """A group that ends with this package's exit codes and shows errors without tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order one meets them, not that of the alphabet."""
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        given = list(sys.argv[1:] if args is None else args)
        # The command may be wrong before its options are read: errors know by themselves.
        as_json = "--json" in given
        try:
            code = super().main(
                given,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except (click.Abort, KeyboardInterrupt):
            console.say("interrupted", stderr=True)
            code = Exit.INTERRUPTED
        except click.UsageError as error:
            code = _usage(error, as_json)
        except click.ClickException as error:
            code = _told(error.format_message(), {"message": error.format_message()}, as_json)
        except RuntimeFault as fault:
            code = _told(fault.explain(), fault.to_dict(), as_json)
            if isinstance(fault, StoreCorrupt):
                code = Exit.INTEGRITY
        sys.exit(int(code) if isinstance(code, int) else 0)


def _told(text: str, data: dict[str, Any], as_json: bool) -> Exit:
    if as_json:
        console.write_json({"error": data})
    else:
        console.say(f"error: {visible(text, lines=True)}", style="red", stderr=True)
    return Exit.ERROR


def _usage(error: click.UsageError, as_json: bool) -> Exit:
    if as_json:
        console.write_json({"error": {"code": "usage", "message": error.format_message()}})
        return Exit.USAGE
    if error.ctx is not None:
        console.say(error.ctx.get_usage(), stderr=True, whole=True)
        console.say(f"try: {error.ctx.command_path} --help", style="bright_black", stderr=True)
    console.say(f"error: {visible(error.format_message(), lines=True)}", style="red", stderr=True)
    return Exit.USAGE


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        console.say(f"abstractruntime {version('abstractruntime')}")
        ctx.exit()


@click.group(
    "abstractruntime",
    cls=Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@shared_options
@click.pass_context
def root(ctx: click.Context) -> None:
    """Run workflow graphs durably, look at their runs, and answer what they wait for.

    RUN is a run's id or a prefix of it that no other run shares. Exit codes: 0 ok or completed,
    1 error, 2 usage, 3 the run failed, 4 it was cancelled, 5 integrity, 6 it waits,
    130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        console.say(ctx.get_help(), whole=True)
        ctx.exit(Exit.USAGE)
    # Errors are told by the commands; a library that logs would tell them twice.
    logging.getLogger("abstractruntime").addHandler(logging.NullHandler())


for made in (
    demo,
    *moves.COMMANDS,
    *pauses.COMMANDS,
    *looks.COMMANDS,
    *whys.COMMANDS,
    *answers.COMMANDS,
    *holds.COMMANDS,
    *approvals.COMMANDS,
    *mail.COMMANDS,
    *budgets.COMMANDS,
    *health.COMMANDS,
    *graphs.COMMANDS,
    *snapshots.COMMANDS,
):
    root.add_command(made)
