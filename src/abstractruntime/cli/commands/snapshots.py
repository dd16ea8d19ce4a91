"""snapshot save, list, restore: named checkpoints of runs."""

from __future__ import annotations

import click

from abstractruntime.cli.after import next_commands, standing_document
from abstractruntime.cli.console import Column, age, print_table, safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command, shared_options
from abstractruntime.core.times import seconds_between
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import InvalidIdentifier, UnknownSnapshot, UnsupportedByStore
from abstractruntime.storage.snapshots import Snapshot, SnapshotStore

MANY = 1_000_000


@click.group("snapshot")
@shared_options
def snapshot() -> None:
    """Keep named checkpoints of runs, and put runs back to them."""


@command("save")
@click.argument("run_id", metavar="RUN")
@click.option("--name", required=True, help="What to call it.")
@click.option("--description", help="Why it is kept.")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
def save(
    session: Session, run_id: str, name: str, description: str | None, tags: tuple[str, ...]
) -> Exit:
    """Keep the run as it stands now under a name."""
    kept = _snapshots(session)
    run = Runtime(store=session.store).get_state(session.run_id(run_id))
    made = Snapshot.from_run(run=run, name=name, description=description, tags=list(tags))
    kept.save(made)
    if session.json:
        session.write(_document(made))
    else:
        say(f"snapshot {made.snapshot_id}")
    return Exit.OK


@command("list")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--tag", help="Only those with this tag.")
@click.option("--query", help="Only those with this in their name or description.")
def list_(session: Session, run_id: str | None, tag: str | None, query: str | None) -> Exit:
    """List snapshots of a run, or of all, newest first."""
    wanted = None if run_id is None else session.run_id(run_id)
    found = _snapshots(session).list(run_id=wanted, tag=tag, query=query, limit=MANY)
    if session.json:
        session.write({"snapshots": [_document(each) for each in found]})
        return Exit.OK
    if not found:
        say("no snapshots")
        return Exit.OK
    now = session.now()
    columns = (
        Column("SNAPSHOT", 8),
        Column("RUN", 8),
        Column("NAME", 8, 3),
        Column("NODE", 6, 2),
        Column("TAGS", 6, 2, from_width=72),
        Column("DESCRIPTION", 8, 4, from_width=100),
        Column("AGE", 4, right=True),
    )
    rows = [
        (
            each.snapshot_id[:8],
            safe(session.short(each.run_id), 40),
            safe(each.name),
            safe(each.run_state.get("current_node", "")),
            safe(", ".join(each.tags)),
            safe(each.description or ""),
            age(seconds_between(each.created_at, now)),
        )
        for each in found
    ]
    print_table(columns, rows)
    return Exit.OK


@command("restore")
@click.argument("snapshot_id", metavar="SNAPSHOT")
@click.option("--fresh", is_flag=True, help="Perform the effects from there on anew.")
def restore(session: Session, snapshot_id: str, fresh: bool) -> Exit:
    """Put a run back to a snapshot. It is not moved: `continue` does that.

    Steps the ledger knows keep their recorded outcomes, unless --fresh.
    """
    kept = _snapshots(session)
    runtime = Runtime(store=session.store)
    run = runtime.restore(_find(kept, snapshot_id), fresh=fresh)
    commands = next_commands(session, run)
    if session.json:
        session.write(standing_document(run, commands))
        return Exit.OK
    say(f"{safe(run.run_id, 60)} is {run.status.value} at {safe(run.current_node, 60)} again")
    for line in commands[:1]:
        say(f"next: {line}", style="bold", whole=True)
    return Exit.OK


def _snapshots(session: Session) -> SnapshotStore:
    kept = session.store.snapshot_store
    if kept is None:
        raise UnsupportedByStore(f"{session.store.url} keeps no snapshots")
    return kept


def _find(kept: SnapshotStore, text: str) -> str:
    """The id that `text` or a prefix of it names. Raises UnknownSnapshot, InvalidIdentifier."""
    ids = [each.snapshot_id for each in kept.list(limit=MANY)]
    if text in ids:
        return text
    found = [each for each in ids if text and each.startswith(text)]
    if len(found) == 1:
        return found[0]
    shown = safe(text, 60)
    if found:
        raise InvalidIdentifier(
            f"'{shown}' begins the ids of several snapshots: {', '.join(found[:10])}",
            snapshot_id=shown,
            fix="write more of the id",
        )
    raise UnknownSnapshot(
        f"Unknown snapshot_id: {shown}",
        snapshot_id=shown,
        fix="see the ids with `abstractruntime snapshot list`",
    )


def _document(each: Snapshot) -> dict[str, object]:
    """A snapshot without the run it holds."""
    data = each.to_dict()
    state = data.pop("run_state")
    data.pop("checkpoint", None)
    return {**data, "workflow_id": state.get("workflow_id"), "node": state.get("current_node")}


for made in (save, list_, restore):
    snapshot.add_command(made)

COMMANDS = (snapshot,)
