"""The `demo` command: the story from the first payment to the proof."""

from __future__ import annotations

import random
import secrets
import shlex
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from abstractruntime.cli.commands.answers import ask
from abstractruntime.cli.console import count, paragraph, safe
from abstractruntime.cli.demo.children import Ended, Kill, run_child
from abstractruntime.cli.demo.folder import PICTURE, Place, make_ready
from abstractruntime.cli.demo.invoices import read_rows, sort_out
from abstractruntime.cli.demo.payments import read_payments
from abstractruntime.cli.demo.proof import Proof, committed_payments, prove
from abstractruntime.cli.demo.telling import Teller
from abstractruntime.cli.demo.workflow import INVOICES, PAYMENTS, REPORT, workflow
from abstractruntime.cli.exits import Exit, exit_of
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.inspect.graph import graph_of_run
from abstractruntime.inspect.runs import detail_of
from abstractruntime.inspect.svg import to_svg
from abstractruntime.inspect.timeline import each_record
from abstractruntime.storage.durable_files import write_whole
from abstractruntime.storage.open import open_store

APP = "abstractruntime.cli.demo.workflow:workflow"


@command("demo")
@click.option("--answer", type=click.Choice(["approve", "reject"]), help="Answer for the person.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("abstractruntime-demo"),
    show_default=True,
    help="Where to do it.",
)
@click.option("--seed", type=int, help="Chooses the moments of the kills.")
def demo(session: Session, answer: str | None, folder: Path, seed: int | None) -> Exit:
    """Pay 200 invoices, be killed twice, and prove that none was paid twice.

    The work is done in child processes; two of them are killed by SIGKILL, others go on from the
    store. A person is asked about two batches: on a terminal you are, elsewhere and with --json
    the answer is approve.
    """
    place = make_ready(folder)
    if answer is None and (session.json or not sys.stdin.isatty()):
        answer = "approve"
    chosen = secrets.randbelow(100_000) if seed is None else seed
    with Teller(quiet=session.json) as teller:
        story = Story(place, teller, answer, random.Random(chosen))
        try:
            return story.tell(session, chosen)
        except KeyboardInterrupt:
            again = shlex.join(["abstractruntime", "demo", "--folder", str(place.folder)])
            store = f"--store {shlex.quote(place.url)} --app {APP}"
            teller.say("stopped; the folder is as safe as it was", "yellow")
            teller.say(f"next: {again}", whole=True)
            teller.say(f"  or: abstractruntime continue {place.run_id} {store}", whole=True)
            raise


@dataclass
class Story:
    """One telling of the demo."""

    place: Place
    teller: Teller
    answer: str | None
    dice: random.Random
    begun: float = field(default_factory=time.monotonic)
    kills: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0

    def tell(self, session: Session, seed: int) -> Exit:
        """All of it; the exit code."""
        found = sort_out(read_rows(self.place.file(INVOICES)))
        self.total = len(found.clean)
        self._opening(seed)
        for kill in self._kills():
            self._killed(kill, self._child(kill=kill))
        run = self._to_the_end()
        with open_store(self.place.url) as store:
            proof = prove(self.place, store, (run.output or {}).get("decisions", {}))
            records = each_record(store, self.place.run_id)
            picture = to_svg(graph_of_run(run, records, workflow.spec))
        write_whole(self.place.file(PICTURE), picture.encode("utf-8"))
        seconds = time.monotonic() - self.begun
        if session.json:
            session.write(self._document(run, proof, seed, seconds))
        else:
            self._ending(run, proof, seconds)
        if run.status is not RunStatus.COMPLETED:
            return exit_of(run.status)
        return Exit.OK if proof.holds else Exit.INTEGRITY

    # -- what happens

    def _kills(self) -> list[Kill]:
        """The two kills, less those that payments made by an earlier demo lie behind."""
        first = self.dice.randint(self.total * 15 // 100, self.total * 40 // 100)
        second = self.dice.randint(self.total * 50 // 100, self.total * 80 // 100)
        pause = self.dice.uniform(0.0, 0.004)
        made = len(read_payments(self.place.file(PAYMENTS)))
        kills = (
            Kill(first, latest=first, holds=True),
            Kill(second, latest=self.total - 5, holds=False, pause_s=pause),
        )
        return [kill for kill in kills if kill.at > made]

    def _child(self, *, answer: str | None = None, kill: Kill | None = None) -> Ended:
        goes_on = bool(self.kills) or self.place.goes_on or answer is not None
        return run_child(
            self.place,
            answer=answer,
            kill=kill,
            begun=lambda pid: self.teller.say(
                f"process {pid} {'goes on' if goes_on else 'begins'}", "bold"
            ),
            paid=self._paid,
        )

    def _paid(self, number: int, refused: bool) -> None:
        if refused:
            said = "was tried again and refused: its idempotency key is known"
            self.teller.say(f"  payment {number} {said}", "cyan")
        else:
            self.teller.paying(number, self.total)

    def _killed(self, kill: Kill, ended: Ended) -> None:
        """Say where a kill left the run, from what the store and the file hold."""
        if not ended.killed:
            return
        with open_store(self.place.url) as store:
            detail = detail_of(store, self.place.run_id, now=session_now())
            committed = committed_payments(self.place, store)
        written = len(read_payments(self.place.file(PAYMENTS)))
        row = detail.row
        self.kills.append(
            {
                "pid": ended.pid,
                "moment": kill.moment,
                "node": row.node,
                "visit": row.visit,
                "revision": row.revision,
                "standing": row.standing,
                "payments_written": written,
                "payments_committed": committed,
            }
        )
        self.teller.say(f"SIGKILL hit process {ended.pid} {kill.moment}", "bold red")
        self.teller.say(
            f"  the store: {row.status} at {row.node} ×{row.visit}, revision {row.revision}, "
            f"{row.standing}"
        )
        self.teller.say(f"  {count(written, 'payment')} on the disk, {committed} in the ledger")

    def _to_the_end(self) -> RunState:
        """Go on until the run has ended, asking the person in between."""
        answer: str | None = None
        while True:
            run = self._run()
            if run.status is RunStatus.WAITING:
                answer = self._answer(run)
                if answer == "approve":
                    batch = run.vars["batches"][len(run.vars["decisions"])]["rows"]
                    self.total = len(read_payments(self.place.file(PAYMENTS))) + len(batch)
            elif run.status is not RunStatus.RUNNING:
                return run
            self._child(answer=answer)
            answer = None

    def _run(self) -> RunState:
        with open_store(self.place.url) as store:
            return detail_of(store, self.place.run_id, now=session_now()).state

    def _answer(self, run: RunState) -> str:
        assert run.waiting is not None
        if self.answer is None:
            self.teller.say()
            return ask(run.waiting)
        self.teller.say("a person is asked", "bold")
        self.teller.say(paragraph(run.waiting.prompt or ""))
        self.teller.say(f"  answered for the person: {self.answer}", "yellow")
        return self.answer

    # -- what is said

    def _opening(self, seed: int) -> None:
        rows = len(read_rows(self.place.file(INVOICES)))
        verb = "goes on" if self.place.goes_on else "begins"
        self.teller.say(f"the demo {verb} in {self.place.folder} (seed {seed})", "bold")
        self.teller.say(f"{rows} invoices, run {self.place.run_id}")

    def _ending(self, run: RunState, proof: Proof, seconds: float) -> None:
        say, fact = self.teller.say, self.teller.fact
        say(f"run {run.status.value}", "bold green" if run.output else "bold red")
        if run.error:
            say(paragraph(run.error), "red")
        output = run.output or {}
        say(f"  {proof.payments} payments, {Decimal(output.get('total_eur', 0)):,} EUR in all")
        say(f"  {output.get('left_out')} invoices left out: not payable, or sent twice")
        for name, choice in output.get("decisions", {}).items():
            say(f"  {safe(name)}: {choice}")
        say("proof, from invoices.csv, payments.jsonl and the ledger", "bold")
        paid = proof.to_pay - len(proof.missed)
        fact(not proof.missed, f"none was missed: {paid} of {proof.to_pay} were paid")
        fact(not proof.twice, f"none was paid twice: {len(proof.twice)} were")
        fact(not proof.strangers, f"nothing else was paid: {len(proof.strangers)} were")
        fact(proof.agrees, f"the ledger says the same: {proof.in_ledger} payments, key by key")
        refused = ", ".join(f"{each['receipt']} ({each['key'][:8]}…)" for each in proof.refused)
        say(f"  refused: {count(len(proof.refused), 'payment')} whose key was known: {refused}")
        verdict = proof.verdict
        fact(verdict.ok, f"the chain of {verdict.records} records verifies")
        for fault in verdict.faults:
            say(f"          {safe(fault)}", "red")
        summary = proof.summary
        effects = ", ".join(f"{n} {name}" for name, n in summary.effects.items())
        say("ledger", "bold")
        say(
            f"  {summary.records} records in {verdict.revision} commits: {summary.steps} steps "
            f"({effects} completed), {summary.waits} waits, {summary.recoveries} recoveries"
        )
        say("files", "bold")
        for name in (PAYMENTS, REPORT, PICTURE):
            say(f"  {self.place.file(name)}", whole=True)
        store = shlex.quote(self.place.url)
        say(f"look: abstractruntime ledger {self.place.run_id[:8]} --store {store}", whole=True)
        say(f"{seconds:.1f} s", "bright_black")

    def _document(self, run: RunState, proof: Proof, seed: int, seconds: float) -> dict[str, Any]:
        return {
            "ok": proof.holds and run.status is RunStatus.COMPLETED,
            "run_id": run.run_id,
            "status": run.status.value,
            "error": run.error,
            "output": run.output,
            "folder": str(self.place.folder),
            "store": self.place.url,
            "app": APP,
            "seed": seed,
            "went_on": self.place.goes_on,
            "kills": self.kills,
            "proof": proof.to_dict(),
            "files": {
                name: str(self.place.file(name)) for name in (INVOICES, PAYMENTS, REPORT, PICTURE)
            },
            "seconds": round(seconds, 3),
        }


def session_now() -> str:
    """Now, for ages."""
    return Session().now()
