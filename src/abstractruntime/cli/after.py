"""What to say when a run stops moving: how it stands, what it waits for, and what to type next."""

from __future__ import annotations

from typing import Any

from abstractruntime.cli.console import STYLES, json_text, paragraph, safe, say
from abstractruntime.cli.exits import Exit, exit_of
from abstractruntime.cli.session import Session
from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.machine.mail import keys_of
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    WaitReason,
    WaitState,
    wait_from_dict,
    wait_to_dict,
)
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine.runtime import Runtime
from abstractruntime.inspect.ways import ways_on

LONGEST_OUTPUT = 4000
"""Characters of an output that are worth showing; --json has all of it."""

MOST_SHOWN = 10
"""Open waits of branches that are shown one by one."""


def report(session: Session, run: RunState) -> Exit:
    """Say how the run stands and what to do next; the exit code for it."""
    commands = next_commands(session, run)
    if session.json:
        session.write(standing_document(run, commands))
        return exit_of(run.status)
    where = f" at {safe(run.current_node, 60)}" if run.status is not RunStatus.COMPLETED else ""
    phase = phase_of(run)
    over = f" ({phase})" if phase else ""
    say(f"{run.status.value}{over}{where}", style=STYLES[run.status.value])
    if run.status is RunStatus.COMPLETED:
        text = json_text(run.output)
        if len(text) > LONGEST_OUTPUT:
            text = f"{text[:LONGEST_OUTPUT]}\n… ({len(text):,} characters; --json shows all)"
        say(text, whole=True)
    elif run.status in (RunStatus.FAILED, RunStatus.CANCELLED) and run.error:
        say(paragraph(run.error))
    elif run.waiting is not None:
        say(paragraph(standing_text(run)))
    for number, line in enumerate(commands):
        first = number == 0
        say(f"{'next' if first else '  or'}: {line}", style="bold" if first else "", whole=True)
    return exit_of(run.status)


def standing_text(run: RunState) -> str:
    """What the run waits for: the unknown outcome, the open branches, or its one wait."""
    at = run.checkpoint
    if at is not None and at.join is not None:
        return branches_text(at)
    if at is not None and any(step.unknown is not None for step in at.open_steps.values()):
        return f"waits for somebody's word\n{run.waiting.prompt if run.waiting else ''}"
    return "" if run.waiting is None else wait_text(run.waiting)


def branches_text(at: Checkpoint) -> str:
    """The open waits of branches, up to `MOST_SHOWN` of them, each with its number."""
    said = []
    order = sorted(at.waits, key=int)
    for branch in order[:MOST_SHOWN]:
        wait = wait_from_dict({"reason": "event", **(at.waits[branch].wait or {})})
        about = wait_text(wait).replace("\n", ": ", 1).replace("\n", "; ")
        said.append(f"branch {branch} {about}")
    more = len(order) - len(said)
    steps = sum(step.unknown is None for step in at.open_steps.values())
    if more:
        said.append(f"and {more:,} more branches")
    if steps:
        said.append(f"{steps:,} {'branch has' if steps == 1 else 'branches have'} an open step")
    return "\n".join(said)


def standing_document(run: RunState, commands: list[str]) -> dict[str, Any]:
    """How a run stands, for --json."""
    return {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status.value,
        "phase": phase_of(run),
        "node": run.current_node,
        "output": run.output,
        "error": run.error,
        "waiting": None if run.waiting is None else wait_to_dict(run.waiting),
        "wait_id": wait_id_of(run),
        **_rare(run),
        "next": commands,
    }


def _rare(run: RunState) -> dict[str, Any]:
    """What is only there when it is: a pause, open branches, an unknown outcome."""
    at = run.checkpoint
    if at is None:
        return {}
    said: dict[str, Any] = {}
    if at.terms.paused is not None:
        said["paused"] = at.terms.paused
    unknown = [
        {"branch": step.branch, "node_id": step.node_id, "step_id": step.step_id,
         "why": step.unknown}
        for step in at.open_steps.values()
        if step.unknown is not None
    ]  # fmt: skip
    if unknown:
        said["unknown"] = unknown
    if at.join is not None:
        said["branches"] = {
            **at.join.to_dict(),
            "waits": [
                {"branch": branch, "wait_id": wait.wait_id, **(wait.wait or {})}
                for branch, wait in sorted(at.waits.items(), key=lambda item: int(item[0]))
            ],
        }
    return said


def phase_of(run: RunState) -> str | None:
    """What is over the run's status: paused, cancelling, failing, completing; None: nothing."""
    ended = run.checkpoint is None or run.status in ENDED
    return None if ended or run.checkpoint is None else run.checkpoint.terms.phase


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
    ways = ways_on(session.store, run, session.short)
    return [session.command(*way.words, app=way.app) for way in ways]


def workflow_of(session: Session, run: RunState) -> WorkflowSpec:
    """The workflow a run was started with, from the program. Raises UnknownWorkflow."""
    return session.app.workflow(run.workflow_id)


def mover(session: Session) -> Runtime:
    """A runtime that can move runs; that no program was named is said before all else."""
    _ = session.app
    return session.runtime
