"""answer: what a run asks a person reaches it from the command line."""

from __future__ import annotations

import math
import sys
from typing import Any

import click

from abstractruntime.cli.after import (
    branches_text,
    mover,
    report,
    wait_id_of,
    wait_text,
    workflow_of,
)
from abstractruntime.cli.commands.approvals import (
    actor_of,
    actor_option,
    asked,
    bound,
    show,
)
from abstractruntime.cli.commands.moves import follow
from abstractruntime.cli.console import paragraph, progress, safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.given import JsonValue, Parsed
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.machine.approval import digest_of
from abstractruntime.core.machine.mail import keys_of
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, wait_from_dict
from abstractruntime.errors import ChoiceRefused, NeedsResolve, NotWaiting, WaitKeyMismatch

TAKES_ANSWERS = frozenset({WaitReason.USER, WaitReason.JOB})


@command("answer")
@click.argument("run_id", metavar="RUN")
@click.argument("answer_", metavar="[ANSWER]", required=False)
@click.option("--text", help="Answer with this text.")
@click.option("--choice", help="Answer with this, which must be one of the choices.")
@click.option("--payload", type=JsonValue(), help="Answer with this value.")
@click.option("--to", metavar="KEY|NUMBER", help="Of several open waits the one to answer.")
@actor_option
def answer(
    session: Session,
    run_id: str,
    answer_: str | None,
    text: str | None,
    choice: str | None,
    payload: Parsed | None,
    to: str | None,
    actor: str | None,
) -> Exit:
    """Answer what a run asks, and move it on.

    The workflow gets ANSWER, TEXT or CHOICE as text, and a payload as the value it is. Without
    any, on a terminal, the question is asked here. The answer is for the wait that is open when the
    command begins: if somebody else answers first, this one is refused. An effect that has to be
    approved is shown first: answer approve or reject.
    """
    given = [value for value in (answer_, text, choice, payload) if value is not None]
    if len(given) > 1:
        raise click.UsageError("give one of ANSWER, --text, --choice and --payload")
    runtime = mover(session)
    found = session.run_id(run_id)
    run = runtime.get_state(found)
    waiting, wait_id = _question(session, run, to)
    step = asked(run)
    digest = None
    if step is not None:
        digest = digest_of(step.effect) if session.json else show(step)
    said: Any = text if text is not None else answer_
    if choice is not None:
        said = _chosen(waiting, choice)
    elif payload is not None:
        said = payload.value
    elif said is None:
        said = _asked(waiting)
    if step is not None and digest is not None:
        said, actor = bound(step, said, digest), actor_of(actor)
    workflow = workflow_of(session, run)
    with progress("answering", quiet=session.json) as line:
        follow(runtime, line)
        after = runtime.resume(
            workflow=workflow,
            run_id=found,
            wait_key=waiting.wait_key,
            wait_id=wait_id,
            payload=said,
            actor_id=actor,
            max_steps=math.inf,
        )
    return report(session, after)


def _question(session: Session, run: RunState, to: str | None) -> tuple[WaitState, str | None]:
    """The wait that an answer is for, and its id. Raises NotWaiting, NeedsResolve, WaitKeyMismatch.

    Raises click.UsageError listing the open waits when it is not told which of several is meant.
    """
    at = run.checkpoint
    if at is not None and at.join is not None and run.status not in ENDED:
        branch = _branch(at, to)
        opened = at.waits[branch]
        _refuse_unknown(session, run, at, branch)
        waiting = wait_from_dict(opened.wait or {})
        _refuse_other(session, run, waiting)
        return waiting, opened.wait_id
    short = session.short(run.run_id)
    if run.status is not RunStatus.WAITING or run.waiting is None:
        raise NotWaiting(
            f"Run '{safe(run.run_id, 60)}' is not waiting (status={run.status.value})",
            run_id=run.run_id,
            fix=f"look at it: {session.command('show', short)}",
        )
    if to is not None and to not in keys_of(run.waiting):
        raise WaitKeyMismatch(
            f"Run '{safe(run.run_id, 60)}' does not wait for '{safe(to, 60)}'",
            run_id=run.run_id,
            fix=f"look at it: {session.command('why', short)}",
        )
    if at is not None:
        _refuse_unknown(session, run, at, MAIN)
    _refuse_other(session, run, run.waiting)
    return run.waiting, wait_id_of(run)


def _refuse_unknown(session: Session, run: RunState, at: Checkpoint, branch: str) -> None:
    step = at.open_steps.get(branch)
    if step is None or step.unknown is None:
        return
    words = ("resolve", session.short(run.run_id), "--completed", "{}")
    raise NeedsResolve(
        f"Run '{safe(run.run_id, 60)}' waits for what became of a step, not for an answer",
        run_id=run.run_id,
        fix=f"say it: {session.command(*words)} (or --retry, or --fail)",
    )


def _refuse_other(session: Session, run: RunState, waiting: WaitState) -> None:
    if waiting.reason in TAKES_ANSWERS:
        return
    short = session.short(run.run_id)
    fix = f"look at it: {session.command('show', short)}"
    if waiting.reason is WaitReason.EVENT:
        fix = f"send it: {session.command('send', short, waiting.wait_key or 'NAME', app=True)}"
    elif waiting.reason is WaitReason.SUBWORKFLOW:
        child = str((waiting.details or {}).get("sub_run_id"))
        fix = f"answer its child: {session.command('answer', child, app=True)}"
    raise NotWaiting(
        f"Run '{safe(run.run_id, 60)}' does not wait for a person "
        f"({wait_text(waiting).partition(chr(10))[0]})",
        run_id=run.run_id,
        fix=fix,
    )


def _branch(at: Checkpoint, to: str | None) -> str:
    """The branch whose wait is meant, by its number or its key. Raises click.UsageError."""
    if to is not None:
        by_key = [branch for branch, wait in at.waits.items() if wait.key == to]
        found = by_key or [branch for branch in at.waits if branch == to]
        if len(found) == 1:
            return found[0]
    answerable = [
        branch
        for branch, wait in at.waits.items()
        if WaitReason((wait.wait or {}).get("reason") or "event") in TAKES_ANSWERS
    ]
    if to is None and len(answerable) == 1:
        return answerable[0]
    first = "which of them? Name one by --to" if to is None else f"no open wait is '{safe(to, 60)}'"
    raise click.UsageError(f"{first}:\n{branches_text(at)}")


def _chosen(waiting: WaitState, choice: str) -> str:
    if not waiting.choices or choice not in waiting.choices:
        offered = ", ".join(waiting.choices or ()) or "none"
        raise ChoiceRefused(
            f"'{choice}' is not one of the choices: {offered}",
            found=choice,
            fix="choose one of them" if waiting.choices else "answer with --text or --payload",
        )
    return choice


def _asked(waiting: WaitState) -> str:
    """Ask on the terminal. Raises click.UsageError when there is none."""
    if waiting.reason is WaitReason.JOB:
        raise click.UsageError("a job's answer is data: give it with --payload")
    if not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on: give ANSWER, --text, --choice or --payload"
        )
    return ask(waiting)


def ask(waiting: WaitState) -> str:
    """Ask the person at the terminal until the answer fits the choices."""
    say(paragraph(waiting.prompt or "An answer is needed.", ""))
    choices = waiting.choices or []
    for number, choice in enumerate(choices, start=1):
        say(f"  {number}) {safe(choice)}")
    while True:
        said: str = click.prompt("answer", prompt_suffix="> ", type=str)
        if said.isdecimal() and said not in choices and 0 < int(said) <= len(choices):
            return choices[int(said) - 1]
        if said in choices or not choices or waiting.allow_free_text:
            return said
        say(f"one of: {', '.join(safe(choice) for choice in choices)}", style="yellow")


COMMANDS = (answer,)
