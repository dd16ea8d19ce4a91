"""list, show, ledger: the commands that look at runs and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import click
from rich.text import Text

from abstractruntime.cli import console
from abstractruntime.cli.after import MOST_SHOWN, branches_text, next_commands, standing_text
from abstractruntime.cli.console import STYLES, Column, age, count, lasted, safe, say, shown
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.models import RunStatus
from abstractruntime.inspect.runs import RunDetail, RunRow, detail_of, list_rows, short_ids
from abstractruntime.inspect.timeline import Step, each_record, timeline
from abstractruntime.storage.base import Store

RUN_COLUMNS = (
    Column("RUN", 8),
    Column("STATUS", 9),
    Column("STANDING", 8, from_width=100),
    Column("WORKFLOW", 8, share=2),
    Column("NODE", 6, share=2),
    Column("WAITS FOR / ERROR", 6, share=4, from_width=72),
    Column("REVISION", 8, right=True, from_width=140),
    Column("CHANGED", 7, right=True, from_width=100),
    Column("AGE", 4, right=True),
)

STEP_COLUMNS = (
    Column("REV", 3, right=True),
    Column("NODE", 5, share=3),
    Column("VISIT", 5, right=True, from_width=72),
    Column("WHAT", 6, share=2),
    Column("STATUS", 9),
    Column("TRIES", 5, right=True, from_width=100),
    Column("TOOK", 4, right=True),
    Column("ABOUT", 8, share=4, from_width=72),
)


@command("list")
@click.option("--status", type=click.Choice([status.value for status in RunStatus]))
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="0: all.")
def list_(session: Session, status: str | None, workflow: str | None, limit: int) -> Exit:
    """List runs, those changed last first."""
    wanted = None if status is None else RunStatus(status)
    rows, more = list_rows(
        session.store, now=session.now(), status=wanted, workflow_id=workflow, limit=limit
    )
    if session.json:
        session.write(
            {"store": session.store.url, "more": more, "runs": [row.to_dict() for row in rows]}
        )
        return Exit.OK
    if not rows:
        say("no runs" if wanted is None and workflow is None else "no runs that match")
        return Exit.OK
    everything = not more and wanted is None and workflow is None
    _print_runs(session.store, rows, everything=everything)
    said = f"the newest {len(rows):,}; more with --limit" if more else count(len(rows), "run")
    say(said, style="bright_black")
    return Exit.OK


def _print_runs(store: Store, rows: list[RunRow], *, everything: bool) -> None:
    short = short_ids(store, [row.run_id for row in rows], all_known=everything)
    console.print_table(
        RUN_COLUMNS,
        [
            (
                safe(short[row.run_id], 40),
                (row.status, STYLES[row.status]),
                ("" if _standing(row) in ("ended", row.status) else _standing(row), ""),
                safe(row.workflow_id),
                _at(row.node, row.visit),
                safe(row.waits_for or (row.error or "")),
                f"{row.revision:,}",
                age(row.idle_s),
                age(row.age_s),
            )
            for row in rows
        ],
    )


def _standing(row: RunRow) -> str:
    return "paused" if row.paused else row.standing


def _at(node: str, visit: int) -> str:
    return f"{safe(node)} ×{visit}" if visit > 1 else safe(node)


@command("show")
@click.argument("run_id", metavar="RUN")
def show(session: Session, run_id: str) -> Exit:
    """Show where a run stands and what it holds."""
    detail = detail_of(session.store, session.run_id(run_id), now=session.now())
    if session.json:
        document = detail.to_dict()
        document["next"] = next_commands(session, detail.state)
        session.write(document)
        return Exit.OK
    for name, value, style in _facts(detail):
        out = console.console()
        text = Text(f"{name:<10} ", style="bright_black")
        text.append(value, style=style)
        out.print(text, soft_wrap=True)
    _blocks(session, detail)
    return Exit.OK


def _facts(detail: RunDetail) -> Iterator[tuple[str, str, str]]:
    row, state = detail.row, detail.state
    standing = "" if row.standing in ("ended", row.status) else f", {row.standing}"
    paused = state.checkpoint.terms.paused if row.paused and state.checkpoint else None
    yield "run", safe(row.run_id), "bold"
    yield "workflow", safe(row.workflow_id), ""
    yield "status", f"{row.status}{standing}", STYLES[row.status]
    if paused is not None:
        by = f" by {paused['actor']}" if paused.get("actor") else ""
        why = f": {paused['reason']}" if paused.get("reason") else ""
        yield "paused", safe(f"since {paused['at']}{by}{why}"), "yellow"
    yield "node", _at(row.node, row.visit), ""
    yield "revision", f"{row.revision:,}", ""
    yield "created", f"{row.created_at} ({age(row.age_s)})", ""
    yield "changed", f"{row.updated_at} ({age(row.idle_s)})", ""
    if row.parent_run_id:
        yield "parent", safe(row.parent_run_id), ""
    if row.actor_id:
        yield "actor", safe(row.actor_id), ""
    if state.session_id:
        yield "session", safe(state.session_id), ""
    if detail.driver is not None:
        life = "alive" if detail.driver["live"] else "dead"
        host = str(detail.driver["host"]).partition("/")[0]
        yield "driver", safe(f"process {detail.driver['pid']} on {host}, {life}"), ""
    if detail.messages:
        yield "mailbox", count(detail.messages, "message"), ""
    if detail.evidence:
        yield "evidence", count(detail.evidence, "late outcome"), ""


def _blocks(session: Session, detail: RunDetail) -> None:
    state = detail.state
    if state.error:
        say("error", style="bold")
        say(console.paragraph(state.error), style="red")
    if state.waiting is not None:
        say("waits", style="bold")
        say(console.paragraph(standing_text(state)))
    elif state.checkpoint is not None and state.checkpoint.waits:
        say("waits", style="bold")
        say(console.paragraph(branches_text(state.checkpoint)))
    _open_steps(detail)
    for title, values in (("vars", state.vars), ("output", state.output)):
        if values is not None:
            say(title, style="bold")
            room = console.console().width - 4
            for name, value in values.items():
                say(safe(f"  {shown(name, 40)} = {shown(value, room)}", room + 2))
    if detail.children:
        say("children", style="bold")
        _print_runs(session.store, list(detail.children), everything=False)
    for line in next_commands(session, state)[:1]:
        say(f"next: {line}", style="bold", whole=True)


def _open_steps(detail: RunDetail) -> None:
    if not detail.open_steps:
        return
    say("open steps", style="bold")
    for step in detail.open_steps[:MOST_SHOWN]:
        effect = step["effect"]
        branch = f" branch {step['branch']}" if step.get("branch") else ""
        unknown = " (outcome unknown)" if step.get("unknown") else ""
        where = f"{step['node_id']} ×{step['visit']}{branch}"
        said = f"{where} {effect['type']}{unknown} {shown(effect['payload'])}"
        say(f"  {safe(said, console.console().width - 4)}")
    more = len(detail.open_steps) - MOST_SHOWN
    if more > 0:
        say(f"  and {more:,} more (--json has all)")


@command("ledger")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--last",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Commits to show, 0: all. With --json always all.",
)
def ledger(session: Session, run_id: str, last: int) -> Exit:
    """Show a run's steps and moves, with durations.

    With --json, the ledger's records as they are.
    """
    found = session.run_id(run_id)
    if session.json:
        _stream(session, found)
        return Exit.OK
    detail = detail_of(session.store, found, now=session.now())
    after = max(0, detail.row.revision - last) if last else 0
    steps = timeline(each_record(session.store, found, after=after))
    if after:
        say(f"from revision {after + 1:,} on; all with --last 0", style="bright_black")
    console.print_table(STEP_COLUMNS, [_step(step) for step in steps])
    say(f"{count(len(steps), 'line')}, revision {detail.row.revision:,}", style="bright_black")
    return Exit.OK


def _step(step: Step) -> tuple[console.Cell, ...]:
    status = "resumed" if step.waited_s is not None else step.status
    took = step.waited_s if step.waited_s is not None else step.seconds
    about = f"{step.error} ← {step.about}" if step.error else step.about
    move = step.seconds == 0.0 and step.visit is None
    return (
        f"{step.revision:,}",
        safe(step.node if step.branch is None else f"{step.node} #{step.branch}"),
        "" if step.visit is None else str(step.visit),
        (safe(step.what), "cyan" if not move else "bright_black"),
        (status, STYLES.get(status, "")),
        str(step.attempts) if step.attempts > 1 else "",
        lasted(took) if took else "",
        (safe(about), "red" if step.error else ""),
    )


def _stream(session: Session, run_id: str) -> None:
    """The records one by one: a ledger may be longer than memory."""
    out = session.stream
    out.write(f'{{"run_id": {console.json_text(run_id)}, "records": [')
    for piece in chain.from_iterable(_pieces(each_record(session.store, run_id))):
        out.write(piece)
    out.write("\n]}\n")
    out.flush()


def _pieces(records: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    before = "\n"
    for record in records:
        yield before, console.json_text(record, indent=None)
        before = ",\n"


COMMANDS = (list_, show, ledger)
