"""resolve, reopen: a person's word on a run, which moves nothing by itself."""

from __future__ import annotations

import click

from abstractruntime.cli.after import next_commands, standing_document
from abstractruntime.cli.console import say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.given import JsonValue, Parsed
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.models import RunState
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.runtime import Runtime

reason_option = click.option("--reason", help="Why; it stands in the ledger.")
actor_option = click.option("--actor", metavar="ID", help="Who says so; it stands in the ledger.")


@command("resolve")
@click.argument("run_id", metavar="RUN")
@click.option("--completed", type=JsonValue(), help="It was performed, with this result.")
@click.option("--retry", is_flag=True, help="It was not performed: try again.")
@click.option("--fail", is_flag=True, help="Give it up.")
@reason_option
@actor_option
def resolve(
    session: Session,
    run_id: str,
    completed: Parsed | None,
    retry: bool,
    fail: bool,
    reason: str | None,
    actor: str | None,
) -> Exit:
    """Say what became of a step whose outcome nobody knows; moves nothing by itself."""
    if (completed is not None) + retry + fail != 1:
        raise click.UsageError("give one of --completed, --retry and --fail")
    outcome: EffectOutcome | str = "retry" if retry else "fail"
    if completed is not None:
        outcome = EffectOutcome.completed(completed.value)
    found = session.run_id(run_id)
    after = _runtime(session).resolve(found, outcome=outcome, reason=reason, actor_id=actor)
    return _told(session, after, f"resolved {found}: {after.status.value}")


@command("reopen")
@click.argument("run_id", metavar="RUN")
@reason_option
@actor_option
def reopen(session: Session, run_id: str, reason: str | None, actor: str | None) -> Exit:
    """Let a failed run go on at the node where it failed; moves nothing by itself."""
    found = session.run_id(run_id)
    after = _runtime(session).reopen(found, actor_id=actor, reason=reason)
    return _told(session, after, f"reopened {found}")


def _runtime(session: Session) -> Runtime:
    """The store alone is enough: no program has to be loaded."""
    return Runtime(store=session.store)


def _told(session: Session, run: RunState, said: str) -> Exit:
    commands = next_commands(session, run)
    if session.json:
        session.write(standing_document(run, commands))
        return Exit.OK
    say(said)
    for line in commands[:1]:
        say(f"next: {line}", style="bold", whole=True)
    return Exit.OK


COMMANDS = (resolve, reopen)
