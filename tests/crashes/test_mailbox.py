"""A process dies before or after each call that a workflow with messages makes, then another goes
on: nothing that was sent is lost, nothing is heard twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.storage.base import Store
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.open import open_store
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.crashes.grounds import ground
from tests.crashes.verdict import check_ledger, standing

MESSAGES = 4
LIMIT_S = 60.0

pytestmark = pytest.mark.timeout(120)


def listener() -> WorkflowSpec:
    """Hears what comes, notes each by a step of its own, and ends when nothing comes for long."""

    def hear(run: Any, ctx: Any) -> StepPlan:
        payload = {"wait_keys": ["k", "other"], "timeout_s": LIMIT_S, "timeout_node": "end"}
        return StepPlan("hear", Effect("wait_event", payload, "last"), "note")

    def note(run: Any, ctx: Any) -> StepPlan:
        run.vars.setdefault("heard", []).append(run.vars["last"]["payload"])
        return StepPlan("note", Effect("noted", {"n": len(run.vars["heard"])}), "hear")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"heard": run.vars["heard"]})

    return WorkflowSpec("listener", "hear", {"hear": hear, "note": note, "end": end})


def live(store: Store, clock: VirtualClock, run_id: str) -> None:
    """All that sender and host do; whoever begins again does nothing twice."""
    work = listener()
    runtime = Runtime(
        store=store, context=clock, effect_handlers={"noted": lambda run, effect: None}
    )

    def send(number: int) -> None:
        name = "other" if number == 2 else "k"
        runtime.send(run_id, name, number, dedupe_key=str(number))

    def tick() -> None:
        runtime.tick(workflow=work, run_id=run_id)

    send(0)
    runtime.start(workflow=work, run_id=run_id, on_duplicate="return")
    send(1)
    tick()
    send(2)
    tick()
    send(3)
    while (state := runtime.get_state(run_id)).status is not RunStatus.COMPLETED:
        heard = len(state.vars.get("heard", [])) == MESSAGES
        if heard and state.waiting is not None and state.waiting.until is not None:
            clock.forward_to(state.waiting.until)
        tick()


def judge(store: Store, run_id: str) -> None:
    """Assert that each message was heard once, in order, and moved the run once."""
    loaded = store.load(run_id)
    assert loaded is not None
    assert loaded.run.output == {"heard": list(range(MESSAGES))}
    assert store.list_messages(run_id) == []
    records = store.list_records(run_id)
    # What was voided is shown only where a chain binds it.
    stand = standing(records) if records[0].get("record_hash") else records
    moved = [record["result"] for record in stand if _kind(record) == "resumed"]
    ids = [said["message_id"] for said in moved if said["cause"] == "message"]
    assert len(ids) == len(set(ids)) == MESSAGES
    assert [said["cause"] for said in moved][-1] == "timeout"
    check_ledger(store, run_id)


def _kind(record: dict[str, Any]) -> Any:
    result = record["result"]
    return None if record["effect"] or not result else result.get("kind")


@contextmanager
def guarded(store: Store, fuse: Fuse) -> Iterator[Store]:
    """The store's boxes die too, where they are not verbs of the store."""
    mail = getattr(store, "_mail", None)
    if not isinstance(store, PairedStore) or mail is None:
        yield store
        return
    unwire = fuse.wire(mail._lines, "append", "after")
    try:
        yield store
    finally:
        unwire()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files"])
def test_a_crash_before_or_after_any_call_loses_no_message_and_repeats_none(
    kind: str, tmp_path: Path
) -> None:
    with ground(kind, tmp_path) as here:

        def process(run_id: str, fuse: Fuse, clock: VirtualClock) -> None:
            with here.process(fuse, clock) as store, guarded(store, fuse) as dying:
                live(dying, clock, run_id)

        whole = Fuse()
        process("whole", whole, VirtualClock(step=0.001))
        judge(here.beneath, "whole")
        points = [(at, when) for at in range(1, len(whole.calls) + 1) for when in When]
        for at, when in points:
            run_id, clock = f"{when.value}-{at}", VirtualClock(step=0.001)
            fuse = Fuse(at, when)
            with pytest.raises(Crash):
                process(run_id, fuse, clock)
            try:
                process(run_id, Fuse(), clock)
                judge(here.beneath, run_id)
            except Exception as error:
                raise AssertionError(f"after a crash {fuse.burnt}: {error}") from error
    print(f"{kind}: {len(points)} crashes, each before or after one of {len(whole.calls)} calls")


class Deadly(Fuse):
    """It kills the process itself."""

    def _burn(self, name: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def opened(kind: str, folder: Path) -> Store:
    if kind == "sqlite":
        return open_store(f"sqlite:///{folder}/runs.db")
    runs = JsonFileRunStore(folder / "runs")
    return PairedStore(runs, JsonlLedgerStore(folder / "runs"), url=str(folder))


def forked(work: Callable[[], None]) -> int:
    """Do it in a process of its own; the signal that ended it, 0 when it ended by itself."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="these processes are forked")
@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_a_kill_around_every_call_loses_no_message_and_repeats_none(
    kind: str, tmp_path: Path
) -> None:
    stride = 1 if os.environ.get("AR_FAULTS") else 3
    kills, at = 0, 1
    while True:
        run_id = f"run-{at}"

        def die(run_id: str = run_id, at: int = at) -> None:
            with opened(kind, tmp_path) as store:
                fuse = Deadly(at, When.AFTER)
                if isinstance(store, PairedStore):
                    fuse.wire(store.run_store, "save_marked")
                    fuse.wire(store.ledger_store, "append_many")
                    fuse.wire(store._mail._lines, "append")  # type: ignore[union-attr]
                    live(store, VirtualClock(step=0.001), run_id)
                else:
                    live(CrashingStore(store, fuse), VirtualClock(step=0.001), run_id)

        killed = forked(die) == signal.SIGKILL
        with opened(kind, tmp_path) as store:
            live(store, VirtualClock(step=0.001), run_id)
            judge(store, run_id)
        if not killed:
            break
        kills += 1
        at += stride
    assert kills >= 7
    print(f"{kind}: {kills} kills")
