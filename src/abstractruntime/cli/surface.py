"""What every command shares: --store, --app and --json, and the session they describe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import wraps
from typing import Any

import click

from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import APP_VARIABLE, DEFAULT_STORE, STORE_VARIABLE, Session


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--store, --app and --json; whichever stands nearer to the end of the line counts."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
            session = ctx.find_root().ensure_object(Session)
            if value:
                setattr(session, name, value)

        return callback

    options = (
        click.option(
            "--store",
            metavar="URL",
            callback=keep("store_url"),
            expose_value=False,
            help=f"Where runs are kept [{STORE_VARIABLE}, else {DEFAULT_STORE}].",
        ),
        click.option(
            "--app",
            metavar="APP",
            callback=keep("app_name"),
            expose_value=False,
            help="The program with the workflows: path.py:name or pkg.module:name "
            f"[{APP_VARIABLE}].",
        ),
        click.option(
            "--json",
            is_flag=True,
            callback=keep("json"),
            expose_value=False,
            help="One JSON document on standard output, also for an error.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def command(name: str, **settings: Any) -> Callable[[Callable[..., Exit]], click.Command]:
    """A command of the root with the shared options, given its Session; returns an exit code.

    With --json standard output belongs to the document: what a program prints goes to the other.
    """

    def register(function: Callable[..., Exit]) -> click.Command:
        @wraps(function)
        def invoke(*arguments: Any, **options: Any) -> Exit:
            session = click.get_current_context().find_root().ensure_object(Session)
            session.stream = sys.stdout
            try:
                if not session.json:
                    return function(session, *arguments, **options)
                with redirect_stdout(sys.stderr):
                    return function(session, *arguments, **options)
            finally:
                session.close()

        decorate: Callable[[Any], click.Command] = click.command(name, **settings)
        return decorate(shared_options(invoke))

    return register
