"""why: why a run stands where it does, in words."""

from __future__ import annotations

import click

from abstractruntime.cli.console import say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.inspect.explain import explain
from abstractruntime.inspect.why import why


@command("why")
@click.argument("run_id", metavar="RUN")
def why_(session: Session, run_id: str) -> Exit:
    """Say why a run stands where it does, and what can be done.

    It needs the store alone and changes nothing.
    """
    now = session.now()
    found = why(session.store, session.run_id(run_id), now=now)
    said = explain(found, now=now)
    commands = [session.command(*way.words, app=way.app) for way in found.ways]
    if session.json:
        session.write({**found.to_dict(), "said": said, "next": commands})
        return Exit.OK
    say(said)
    for number, line in enumerate(commands):
        say(f"{'  or' if number else 'next'}: {line}", style="" if number else "bold", whole=True)
    return Exit.OK


COMMANDS = (why_,)
