"""Approvals in the flow of a run: effects that have to wait for one, answers to it, and the step
that begins by its grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from abstractruntime.core.approval import FAIL, Approval, Rule, ruled
from abstractruntime.core.canonical import chain_form, encode
from abstractruntime.core.checkpoint import OpenStep
from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine import approval, undo
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.times import normal
from abstractruntime.engine.answer_schemas import compiled, refuse_unless_fits
from abstractruntime.engine.effects import Decision
from abstractruntime.engine.outcome import EffectOutcome
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings
from abstractruntime.engine.settle import Done, apply
from abstractruntime.errors import (
    AnswerRefused,
    ApprovalMismatch,
    InvalidInput,
    InvalidPlan,
    NotEntitled,
    NotJson,
    StaleAnswer,
)

if TYPE_CHECKING:
    from abstractruntime.engine.advance import Mover

DECISIONS = ("approve", "edit", "reject")
MOST_REASON = 4096
"""Characters of a reason: it stands in the ledger, in the run's error and in vars."""


# -- before anything is performed


def holds(mover: Mover, planned: Planned, key: str, decision: Decision) -> bool:
    """Whether the effect cannot begin now: it is denied, or has to be approved first.

    A rule that denies comes before all else, then what the effect says itself, then a rule that
    asks. What only waits or asks a person is under no rule.
    """
    own, rule = _wanted(mover, planned, decision)
    if own is None:
        if rule is None:
            return False
        from abstractruntime.engine.perform import intend

        apply(mover, Done(intend(mover, planned, key), _denied(rule), final=True))
        return True
    if rule is not None:
        planned = replace(planned, options={**(planned.options or {}), "approval": own})
    if planned.undo is not None:
        # Who approves sees it, and it is registered by the commit that uses up the grant.
        planned = replace(planned, options={**(planned.options or {}), "undo": planned.undo})
    settings = mover.settings
    try:
        _refuse_unless_sound(mover, Approval.of(own))
        approval.ask(
            mover.draft,
            planned,
            step_id=settings.new_id(),
            key=key,
            now=mover.at,
            salt=settings.sealer.new_salt(),
            rule=None if rule is None else rule.text,
        )
    except InvalidInput as error:
        mover.fail_node(error)
    return True


def bars(mover: Mover, planned: Planned, decision: Decision) -> EffectOutcome | None:
    """Why one of several effects of a plan is not performed; None: nothing keeps it from that."""
    own, rule = _wanted(mover, planned, decision)
    if own is not None:
        return EffectOutcome.failed(
            "An effect that has to be approved cannot be one of several at once: plan it alone"
        )
    return None if rule is None else _denied(rule)


def denies(mover: Mover, planned: Planned, decision: Decision) -> EffectOutcome | None:
    """Why an undo is not performed: a rule denies it. Who approved its effect has seen it."""
    own, rule = _wanted(mover, planned, decision)
    return None if own is not None or rule is None else _denied(rule)


def _wanted(
    mover: Mover, planned: Planned, decision: Decision
) -> tuple[Mapping[str, Any] | None, Rule | None]:
    """(The approval that is needed, the rule that says so); without an approval a rule denies."""
    own = (planned.options or {}).get("approval")
    rules = mover.settings.approvals
    if own is None and not rules:
        return None, None
    if isinstance(decision, EffectOutcome):
        return (None if decision.status == "failed" else own), None
    rule = ruled(rules, planned.effect)
    if rule is not None and rule.action == "deny":
        return None, rule
    if own is not None:
        return own, None
    if rule is not None and rule.action == "ask":
        return rule.approval.to_dict(), rule
    return None, None


def _denied(rule: Rule) -> EffectOutcome:
    return EffectOutcome.failed(f"Denied by the approval rule '{rule.text}'")


def _refuse_unless_sound(mover: Mover, terms: Approval) -> None:
    for name in ("on_expired", "on_rejected"):
        node = getattr(terms, name)
        if node != FAIL and node not in mover.spec.nodes:
            raise InvalidPlan(f"Unknown node_id {node!r} in Approval.{name}", node=node)
    if terms.answer_schema is not None:
        compiled(terms.answer_schema)


# -- answers


def hear(
    settings: Settings, draft: Draft, step: OpenStep, payload: Any, actor_id: str | None
) -> None:
    """Put a vote, an edit or a rejection into the draft.

    Raises AnswerRefused, NotEntitled, StaleAnswer, NotJson, having changed nothing.
    """
    said = {"decision": payload} if isinstance(payload, str) else payload
    terms = approval.terms_of(step)
    actor = _checked_answer(draft, step, terms, said, actor_id, settings.now())
    if terms.answer_schema is not None:
        refuse_unless_fits(terms.answer_schema, said)
    decision, now, ids = said["decision"], settings.now(), settings.new_id
    if decision == "reject":
        approval.reject(draft, step, actor, said.get("reason"), now=now, ids=ids)
        return
    if decision == "edit":
        edited = _checked_edit(settings, draft, step, said.get("payload"))
        assert step.approval is not None
        if edited["digest"] != step.approval["digest"]:
            step = approval.edit(
                draft, step, edited["payload"], actor, now=now, ids=ids,
                salt=settings.sealer.new_salt(),
            )  # fmt: skip
    votes = (step.approval or {}).get("votes", ())
    if any(vote["by"] == actor for vote in votes):
        raise AnswerRefused(
            f"Actor '{actor}' has approved already: {len(votes)} of {terms.quorum}",
            fix="let somebody else answer",
            run_id=draft.run.run_id,
        )
    approval.vote(draft, step, actor, now=now, ids=ids)


def _checked_answer(
    draft: Draft, step: OpenStep, terms: Approval, said: Any, actor_id: str | None, now: str
) -> str:
    """Who says it; refused when it is no decision, comes too late or is not theirs."""
    state, run_id = step.approval or {}, draft.run.run_id
    if not isinstance(said, Mapping) or said.get("decision") not in DECISIONS:
        raise AnswerRefused(
            f"Run '{run_id}' waits for an approval, and the answer decides nothing",
            fix='answer {"decision": "approve"}, "reject" with a "reason", or "edit" with a '
            '"payload"',
            run_id=run_id,
        )
    if not actor_id:
        raise AnswerRefused(
            "An approval is somebody's: actor_id is missing", fix="resume(…, actor_id=…)",
            run_id=run_id,
        )  # fmt: skip
    actor = checked(actor_id, "actor_id")
    if not terms.may(actor, escalated=bool(state.get("escalated"))):
        allowed = ", ".join(terms.by or ())
        raise NotEntitled(
            f"Actor '{actor}' may not answer for run '{run_id}': {allowed} may", run_id=run_id,
            node=step.node_id, actor=actor,
        )  # fmt: skip
    digest = said.get("digest")
    if digest is not None and digest != state["digest"]:
        raise StaleAnswer(
            f"The answer is for the effect {digest!r}, but run '{run_id}' asks for "
            f"'{state['digest']}'",
            run_id=run_id,
            expected=state["digest"],
            found=digest,
        )
    expires = state.get("expires_at")
    if expires is not None and normal(now) >= expires:
        raise StaleAnswer(f"The approval expired at {expires}", run_id=run_id, expired_at=expires)
    reason = said.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > MOST_REASON):
        raise AnswerRefused(f"A reason is a text of at most {MOST_REASON} characters")
    return actor


def _checked_edit(settings: Settings, draft: Draft, step: OpenStep, payload: Any) -> dict[str, Any]:
    """The edited payload and the digest of its effect."""
    if not isinstance(payload, dict):
        raise AnswerRefused('An edit needs the new payload: {"decision": "edit", "payload": {…}}')
    if payload.get("resume_to_node") != step.effect["payload"].get("resume_to_node"):
        raise AnswerRefused("An edit cannot change where the run goes: resume_to_node")
    effect = {**step.effect, "payload": payload}
    rule = ruled(settings.approvals, effect)
    if rule is not None and rule.action == "deny":
        raise AnswerRefused(
            f"The edited effect is denied by the approval rule '{rule.text}'",
            run_id=draft.run.run_id,
        )
    return {"payload": payload, "digest": approval.digest_of(effect)}


# -- the step that was approved


def takes(mover: Mover, open_step: OpenStep) -> Flow[bool]:
    """Begin an approved step; True: that is done, or it must not be performed. False: it has begun,
    and goes on as any other."""
    draft, state = mover.draft, open_step.approval or {}
    grant = state.get("grant")
    if open_step.attempt == 0 and grant is None:
        approval.ask_again(draft, open_step, now=mover.now(), line_id=mover.settings.new_id())
        return True
    recorded = state["digest"] if grant is None else grant["digest"]
    found = _digest_now(open_step)
    if found != recorded:
        error = ApprovalMismatch(
            f"The effect stored for node '{open_step.node_id}' is not the one approved: "
            f"approved {recorded[:16]}…, found {found[:16]}…",
        )
        approval.mismatch(
            draft, open_step, f"ApprovalMismatch: {error.message}", now=mover.now(),
            line_id=mover.settings.new_id(),
        )  # fmt: skip
        return True
    if open_step.attempt != 0:
        return False
    planned = _planned_again(open_step)
    key = open_step.key
    if state.get("before"):
        from abstractruntime.engine.perform import step_key

        try:
            key = step_key(mover, planned)
        except InvalidInput as error:
            mover.fail_node(error)
            return True
    from abstractruntime.engine import perform

    yield from perform.begin(mover, planned, key, open_step)
    return True


def start(mover: Mover, open_step: OpenStep, key: str, *, child: str | None) -> OpenStep:
    """The intent of an approved step, in the draft: it uses up the grant."""
    options = open_step.effect["options"]
    bounded = "total_timeout_s" in options
    begun = approval.begin(
        mover.draft,
        open_step,
        key=key,
        now=mover.at,
        line_id=mover.settings.new_id(),
        first_at=mover.at if bounded else None,
        own_key=mover.settings.own_keys,
        child=child,
    )
    if options.get("undo") is not None:
        line_id = mover.settings.new_id()
        undo.register(mover.draft, begun, options["undo"], now=mover.at, line_id=line_id)
    return begun


def _digest_now(open_step: OpenStep) -> str:
    try:
        return approval.digest_of(open_step.effect)
    except (NotJson, KeyError) as error:
        return f"no digest: {error}"


def _planned_again(open_step: OpenStep) -> Planned:
    effect = open_step.effect
    payload = effect["payload"]
    return Planned(
        effect["type"],
        payload,
        effect["result_key"],
        open_step.next_node,
        encode(payload),
        chain_form(payload),
        effect["options"],
    )
