"""verify, doctor: the commands that say whether ledgers and stores are as they should be."""

from __future__ import annotations

import click

from abstractruntime.cli.console import Column, age, count, print_table, progress, safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.inspect.doctor import SHOWN, Health, examine
from abstractruntime.inspect.runs import RunRow
from abstractruntime.inspect.verify import Verdict, all_run_ids, verify_runs
from abstractruntime.storage.leftovers import Leftover, sweep


@command("verify")
@click.argument("run_id", metavar="[RUN]", required=False)
def verify(session: Session, run_id: str | None) -> Exit:
    """Verify the ledger of a run, or of all.

    Looks at hashes, their order, revisions, whether history gives the stored state, and checksums.

    Exits with 5 when something does not fit, with 1 when a ledger has no chain to verify.
    """
    store = session.store
    ids = all_run_ids(store) if run_id is None else [session.run_id(run_id)]
    with progress("verifying", quiet=session.json) as line:
        verdicts = list(
            verify_runs(
                store,
                ids,
                progress=lambda done, every: line.tell(f"verified {done:,} of {every:,}"),
            )
        )
    broken = [verdict for verdict in verdicts if not verdict.ok]
    # A run that has made no step has no records: there is nothing to chain.
    loose = [v for v in verdicts if v.ok and v.records and not v.chained]
    code = Exit.INTEGRITY if broken else Exit.ERROR if loose else Exit.OK
    if session.json:
        session.write(
            {
                "ok": code is Exit.OK,
                "runs": len(verdicts),
                "records": sum(verdict.records for verdict in verdicts),
                "without_sum": sum(verdict.without_sum for verdict in verdicts),
                "verdicts": [verdict.to_dict() for verdict in verdicts],
            }
        )
        return code
    for verdict in broken:
        say(f"{safe(verdict.run_id, 80)}: broken", style="bold red")
        for fault in verdict.faults:
            say(f"  {safe(fault)}")
    if loose:
        say(f"{count(len(loose), 'ledger')} without a hash chain: nothing protects", style="yellow")
    _say_without_sum(sum(verdict.without_sum for verdict in verdicts))
    _conclude(verdicts, broken)
    return code


def _say_without_sum(rows: int) -> None:
    if rows:
        say(f"{count(rows, 'row')} without a checksum: written by an earlier version")


def _conclude(verdicts: list[Verdict], broken: list[Verdict]) -> None:
    records = sum(verdict.records for verdict in verdicts)
    looked = f"{count(len(verdicts), 'run')}, {count(records, 'record')}"
    if broken:
        say(f"{looked}: {count(len(broken), 'ledger')} broken", style="red")
        return
    say(f"{looked}: verified", style="green")
    if len(verdicts) == 1 and verdicts[0].head:
        say(f"head {verdicts[0].head} at revision {verdicts[0].revision:,}", whole=True)


@command("doctor")
@click.option("--quick", is_flag=True, help="Leave out the ledgers, which are many to read.")
@click.option("--repair", is_flag=True, help="Say what could be removed without loss.")
@click.option("--yes", is_flag=True, help="With --repair: remove it.")
def doctor(session: Session, quick: bool, repair: bool, yes: bool) -> Exit:
    """Look at the store, at every ledger and at how its runs stand.

    Repairs nothing by itself. Exits with 5 when the medium, a ledger or a run is not as it must be.
    """
    if yes and not repair:
        raise click.UsageError("--yes goes with --repair")
    with progress("looking at every run", quiet=session.json) as line:
        health = examine(
            session.store,
            now=session.now(),
            verify=not quick,
            progress=lambda done, every: line.tell(f"verified {done:,} of {every:,}"),
        )
    removed = sweep(health.leftovers) if yes else []
    code = Exit.OK if health.ok else Exit.INTEGRITY
    if session.json:
        session.write({**health.to_dict(), "removed": [each.name for each in removed]})
        return code
    say("store", style="bold")
    for name, value in health.facts.items():
        if name != "capabilities":
            say(f"  {safe(name):<20} {safe(value)}", whole=True)
    able = [name for name, there in health.capabilities.items() if there]
    unable = [name for name, there in health.capabilities.items() if not there]
    say(f"  {'can':<20} {', '.join(able) or 'nothing'}")
    say(f"  {'cannot':<20} {', '.join(unable) or 'nothing: it can all of it'}")
    _runs(session, health)
    _leftovers(health, repair=repair, removed=removed)
    _judgement(health)
    return code


def _leftovers(health: Health, *, repair: bool, removed: list[Leftover]) -> None:
    if not health.leftovers:
        return
    say("belongs to nothing", style="bold")
    for each in health.leftovers[:SHOWN]:
        say(f"  {each.kind}: {safe(each.name, 80)}: {safe(each.why)}")
    if len(health.leftovers) > SHOWN:
        say(f"  and {len(health.leftovers) - SHOWN:,} more (--json has all)")
    may_go = sum(each.path is not None for each in health.leftovers)
    if removed:
        say(f"removed {count(len(removed), 'file')}")
    elif repair:
        say(f"{count(may_go, 'file')} may go: --repair --yes removes")
    elif may_go:
        say(f"{count(may_go, 'file')} may go: see --repair")


def _judgement(health: Health) -> None:
    for said in health.damage:
        say(f"damaged: {safe(said)}", style="bold red")
    for verdict in (health.broken or ())[:SHOWN]:
        say(f"{safe(verdict.run_id, 80)}: ledger broken: {safe('; '.join(verdict.faults))}")
    for lost in health.lost[:SHOWN]:
        say(f"lost: {safe(lost.name, 80)}: {safe(lost.why)}", style="bold red")
    _say_without_sum(health.without_sum)
    if health.troubles:
        say(f"{count(len(health.troubles), 'run')} in trouble", style="bold red")
    for trouble in health.troubles[:SHOWN]:
        say(f"  {safe(trouble.run_id, 80)}: {safe('; '.join(trouble.faults))}")
    if health.ok:
        looked = "ledgers not looked at" if health.broken is None else "every ledger verified"
        say(f"no run contradicts itself, {looked}", style="green")


def _runs(session: Session, health: Health) -> None:
    total = sum(health.statuses.values())
    say("runs", style="bold")
    say(f"  {'all':<20} {total:,}")
    for name, number in health.statuses.items():
        say(f"  {name:<20} {number:,}")
    say("live runs", style="bold")
    for name, number in health.standings.items():
        reasons = ""
        if name == "waiting" and health.waits:
            reasons = f"  ({', '.join(f'{n:,} {reason}' for reason, n in health.waits.items())})"
        say(f"  {name:<20} {number:,}{reasons}")
    if health.held:
        held = ", ".join(f"{n:,} {standing}" for standing, n in health.held.items())
        say(f"  {'of these paused':<20} {sum(health.held.values()):,}  ({held})")
    _idle(session, "paused", health.paused, "nobody moves them: unpause RUN")
    _idle(session, "recoverable", health.recoverable, "abstractruntime continue moves them")
    _idle(session, "parked", health.parked, "their host drives them, or continue RUN")


def _idle(session: Session, name: str, rows: tuple[RunRow, ...], hint: str) -> None:
    if not rows:
        return
    say(f"{name} for the longest time ({hint})", style="bold")
    print_table(
        (
            Column("RUN", 8),
            Column("WORKFLOW", 8, 2),
            Column("NODE", 6, 2),
            Column("IDLE", 4, right=True),
        ),
        [
            (
                safe(session.short(row.run_id), 40),
                safe(row.workflow_id),
                safe(row.node),
                age(row.idle_s),
            )
            for row in rows[:5]
        ],
    )


COMMANDS = (verify, doctor)
