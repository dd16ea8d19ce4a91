"""What to say when a run stops moving: how it stands, what it waits for, and what to type next."""

from __future__ import annotations

from typing import Any

from abstractruntime.cli.console import STYLES, json_text, paragraph, safe, say
from abstractruntime.cli.exits import Exit, exit_of
from abstractruntime.cli.session import Session
from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.machine.mail import keys_of
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, wait_to_dict
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine.runtime import Runtime

LONGEST_OUTPUT = 4000
"""Characters of an output that are worth showing; --json has all of it."""


def report(session: Session, run: RunState) -> Exit:
    """Say how the run stands and what to do next; the exit code for it."""
    commands = next_commands(session, run)
    if session.json:
        session.write(standing_document(run, commands))
        return exit_of(run.status)
    where = f" at {safe(run.current_node, 60)}" if run.status is not RunStatus.COMPLETED else ""
    say(f"{run.status.value}{where}", style=STYLES[run.status.value])
    if run.status is RunStatus.COMPLETED:
        text = json_text(run.output)
        if len(text) > LONGEST_OUTPUT:
            text = f"{text[:LONGEST_OUTPUT]}\n… ({len(text):,} characters; --json shows all)"
        say(text, whole=True)
    elif run.status in (RunStatus.FAILED, RunStatus.CANCELLED) and run.error:
        say(paragraph(run.error))
    elif run.waiting is not None:
        say(paragraph(wait_text(run.waiting)))
    for number, line in enumerate(commands):
        first = number == 0
        say(f"{'next' if first else '  or'}: {line}", style="bold" if first else "", whole=True)
    return exit_of(run.status)


def standing_document(run: RunState, commands: list[str]) -> dict[str, Any]:
    """How a run stands, for --json."""
    return {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status.value,
        "node": run.current_node,
        "output": run.output,
        "error": run.error,
        "waiting": None if run.waiting is None else wait_to_dict(run.waiting),
        "wait_id": wait_id_of(run),
        "next": commands,
    }


def wait_id_of(run: RunState) -> str | None:
    """The id of the open wait."""
    opened = run.checkpoint.waits.get(MAIN) if run.checkpoint else None
    return None if opened is None else opened.wait_id


def wait_text(waiting: WaitState) -> str:
    """What a run waits for, with its question and choices, on lines of their own."""
    match waiting.reason:
        case WaitReason.UNTIL:
            return f"waits until {waiting.until}"
        case WaitReason.SUBWORKFLOW:
            details = waiting.details or {}
            child = f"waits for child run {details.get('sub_run_id') or waiting.wait_key}"
            below = details.get("sub_waiting") or {}
            reason = "a person" if below.get("reason") == "user" else below.get("reason")
            return f"{child}, which waits for {reason}" if below else child
        case WaitReason.EVENT:
            said = f"waits for the event {' or '.join(keys_of(waiting)) or waiting.wait_key}"
        case WaitReason.JOB:
            said = f"waits for a job to answer {waiting.wait_key}"
        case WaitReason.USER:
            said = "waits for a person"
    if waiting.until is not None:
        said += f", until {waiting.until}"
    if waiting.prompt:
        said += f"\n{waiting.prompt}"
    if waiting.choices:
        said += f"\nchoices: {', '.join(waiting.choices)}"
        said += " (or free text)" if waiting.allow_free_text else ""
    return said


def next_commands(session: Session, run: RunState) -> list[str]:
    """Command lines that would move the run on, likeliest first."""
    short = session.short(run.run_id)
    match run.status:
        case RunStatus.RUNNING:
            return [session.command("continue", short, app=True)]
        case RunStatus.WAITING if run.waiting is not None:
            return _answers(session, run, run.waiting, short)
        case RunStatus.FAILED:
            return [*_parent(session, run), session.command("ledger", short)]
        case _:
            return _parent(session, run)


def _parent(session: Session, run: RunState) -> list[str]:
    """A parent that waits for this run's end can go on."""
    loaded = session.store.load(run.parent_run_id) if run.parent_run_id else None
    waiting = None if loaded is None else loaded.run.waiting
    if loaded is None or waiting is None or waiting.reason is not WaitReason.SUBWORKFLOW:
        return []
    if (waiting.details or {}).get("sub_run_id") != run.run_id:
        return []
    return [session.command("continue", session.short(loaded.run.run_id), app=True)]


def _answers(session: Session, run: RunState, waiting: WaitState, short: str) -> list[str]:
    match waiting.reason:
        case WaitReason.UNTIL:
            return [session.command("continue", short, "--wait", app=True)]
        case WaitReason.EVENT:
            key = waiting.wait_key or ""
            return [session.command("send", short, key, "--payload", "{}", app=True)]
        case WaitReason.JOB:
            return [session.command("answer", short, "--payload", "@result.json", app=True)]
        case WaitReason.SUBWORKFLOW:
            child = (waiting.details or {}).get("sub_run_id")
            loaded = session.store.load(child) if isinstance(child, str) else None
            below = [] if loaded is None else next_commands(session, loaded.run)
            return [*below, session.command("continue", short, app=True)]
        case WaitReason.USER if waiting.choices:
            return [
                session.command("answer", short, *_as_word(choice), app=True)
                for choice in waiting.choices[:4]
            ]
        case WaitReason.USER:
            return [session.command("answer", short, "your answer", app=True)]


def _as_word(choice: str) -> list[str]:
    """A choice as an argument; one that looks like an option needs its own."""
    return ["--choice", choice] if choice.startswith("-") else [choice]


def workflow_of(session: Session, run: RunState) -> WorkflowSpec:
    """The workflow a run was started with, from the program. Raises UnknownWorkflow."""
    return session.app.workflow(run.workflow_id)


def mover(session: Session) -> Runtime:
    """A runtime that can move runs; that no program was named is said before all else."""
    _ = session.app
    return session.runtime
