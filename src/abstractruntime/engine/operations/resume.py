"""resume: an answer reaches the open wait, durably; then the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from abstractruntime.core.checkpoint import MAIN, Driver
from abstractruntime.core.commit import Message
from abstractruntime.core.machine import approval, join, wait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine.advance import Mover
from abstractruntime.engine.answer_schemas import refuse_unless_valid
from abstractruntime.engine.approvals import hear
from abstractruntime.engine.load import load_draft
from abstractruntime.engine.operations.change import change
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import RunBusy


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says to a run: to the wait of that key and id, where they are given."""

    run_id: str
    payload: Any
    wait_key: str | None = None
    wait_id: str | None = None
    actor_id: str | None = None


def resume(
    settings: Settings, spec: WorkflowSpec, me: Driver, said: Answer, *, max_steps: float
) -> Flow[RunState]:
    """Answer, then move. Only the answer's commit may be refused: NotWaiting, WaitKeyMismatch,
    StaleAnswer, ChoiceRefused, AnswerRefused, NotEntitled, NotJson, RevisionConflict. When another
    driver has the run by then, its current state comes back."""
    draft = yield from answer(settings, me, said)
    mover = Mover(settings, draft, spec, me, max_steps, patient=True)
    try:
        return (yield from mover.move())
    except RunBusy:
        return (yield from load_draft(settings, said.run_id)).run


def answer(settings: Settings, me: Driver | None, said: Answer) -> Flow[Draft]:
    """Only the answer: the run is RUNNING again, driven by `me`. Durable at either level."""

    def edit(draft: Draft) -> Flow[bool]:
        wait.check_answer(draft, wait_key=said.wait_key, wait_id=said.wait_id, payload=said.payload)
        draft.urgent = True
        asked = approval.asked(draft)
        if asked is not None:
            hear(settings, draft, asked, said.payload, said.actor_id)
            if draft.run.status is RunStatus.RUNNING:
                draft.driver = me
                draft.queued_at = settings.now() if me is None else None
            return True
        branch = MAIN
        if draft.join is not None:
            branch = join.find(draft, wait_key=said.wait_key, wait_id=said.wait_id)
        waiting = draft.run.waiting
        refuse_unless_valid(waiting, said.payload)
        if waiting is not None and waiting.reason is WaitReason.SUBWORKFLOW:
            name = waiting.wait_key
            heard: list[Message] = yield Read(
                lambda store: store.list_messages(said.run_id, name=name)
            )
            draft.consumed.extend(message.message_id for message in heard)
        wait.answer(
            draft,
            said.payload,
            now=settings.now(),
            line_id=settings.new_id(),
            actor_id=said.actor_id,
            wait_key=said.wait_key,
            branch=branch,
        )
        if draft.join is not None:
            join.turn(draft, now=settings.now(), ids=settings.new_id)
        draft.driver = me
        return True

    return (yield from change(settings, said.run_id, edit, again=False))
