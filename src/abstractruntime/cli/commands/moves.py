"""run, continue, cancel: the commands that start and move runs."""

from __future__ import annotations

import math
import time

import click

from abstractruntime.cli.after import mover, next_commands, report, standing_document, workflow_of
from abstractruntime.cli.commands.backlog import settle
from abstractruntime.cli.console import Progress, progress, safe, say
from abstractruntime.cli.exits import Exit, exit_of, gravest
from abstractruntime.cli.given import JsonValue, Parsed
from abstractruntime.cli.loading import load_app
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.commit import Commit
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.times import normal, seconds_between
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import RunBusy

LOOK_S = 0.5
"""How often a waiting command looks whether somebody else has moved the run."""


@command("run")
@click.argument("program", metavar="APP[:WORKFLOW_ID]", required=False)
@click.option("--vars", "vars_", type=JsonValue(only_object=True), help="The run's variables.")
@click.option("--deadline", metavar="TIME", help="The run fails when it has not ended by then.")
def run(session: Session, program: str | None, vars_: Parsed | None, deadline: str | None) -> Exit:
    """Start a run and move it until it ends or waits.

    APP is path.py:name or pkg.module:name, with :WORKFLOW_ID behind it when the program has
    several workflows. Left out, it is that of --app.
    """
    if program:
        session.app = load_app(program)
        session.app_name = session.app.name
    workflow = session.app.workflow()
    session.create_store()
    runtime = session.runtime
    given = vars_.value if vars_ else None
    run_id = runtime.start(workflow=workflow, vars=given, deadline=deadline)
    say(f"run {run_id}", stderr=session.json, whole=True)
    try:
        with progress("starting", quiet=session.json) as line:
            follow(runtime, line)
            state = runtime.tick(workflow=workflow, run_id=run_id, max_steps=math.inf)
    except KeyboardInterrupt:
        again = session.command("continue", session.short(run_id), app=True)
        say(f"next: {again}", stderr=session.json, whole=True)
        raise
    return report(session, state)


@command("continue")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--wait", is_flag=True, help="Stay until it has ended or waits for a person or an event."
)
def continue_(session: Session, run_id: str | None, wait: bool) -> Exit:
    """Go on with a run, or with all that were left or are due.

    Without RUN, runs that a host drives by itself (parked) are left alone: name them.
    """
    runtime = mover(session)
    if run_id is None:
        return _continue_all(session, runtime, wait=wait)
    found = session.run_id(run_id)
    workflow = workflow_of(session, runtime.get_state(found))
    with progress("continuing", quiet=session.json) as line:
        follow(runtime, line)
        while True:
            try:
                state = runtime.tick(workflow=workflow, run_id=found, max_steps=math.inf)
            except RunBusy:
                if not wait:
                    raise
                line.tell("another process moves the run")
                time.sleep(LOOK_S)
                continue
            due = _due_in(runtime, state) if wait else None
            if due is None:
                return report(session, state)
            line.tell(f"waits until {state.waiting.until if state.waiting else 'its time'}")
            time.sleep(min(max(due, 0.0), LOOK_S))


def _due_in(runtime: Runtime, run: RunState) -> float | None:
    """Seconds until a clock moves the run or the child it waits for; None: no clock does."""
    if run.status in ENDED:
        return None
    at = run.checkpoint
    waiting = run.waiting
    wake = at.wake_at(waiting.until if waiting else None) if at else None
    if wake is not None:
        return seconds_between(runtime.now_iso(), normal(wake))
    if waiting is not None and waiting.reason is WaitReason.SUBWORKFLOW:
        child = (waiting.details or {}).get("sub_run_id")
        loaded = runtime.store.load(child) if isinstance(child, str) else None
        return None if loaded is None else _due_in(runtime, loaded.run)
    # Left running by this command: another driver has the run, or a child of it.
    return LOOK_S if run.status is RunStatus.RUNNING else None


def _continue_all(session: Session, runtime: Runtime, *, wait: bool) -> Exit:
    moved: dict[str, RunState] = {}

    def tell(state: RunState) -> None:
        moved[state.run_id] = state
        if not session.json:
            status = state.status.value
            say(f"{session.short(state.run_id)}  {safe(state.workflow_id, 40)}  {status}")

    with progress("continuing", quiet=session.json) as line:
        left = settle(session.app, runtime, wait=wait, tell=tell, line=line)
    codes = {exit_of(state.status) for state in moved.values()}
    if left.failed:
        codes.add(Exit.ERROR)
    if session.json:
        session.write(
            {
                "moved": [
                    standing_document(state, next_commands(session, state))
                    for state in moved.values()
                ],
                "not_moved": [
                    {"run_id": run_id, "error": error} for run_id, error in left.failed.items()
                ],
                "parked": left.parked,
            }
        )
        return gravest(codes)
    for run_id, error in left.failed.items():
        say(f"{session.short(run_id)}  not moved: {safe(error, 300)}", style="red", stderr=True)
    if not moved and not left.failed:
        say("nothing to continue")
    if left.parked:
        first = session.command("continue", session.short(left.parked[0]), app=True)
        say(f"{len(left.parked):,} parked, left to their host; to move one:")
        say(f"next: {first}", whole=True)
    return gravest(codes)


@command("cancel")
@click.argument("run_id", metavar="RUN")
@click.option("--reason", help="Why; it stands in the ledger and as the run's error.")
@click.option("--tree", is_flag=True, help="And every run below it that has not ended.")
def cancel(session: Session, run_id: str, reason: str | None, tree: bool) -> Exit:
    """Cancel a run. One that has ended stays as it is.

    A driver that is moving the run finds out at its next commit. A run with something to undo, and
    with --tree one that is being moved, is cancelled when that is done.
    """
    found = session.run_id(run_id)
    # Cancelling needs the store alone: no program has to be loaded for it.
    runtime = Runtime(store=session.store)
    before = runtime.get_state(found)
    ended = runtime.cancel_tree(found, reason=reason) if tree else []
    after = runtime.get_state(found) if tree else runtime.cancel_run(found, reason=reason)
    cancelled = after.status is RunStatus.CANCELLED
    if session.json:
        gone = before.status not in ENDED and cancelled
        document = {"cancelled": gone, **standing_document(after, [])}
        if tree:
            document["tree"] = [run.run_id for run in ended]
        session.write(document)
    elif tree and ended:
        say(f"cancelled {len(ended):,} of the tree of {found}")
    elif before.status in ENDED:
        say(f"{found} had ended already: {before.status.value}; nothing was changed")
    elif cancelled:
        say(f"cancelled {found}")
    if after.status not in ENDED:
        say(f"{found} is cancelling: whoever moves it ends it", stderr=session.json)
        return Exit.OK
    return Exit.OK if cancelled else exit_of(after.status)


def follow(runtime: Runtime, line: Progress) -> None:
    """Show on the line where the runs are that this process moves."""
    steps = 0

    def committed(commit: Commit) -> None:
        nonlocal steps
        steps += sum(entry.record["status"] == "completed" for entry in commit.records)
        run, at = commit.run, commit.run.checkpoint
        visit = at.visits.get(run.current_node, 1) if at else 1
        times = f" ×{visit}" if visit > 1 else ""
        line.tell(f"{safe(run.current_node, 60)}{times} · {steps} records")

    runtime.hooks.add(committed)


COMMANDS = (run, continue_, cancel)
