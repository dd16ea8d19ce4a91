"""approve, reject: an effect that waits for somebody's word, shown exactly as it is stored."""

from __future__ import annotations

import getpass
import math
from collections.abc import Callable
from typing import Any

import click

from abstractruntime.cli.after import LONGEST_OUTPUT, mover, report, wait_id_of, workflow_of
from abstractruntime.cli.commands.moves import follow
from abstractruntime.cli.console import json_text, progress, safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.given import JsonValue, Parsed
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.checkpoint import MAIN, OpenStep
from abstractruntime.core.machine.approval import digest_of
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.errors import NotWaiting

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

actor_option: Decorator = click.option(
    "--actor",
    envvar="ABSTRACTRUNTIME_ACTOR",
    help="Who answers [ABSTRACTRUNTIME_ACTOR, else your login name].",
)


@command("approve")
@click.argument("run_id", metavar="RUN")
@click.option("--payload", type=JsonValue(only_object=True), help="Approve it with this payload.")
@actor_option
def approve(session: Session, run_id: str, payload: Parsed | None, actor: str | None) -> Exit:
    """Approve the effect that a run asks about, and move the run on.

    The effect is shown first, with its digest: what is approved is that, and nothing that somebody
    puts in its place. With --payload it is edited: others who approved have to do so again.
    """
    said: dict[str, Any] = {"decision": "approve"}
    if payload is not None:
        said = {"decision": "edit", "payload": payload.value}
    return _decide(session, run_id, said, actor)


@command("reject")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; it stands in the ledger and reaches the workflow.")
@actor_option
def reject(session: Session, run_id: str, reason: str | None, actor: str | None) -> Exit:
    """Reject the effect that a run asks about: it is not performed."""
    said = {"decision": "reject", **({} if reason is None else {"reason": reason})}
    return _decide(session, run_id, said, actor)


def asked(run: RunState) -> OpenStep | None:
    """The step that waits for approval."""
    step = None if run.checkpoint is None else run.checkpoint.open_steps.get(MAIN)
    waits = run.status is RunStatus.WAITING and step is not None and step.approval is not None
    return step if waits else None


def show(step: OpenStep) -> str:
    """Say what is asked about; the digest of what was shown."""
    effect, digest = step.effect, digest_of(step.effect)
    text = json_text(effect["payload"])
    if len(text) > LONGEST_OUTPUT:
        text = f"{text[:LONGEST_OUTPUT]}\n… ({len(text):,} characters; the ledger has all)"
    say(f"{safe(effect['type'], 60)} at {safe(step.node_id, 60)}")
    say(text, whole=True)
    options = {name: said for name, said in (effect.get("options") or {}).items() if said}
    if options:
        say(f"options {json_text(options)}", whole=True)
    say(f"digest {digest}", whole=True)
    return digest


def bound(step: OpenStep, said: Any, digest: str) -> Any:
    """The answer, for nothing but the effect of that digest."""
    if isinstance(said, str):
        said = {"decision": said}
    return {"digest": digest, **said} if isinstance(said, dict) else said


def actor_of(given: str | None) -> str:
    """Who answers, as given or as logged in. Raises click.UsageError when nobody is."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise click.UsageError("nobody is logged in: say who answers with --actor") from None


def _decide(session: Session, run_id: str, said: dict[str, Any], actor: str | None) -> Exit:
    runtime = mover(session)
    found = session.run_id(run_id)
    run = runtime.get_state(found)
    step = asked(run)
    if step is None or run.waiting is None:
        raise NotWaiting(
            f"Run '{safe(found, 60)}' asks for no approval (status={run.status.value})",
            run_id=found,
            fix=f"look at it: {session.command('show', session.short(found))}",
        )
    digest = digest_of(step.effect) if session.json else show(step)
    with progress("answering", quiet=session.json) as line:
        follow(runtime, line)
        after = runtime.resume(
            workflow=workflow_of(session, run),
            run_id=found,
            wait_key=run.waiting.wait_key,
            wait_id=wait_id_of(run),
            payload=bound(step, said, digest),
            actor_id=actor_of(actor),
            max_steps=math.inf,
        )
    return report(session, after)


COMMANDS = (approve, reject)
