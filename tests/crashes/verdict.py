"""What must hold of a run that ended, however often whoever moved it died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from abstractruntime import RunStatus, verify_ledger_chain
from abstractruntime.core.models import RunState
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import FileWitness, Performance, Witness
from abstractruntime.testing.workflows import Built


def comparable(output: Any) -> Any:
    """An output without what differs from run to run by design: ids of runs."""
    if isinstance(output, dict):
        return {name: comparable(v) for name, v in output.items() if name != "sub_run_id"}
    if isinstance(output, list):
        return [comparable(value) for value in output]
    return output


def _differences(found: Any, expected: Any) -> list[str]:
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return [f"{found!r} for {expected!r}"]
    names = sorted({*found, *expected})
    return [
        f"{name}: {found.get(name)!r} for {expected.get(name)!r}"
        for name in names
        if found.get(name) != expected.get(name)
    ]


def family(store: Store, run_id: str) -> Iterator[RunState]:
    """The run and all below it."""
    loaded = store.load(run_id)
    assert loaded is not None, f"run {run_id} is lost"
    yield loaded.run
    for child in store.list_children(parent_run_id=run_id):
        yield from family(store, child.run_id)


def judge(
    store: Store,
    run_id: str,
    *,
    built: Built,
    output: Any,
    witness: Witness | FileWitness,
    crashes: int,
) -> None:
    """Assert that the run ended as one without a crash does."""
    runs = list(family(store, run_id))
    assert runs[0].status is RunStatus.COMPLETED, f"{runs[0].status}: {runs[0].error}"
    found = comparable(runs[0].output)
    assert found == output, f"the output differs in {_differences(found, output)}"
    for run in runs:
        check_ended(store, run)
    workflows = {run.run_id: run.workflow_id for run in runs}
    children = Counter(workflows.values())
    assert set(children) == set(built.specs), "each child is started once"
    assert max(children.values()) == 1, "no child is started twice"
    mine = [seen for seen in witness.performed if seen.run_id in workflows]
    check_performances(mine, workflows, built, crashes)
    if isinstance(witness, Witness):
        assert witness.repeated == [], "performed again after its outcome was committed"


def check_performances(
    performed: list[Performance], workflows: dict[str, str], built: Built, crashes: int
) -> None:
    """Assert that each effect was performed, each time with its one key."""
    seen = {(workflows[one.run_id], one.node_id, one.visit) for one in performed}
    assert seen == built.effects, "each effect is performed, and no other"
    keys: dict[tuple[str, str, int], set[str]] = {}
    for one in performed:
        keys.setdefault((one.run_id, one.node_id, one.visit), set()).add(one.key)
    assert all(len(known) == 1 for known in keys.values()), "a step keeps its key"
    assert len({key for known in keys.values() for key in known}) == len(keys)
    assert len(performed) <= len(built.effects) + crashes, "only what a crash cut off is repeated"


def check_ended(store: Store, run: RunState) -> None:
    """Assert that nothing of an ended run is left open, and that its ledger is whole."""
    checkpoint = run.checkpoint
    assert checkpoint is not None
    assert (checkpoint.driver, dict(checkpoint.open_steps), dict(checkpoint.waits)) == (
        None,
        {},
        {},
    ), "nothing of an ended run is open"
    assert store.list_messages(run.run_id) == [], "no message is left over"
    assert store.list_evidence(run.run_id) == []
    check_ledger(store, run.run_id)


def check_ledger(store: Store, run_id: str) -> None:
    """Assert that the chain verifies and that each step has one outcome."""
    records = store.list_records(run_id)
    if records and records[0].get("record_hash"):
        verdict = verify_ledger_chain(records)
        assert verdict["ok"], verdict["errors"][:3]
    ends = Counter(
        (r["node_id"], r["idempotency_key"])
        for r in standing(records)
        if r["effect"] is not None
        and r["status"] in ("completed", "waiting")
        # Neither a question for approval nor a doubt is an outcome: the step is still open.
        and not (r["status"] == "waiting" and {"approval", "unknown"} & r["result"].keys())
    )
    twice = [node_id for (node_id, _), count in ends.items() if count > 1]
    assert not twice, f"steps with two outcomes at {twice}"


def standing(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those that a later one declares void (a pair's, after a crash).

    A pair gives out void records, and evidence, only where a chain of the ledger's own binds them.
    """
    plain: list[int] = []
    void: set[int] = set()
    for place, record in enumerate(records):
        kind = (record["result"] or {}).get("kind") if not record["effect"] else None
        if kind == "voided" and _bound(record):
            said = record["result"]
            gone = plain[len(plain) - said["records"] :]
            assert {records[at]["step_id"] for at in gone} == set(said["step_ids"])
            void.update(gone)
        elif kind not in ("voided", "evidence"):
            plain.append(place)
    return [record for place, record in enumerate(records) if place not in void]


def _bound(record: dict[str, Any]) -> bool:
    """Whether it is of the chain that seals a ledger's records as they come."""
    return record.get("record_hash") is not None and record.get("chain") is None
