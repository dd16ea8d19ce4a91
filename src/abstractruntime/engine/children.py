"""Child runs in the flow of their parent: started in its commit, driven by it, heard of once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.budget import Budget
from abstractruntime.core.checkpoint import MAIN, NO_TERMS, Checkpoint, Driver, OpenStep, Terms
from abstractruntime.core.commit import Commit, Loaded, Message
from abstractruntime.core.machine import approval, ends, wait
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.budget import counts_of_new, terms_of_new
from abstractruntime.core.machine.edit import draft_of_new
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.times import normal
from abstractruntime.engine.effects import StartChild
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import MAX_NESTED, Settings
from abstractruntime.engine.settle import Done, apply
from abstractruntime.errors import RunBusy, UnknownRun, UnknownWorkflow

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover

NAMESPACE = uuid.UUID("6f1f3c0a-9d0e-5b52-9d6b-6a1c7c1d8a10")
"""Names of child runs: UUIDv5 (RFC 9562) of the starting step's identity under it."""


def child_id_of(run_id: str, generation: int, node_id: str, visit: int, branch: str = MAIN) -> str:
    """The run id of the child that this step starts, however often it is tried."""
    identity = "\x1f".join((run_id, str(generation), node_id, str(visit), branch))
    return str(uuid.uuid5(NAMESPACE, identity))


def begin(
    mover: Mover,
    planned: Planned,
    key: str,
    decision: StartChild,
    granted: OpenStep | None = None,
) -> Flow[None]:
    """Start the child in the parent's commit; a sync one is driven at once."""
    from abstractruntime.engine import perform

    draft = mover.draft
    run = draft.run
    refused = _refused(mover, decision)
    if refused is not None:
        open_step = perform.intend(mover, planned, key, granted=granted)
        apply(mover, Done(open_step, refused, final=True))
        return
    child_id = child_id_of(run.run_id, draft.generation, run.current_node, draft.visit())
    spec = _spec(mover.settings, decision.workflow_id)
    known = yield Read(lambda store: store.load(child_id))
    awaited = child_id if decision.wait else None
    open_step = perform.intend(mover, planned, key, child=awaited, granted=granted)
    _note_closing(mover, decision)
    if known is None:
        draft.creates.append(_creation(mover, child_id, spec, decision))
    if decision.wait:
        yield from mover.commit(mover.me)
        yield from drive_open(mover, open_step)
        return
    said = EffectOutcome.completed({"sub_run_id": child_id, "async": True})
    apply(mover, Done(open_step, said, final=True))


def begin_branch(
    mover: Mover, planned: Planned, key: str, decision: StartChild, branch: str
) -> Flow[None]:
    """Start the child of a branch, in the parent's commit; a sync one is driven later."""
    from abstractruntime.engine import perform

    draft = mover.draft
    run = draft.run
    refused = _refused(mover, decision)
    if refused is not None:
        open_step = perform.intend(mover, planned, key, branch=branch)
        apply(mover, Done(open_step, refused, final=True))
        return
    child_id = child_id_of(run.run_id, draft.generation, run.current_node, draft.visit(), branch)
    spec = _spec(mover.settings, decision.workflow_id)
    known = yield Read(lambda store: store.load(child_id))
    child = child_id if decision.wait else None
    open_step = perform.intend(mover, planned, key, child=child, branch=branch)
    _note_closing(mover, decision)
    if known is None:
        draft.creates.append(_creation(mover, child_id, spec, decision))
    if not decision.wait:
        said = EffectOutcome.completed({"sub_run_id": child_id, "async": True})
        apply(mover, Done(open_step, said, final=True))


def _refused(mover: Mover, decision: StartChild) -> EffectOutcome | None:
    if decision.wait and mover.depth >= MAX_NESTED:
        return EffectOutcome.failed(f"Subworkflows nest deeper than {MAX_NESTED}")
    if decision.closing is not None and not mover.settings.lists_children:
        return EffectOutcome.failed("A close policy needs a store that can list children")
    return None


def _note_closing(mover: Mover, decision: StartChild) -> None:
    """The run's end reaches this child: it has something to do before it ends."""
    draft = mover.draft
    if decision.closing is not None and not draft.terms.closes:
        draft.terms = replace(draft.terms, closes=True)


def adopt(mover: Mover, open_step: OpenStep, decision: StartChild) -> Flow[bool]:
    """Start the child of a step that was held back; on the run's own branch, drive a sync one."""
    draft = mover.draft
    run_id, branch = draft.run.run_id, open_step.branch
    child_id = child_id_of(run_id, draft.generation, open_step.node_id, open_step.visit, branch)
    spec = _spec(mover.settings, decision.workflow_id)
    refused = _refused(mover, decision)
    if refused is not None:
        apply(mover, Done(open_step, refused, final=True))
        return True
    _note_closing(mover, decision)
    known = yield Read(lambda store: store.load(child_id))
    if known is None:
        draft.creates.append(_creation(mover, child_id, spec, decision))
    if not decision.wait:
        said = EffectOutcome.completed({"sub_run_id": child_id, "async": True})
        apply(mover, Done(open_step, said, final=True))
        return True
    open_step = replace(open_step, child=child_id)
    draft.open_steps = {**draft.open_steps, branch: open_step}
    if branch == MAIN:
        yield from mover.commit(mover.me)
        yield from drive_open(mover, open_step)
    return True


def unblock_branches(mover: Mover) -> Flow[bool]:
    """Move what waits in branches on: timers that are due, children that have ended."""
    draft, settings = mover.draft, mover.settings
    moved = False
    for branch, opened in list(draft.waits.items()):
        said = opened.wait or {}
        until = said.get("until")
        if until is not None and normal(until) <= normal(mover.now()):
            wait.fire(draft, now=mover.at, line_id=settings.new_id(), branch=branch)
            moved = True
        elif opened.child is not None:
            child = yield from _drive(mover, opened.child)
            if child.status in ENDED:
                name = opened.key or wait_key_of(opened.child)
                message = yield from _message(mover, name, child)
                wait.child_ended(draft, branch, message, now=mover.now(), line_id=settings.new_id())
                moved = True
    return moved


def drive_open(mover: Mover, open_step: OpenStep) -> Flow[None]:
    """Drive the sync child of an open step; the step completes, fails or waits with it."""

    child_id = open_step.child
    assert child_id is not None
    child = yield from _drive(mover, child_id)
    if child.status in ENDED:
        message = yield from _message(mover, wait_key_of(child_id), child)
        mover.draft.consumed.append(message.message_id)
        apply(mover, Done(open_step, _outcome(child), final=True))
        return
    waiting = WaitState(
        reason=WaitReason.SUBWORKFLOW,
        wait_key=wait_key_of(child_id),
        resume_to_node=open_step.effect["payload"].get("resume_to_node") or open_step.next_node,
        result_key=open_step.effect["result_key"],
        details={
            "sub_run_id": child_id,
            "sub_workflow_id": child.workflow_id,
            "sub_waiting": _sub_waiting(child),
        },
    )
    said = EffectOutcome.waiting(waiting)
    apply(mover, Done(open_step, said, final=True))


def unblock(mover: Mover) -> Flow[bool]:
    """A waiting run goes on, or ends, if its time has come or its child has ended; False: it
    waits."""
    draft = mover.draft
    waiting = draft.run.waiting
    if waiting is None:
        return False
    if draft.join is not None:
        return (yield from unblock_branches(mover))
    now = mover.now()
    if waiting.until is not None and normal(waiting.until) <= normal(now):
        asked = approval.asked(draft)
        if asked is not None:
            return approval.fall_due(draft, asked, now=normal(now), ids=mover.settings.new_id)
        wait.fire(draft, now=now, line_id=mover.settings.new_id())
        return True
    if waiting.reason is not WaitReason.SUBWORKFLOW:
        return False
    return (yield from _hear_child(mover, waiting))


def _hear_child(mover: Mover, waiting: WaitState) -> Flow[bool]:
    draft, settings = mover.draft, mover.settings
    opened = draft.waits.get(MAIN)
    child_id = opened.child if opened is not None and opened.child else None
    child_id = child_id or (waiting.details or {}).get("sub_run_id")
    if not child_id:
        return False
    try:
        child = yield from _drive(mover, child_id)
    except UnknownRun:
        # The wait was made by hand: nobody knows of such a child, and somebody may answer yet.
        return False
    if child.status not in ENDED:
        wait.update_child(draft, _sub_waiting(child), now=mover.now(), line_id=settings.new_id())
        return False
    message = yield from _message(mover, waiting.wait_key or wait_key_of(child_id), child)
    now, line_id = mover.now(), settings.new_id()
    if child.status is RunStatus.COMPLETED:
        wait.child_completed(draft, message, now=now, line_id=line_id)
        return True
    draft.consumed.append(message.message_id)
    error = f"Effect failed after 1 attempts: {_failure(child)}"
    ends.fail_wait(draft, error, now=now, line_id=line_id)
    return True


def wait_key_of(child_id: str) -> str:
    """The wait key under which a parent hears of this child."""
    return f"subworkflow:{child_id}"


def new_run(
    settings: Settings,
    spec: WorkflowSpec,
    *,
    run_id: str,
    vars: dict[str, Any] | None,
    actor_id: str | None = None,
    session_id: str | None = None,
    parent_run_id: str | None = None,
    driver: Driver | None = None,
    reports_to: str | None = None,
    deadline: str | None = None,
    closing: str | None = None,
    budget: Budget | None = None,
    above: Mapping[str, Any] | None = None,
) -> Commit:
    """The commit that creates a run at its entry node, below the account `above`. Raises NotJson,
    LimitExceeded for vars."""
    now = settings.now()
    own = dict(vars or {})
    if "_limits" not in own:
        own["_limits"] = settings.limits()
    run = RunState(
        run_id=run_id,
        workflow_id=spec.workflow_id,
        status=RunStatus.RUNNING,
        current_node=spec.entry_node,
        vars=own,
        created_at=now,
        updated_at=now,
        actor_id=actor_id,
        session_id=session_id,
        parent_run_id=parent_run_id,
        checkpoint=Checkpoint(
            version=spec.version,
            driver=driver,
            reports_to=reports_to,
            terms=NO_TERMS
            if deadline is None and closing is None
            else Terms(deadline=deadline, closing=closing),
        ),
    )
    draft = draft_of_new(run, now=now, line_id=settings.new_id)
    if budget is not None or above is not None:
        account = terms_of_new(run_id, budget, above, now=now).account
        draft.terms = replace(draft.terms, account=account)
        draft.counters = counts_of_new(run_id, budget)
    return assemble(draft, settings.sealer, now=now)


def _creation(mover: Mover, child_id: str, spec: WorkflowSpec, decision: StartChild) -> Commit:
    parent = mover.draft.run
    return new_run(
        mover.settings,
        spec,
        run_id=child_id,
        vars=decision.vars,
        actor_id=parent.actor_id,
        session_id=parent.session_id,
        parent_run_id=parent.run_id,
        driver=mover.me if decision.wait else None,
        reports_to=wait_key_of(child_id) if decision.wait else None,
        closing=decision.closing,
        budget=decision.budget,
        above=mover.draft.terms.account,
    )


def _drive(mover: Mover, child_id: str) -> Flow[RunState]:
    """Move the child as far as it goes; its state when another driver has it."""
    try:
        return (yield from mover.descend(child_id, lambda name: _spec(mover.settings, name)))
    except RunBusy:
        loaded: Loaded = yield Read(lambda store: store.load(child_id))
        return loaded.run


def _message(mover: Mover, name: str, child: RunState) -> Flow[Message]:
    """The child's end as it reached the parent's mailbox, or made from the child where none is."""
    run_id = mover.run.run_id
    found: list[Message] = yield Read(lambda store: store.list_messages(run_id, name=name))
    if found:
        mover.draft.consumed.extend(message.message_id for message in found[:-1])
        return found[-1]
    payload = {
        "sub_run_id": child.run_id,
        "workflow_id": child.workflow_id,
        "status": child.status.value,
        "output": child.output,
        "error": child.error,
    }
    return Message(f"{child.run_id}:end", run_id, name, payload, child.updated_at, child.run_id)


def _outcome(child: RunState) -> EffectOutcome:
    if child.status is RunStatus.COMPLETED:
        return EffectOutcome.completed({"sub_run_id": child.run_id, "output": child.output})
    return EffectOutcome.failed(_failure(child))


def _failure(child: RunState) -> str:
    return f"Subworkflow '{child.workflow_id}' failed: {child.error}"


def _sub_waiting(child: RunState) -> dict[str, Any] | None:
    if child.waiting is None:
        return None
    return {"reason": child.waiting.reason.value, "wait_key": child.waiting.wait_key}


def _spec(settings: Settings, workflow_id: str) -> WorkflowSpec:
    spec = None if settings.source is None else settings.source.get(workflow_id)
    if spec is None:
        raise UnknownWorkflow(
            f"Workflow '{workflow_id}' not found in registry", workflow_id=workflow_id
        )
    return spec
