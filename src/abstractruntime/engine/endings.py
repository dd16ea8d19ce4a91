"""How a run comes to its end when there is something to do first: its undos are performed, the last
registered first, then its children are closed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.canonical import chain_form, encode, key_form
from abstractruntime.core.machine import ending, ends, step, undo
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunStatus
from abstractruntime.core.options import Delivery
from abstractruntime.core.policy import step_key
from abstractruntime.engine import approvals, attempts, perform
from abstractruntime.engine.effects import Perform
from abstractruntime.engine.operations.cancel import close_children, close_losers
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settle import Done, apply
from abstractruntime.errors import StoreCorrupt

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover


def by_terms(mover: Mover) -> Flow[bool | None]:
    """Do what the run's terms ask for first. None: they ask for nothing; False: it is held, or
    waits, or is due later."""
    if mover.held_by_terms():
        return False
    terms = mover.draft.terms
    if mover.run.status in ENDED:
        return None
    if terms.ending is not None:
        return (yield from go_on(mover))
    if terms.losing:
        yield from let_go(mover)
        return True
    return None


def go_on(mover: Mover) -> Flow[bool]:
    """Bring the run nearer to its end. False: somebody has to say something first, or it is due
    later."""
    draft = mover.draft
    if not ending.left(draft):
        ending.leave(draft, now=mover.now())
    if draft.run.status is RunStatus.WAITING:
        return False
    for open_step in draft.open_steps.values():
        return (yield from perform.perform_open(mover, open_step))
    if ending.busy(draft):
        assert draft.terms.undos
        return (yield from _undo(mover, draft.terms.undos[-1]))
    if draft.terms.closes or draft.terms.losing or (draft.terms.ending or {}).get("tree"):
        if draft.dirty:
            yield from mover.commit(mover.me)  # before the first child hears of it
        yield from close_children(mover.settings, draft.run.run_id, draft.terms)
    ends.finish(draft, now=mover.now(), line_id=mover.settings.new_id())
    return True


def let_go(mover: Mover) -> Flow[None]:
    """Cancel the children of branches that the join did not wait for: the join is durable first."""
    if mover.draft.dirty:
        yield from mover.commit(mover.me)
    yield from close_losers(mover.settings, mover.draft.terms.losing or ())
    mover.draft.terms = replace(mover.draft.terms, losing=None)


def _undo(mover: Mover, entry: dict[str, Any]) -> Flow[bool]:
    """Begin the undo and make its attempts."""
    draft, settings = mover.draft, mover.settings
    registered, result = yield from _registered(mover, entry)
    effect = registered["result"]["undo"]
    payload = undo.filled(effect["payload"], result)
    planned = Planned(
        effect["type"],
        payload,
        effect["result_key"],
        None,
        encode(payload),
        chain_form(payload),
        effect.get("options"),
    )
    branch, place = undo.branch_of(entry), (registered["node_id"], registered.get("visit") or 1)
    decision = perform.decide(mover, planned.type, payload, planned.result_key, None)
    if isinstance(decision, Perform) and decision.declared is not None:
        said = {**decision.declared.options, **(planned.options or {})}
        planned = replace(planned, options=said or None)
    options = planned.options or {}
    if options.get("delivery") == Delivery.AT_MOST_ONCE.value:
        draft.urgent = True
    open_step = step.intend(
        draft,
        planned,
        step_id=settings.new_id(),
        # Never the policy's own key: it may well be that of the effect that is undone.
        key=step_key(
            run_id=draft.run.run_id,
            node_id=place[0],
            effect=planned,
            visit=place[1],
            branch=branch,
            generation=draft.generation,
            payload_form=key_form(payload),
        ),
        now=mover.at,
        salt=settings.sealer.new_salt(),
        first_at=mover.at if "total_timeout_s" in options else None,
        branch=branch,
        place=place,
    )
    refused = approvals.denies(mover, planned, decision)
    if refused is None and isinstance(decision, Perform):
        refused = attempts.refusal(mover, open_step, decision)
        if refused is None:
            yield from mover.commit(mover.me)
            return (yield from attempts.attempts(mover, open_step, decision, planned.text))
    if refused is None and isinstance(decision, EffectOutcome):
        refused = decision
    if refused is None:
        refused = EffectOutcome.failed("An undo cannot be a child run")
    apply(mover, Done(open_step, refused, final=True))
    return True


def _registered(mover: Mover, entry: dict[str, Any]) -> Flow[tuple[dict[str, Any], Any]]:
    """The record that registers the undo, and the result of what it undoes where one is named."""

    def registers(record: dict[str, Any]) -> bool:
        said: Any = record.get("result") if record["effect"] is None else None
        kind = said.get("kind") if isinstance(said, dict) else None
        return bool(kind == "undo_registered" and said["of"] == entry["step"])

    def completes(record: dict[str, Any]) -> bool:
        return bool(record["step_id"] == entry["step"] and record["status"] == "completed")

    found = yield from _record(mover, registers, entry["at"])
    if found is None:
        run_id = mover.run.run_id
        raise StoreCorrupt(
            f"Run '{run_id}' is to undo step '{entry['step']}', and its ledger does not say how",
            run_id=run_id,
            revision=entry["at"],
        )
    if "done" not in entry or not undo.names_result(found["result"]["undo"]["payload"]):
        return found, None
    completed = yield from _record(mover, completes, entry["done"])
    return found, None if completed is None else completed["result"]


def _record(mover: Mover, fits: Any, revision: int) -> Flow[dict[str, Any] | None]:
    """The record that fits, first looked for where it should stand."""
    run_id = mover.run.run_id
    for after, limit in ((revision - 1, 1), (0, None)):
        records: list[dict[str, Any]] = yield _records(run_id, after, limit)
        for record in records:
            if fits(record):
                return record
    return None


def _records(run_id: str, after: int, limit: int | None) -> Read:
    return Read(lambda store: store.list_records(run_id, after=after, limit=limit))
