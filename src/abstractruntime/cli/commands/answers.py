"""answer: what a run asks a person reaches it from the command line."""

from __future__ import annotations

import math
import sys
from typing import Any

import click

from abstractruntime.cli.after import mover, report, wait_id_of, wait_text, workflow_of
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
from abstractruntime.core.machine.approval import digest_of
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.errors import ChoiceRefused, NotWaiting

TAKES_ANSWERS = frozenset({WaitReason.USER, WaitReason.JOB})


@command("answer")
@click.argument("run_id", metavar="RUN")
@click.argument("answer_", metavar="[ANSWER]", required=False)
@click.option("--text", help="Answer with this text.")
@click.option("--choice", help="Answer with this, which must be one of the choices.")
@click.option("--payload", type=JsonValue(), help="Answer with this value.")
@actor_option
def answer(
    session: Session,
    run_id: str,
    answer_: str | None,
    text: str | None,
    choice: str | None,
    payload: Parsed | None,
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
    waiting = _question(session, run)
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
            wait_id=wait_id_of(run),
            payload=said,
            actor_id=actor,
            max_steps=math.inf,
        )
    return report(session, after)


def _question(session: Session, run: RunState) -> WaitState:
    """The wait that an answer is for. Raises NotWaiting."""
    short = session.short(run.run_id)
    waiting = run.waiting
    if run.status is not RunStatus.WAITING or waiting is None:
        raise NotWaiting(
            f"Run '{safe(run.run_id, 60)}' is not waiting (status={run.status.value})",
            run_id=run.run_id,
            fix=f"look at it: {session.command('show', short)}",
        )
    if waiting.reason not in TAKES_ANSWERS:
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
    return waiting


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
