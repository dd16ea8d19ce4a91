"""pause, unpause: the commands that hold runs and let them go on."""

from __future__ import annotations

import click

from abstractruntime.cli.after import next_commands, standing_document
from abstractruntime.cli.console import say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.models import RunState
from abstractruntime.engine.runtime import Runtime


@command("pause")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; it stands in the ledger.")
@click.option("--actor", metavar="ID", help="Who says so; it stands in the ledger.")
@click.option("--tree", is_flag=True, help="And every run below it that has not ended.")
def pause(session: Session, run_id: str, reason: str | None, actor: str | None, tree: bool) -> Exit:
    """Hold a run: nobody moves it until it is unpaused.

    An attempt that is under way is finished. Its timers and messages stand.
    """
    found = session.run_id(run_id)
    run = Runtime(store=session.store).pause_run(found, reason=reason, actor_id=actor, tree=tree)
    return _told(session, run, f"paused {found}", tree)


@command("unpause")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; it stands in the ledger.")
@click.option("--actor", metavar="ID", help="Who says so; it stands in the ledger.")
@click.option("--tree", is_flag=True, help="And every run below it.")
def unpause(
    session: Session, run_id: str, reason: str | None, actor: str | None, tree: bool
) -> Exit:
    """Let a paused run be moved again; nothing is executed."""
    found = session.run_id(run_id)
    run = Runtime(store=session.store).unpause_run(found, reason=reason, actor_id=actor, tree=tree)
    return _told(session, run, f"unpaused {found}", tree)


def _told(session: Session, run: RunState, done: str, tree: bool) -> Exit:
    commands = next_commands(session, run)
    if session.json:
        session.write(standing_document(run, commands))
        return Exit.OK
    say(f"{done} and the runs below it" if tree else done)
    for line in commands[:1]:
        say(f"next: {line}", style="bold", whole=True)
    return Exit.OK


COMMANDS = (pause, unpause)
