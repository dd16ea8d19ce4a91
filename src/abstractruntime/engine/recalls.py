"""Steps that the ledger already knows: after a rewind by identity, by key where a policy makes
keys. A step found is not performed again: its recorded outcome is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.machine import step
from abstractruntime.core.machine.plan import Planned, effect_digest
from abstractruntime.core.records import holding
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.errors import EffectMismatch

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


@dataclass(slots=True)
class Recorded:
    """Step records by (generation, node, visit, branch), and the highest visit of each node."""

    steps: dict[tuple[int, str, int, str], list[dict[str, Any]]] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        visit = record.get("visit")
        if visit is None:
            return
        node = record["node_id"]
        self.visits[node] = max(visit, self.visits.get(node, 0))
        if record.get("effect") is not None:
            identity = (record.get("generation") or 1, node, visit, record.get("branch") or MAIN)
            self.steps.setdefault(identity, []).append(record)


def recall(mover: Mover, planned: Planned) -> Flow[bool]:
    """Take the recorded outcome of the step about to begin; False: it has to be performed."""
    draft = mover.draft
    recorded = yield from _recorded(mover)
    node_id = draft.run.current_node
    found = recorded.steps.get((draft.generation, node_id, draft.visit(), MAIN))
    if found is None:
        _leave(mover, recorded)
        return False
    last = found[-1]
    before, now = effect_digest(last["effect"]), effect_digest(planned.effect)
    if last["status"] == "completed" and before == now:
        step.recall(draft, planned, last, now=mover.now(), ids=mover.settings.new_id)
        return True
    if before != now or last["status"] == "waiting":
        _new_visit(mover, recorded, before, now)
    return False


@dataclass(slots=True)
class Branches:
    """What the ledger knows of the branches of the plan at hand."""

    completed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, mover: Mover, planned: Planned, branch: str) -> bool:
        """Take the recorded outcome of a branch; False: it has to be performed."""
        record = self.completed.get(branch)
        if record is None:
            return False
        step.recall(
            mover.draft, planned, record, now=mover.now(), ids=mover.settings.new_id, branch=branch
        )
        return True


def branches(mover: Mover, plans: Sequence[Planned]) -> Flow[Branches]:
    """The recorded outcomes of branches; a plan with another effect is a visit of its own."""
    draft = mover.draft
    recorded = yield from _recorded(mover)
    identity = (draft.generation, draft.run.current_node, draft.visit())
    known = Branches()
    for number, planned in enumerate(plans):
        found = recorded.steps.get((*identity, str(number)))
        if found is None:
            continue
        before, now = effect_digest(found[-1]["effect"]), effect_digest(planned.effect)
        if before != now:
            _new_visit(mover, recorded, before, now)
            return Branches()
        if found[-1]["status"] == "completed":
            known.completed[str(number)] = found[-1]
    if not known.completed:
        _leave(mover, recorded)
    return known


def _leave(mover: Mover, recorded: Recorded) -> None:
    """The run goes another way than the ledger knows: from here on nothing is looked up, and no
    visit is counted under a number that the ledger has."""
    draft = mover.draft
    node_id, visit = draft.run.current_node, draft.visit()
    counts = {**draft.visits}
    for node, last in recorded.visits.items():
        counts[node] = max(counts.get(node, 0), last)
    counts[node_id] = visit if counts[node_id] == visit else counts[node_id] + 1
    draft.visits = counts
    draft.recall = None


def _new_visit(mover: Mover, recorded: Recorded, before: str, now: str) -> None:
    """The recorded step does not answer this plan: it becomes a visit the ledger does not know."""
    draft = mover.draft
    node_id = draft.run.current_node
    visit = max(recorded.visits.get(node_id, 0), draft.visit()) + 1
    old = draft.visit()
    draft.visits = {**draft.visits, node_id: visit}
    draft.note(
        "diverged",
        line_id=mover.settings.new_id(),
        now=mover.now(),
        recorded_visit=old,
        new_visit=visit,
        recorded_digest=before,
        planned_digest=now,
    )


def recall_by_key(mover: Mover, planned: Planned, key: str) -> Flow[bool]:
    """As `recall`, by a key the policy made; the same key with another effect fails the run."""
    run_id = mover.run.run_id
    riding = [line.record for line in mover.draft.lines]
    found = [record for record in riding if record["idempotency_key"] == key]
    if not found:
        found = yield Read(lambda store: store.find_step(run_id, key))
    if not found:
        return False
    last = found[-1]
    before, now = effect_digest(last["effect"]), effect_digest(planned.effect)
    if before != now:
        mover.fail_node(
            EffectMismatch(
                f"Idempotency key '{key}' recurs with another effect: recorded {before[:12]}, "
                f"planned {now[:12]}",
                key=key,
            )
        )
        return True
    if last["status"] != "completed":
        return False
    step.recall(mover.draft, planned, last, now=mover.now(), ids=mover.settings.new_id)
    return True


def _recorded(mover: Mover) -> Flow[Recorded]:
    if mover.recorded is None:
        run_id, after = mover.run.run_id, mover.draft.recall or 0
        records = yield Read(lambda store: store.list_records(run_id, after=after))
        mover.recorded = Recorded()
        for record in holding(records):
            mover.recorded.add(record)
    return mover.recorded
