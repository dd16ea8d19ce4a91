"""What a node's step plan asks for, checked before anything is performed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime.core.canonical import chain_form, exact
from abstractruntime.core.models import Effect, StepPlan, type_name
from abstractruntime.core.options import recorded
from abstractruntime.core.values import value
from abstractruntime.errors import InvalidPlan

MAY_STAY = frozenset({"wait_event", "ask_user", "start_subworkflow"})
"""Effects that may omit the next node: the run then enters the same node again."""

MAX_BRANCHES = 10_000
"""Effects that one plan may ask for at once."""

_NEEDS: dict[str | int, int] = {"all": 0, "any": 1}

ENDS = ("fail", "pause")
"""What Retry.on_exhausted may say beside the name of a node."""


@value
class Planned:
    """An effect as it will be recorded: `payload` decoded from `text`, shared with nobody.

    `form` is the payload's chain form: what its idempotency key and its commitment are made of.
    """

    type: str
    payload: dict[str, Any]
    result_key: str | None
    next_node: str | None
    text: bytes
    form: bytes
    options: dict[str, Any] | None = None
    undo: dict[str, Any] | None = None

    @property
    def effect(self) -> dict[str, Any]:
        """The effect as ledger records hold it."""
        effect = {"type": self.type, "payload": self.payload, "result_key": self.result_key}
        if self.options:
            effect["options"] = self.options
        return effect


@value
class Fanout:
    """Several effects at once; `need` of them must complete, 0: all but `borne` failures."""

    branches: tuple[Planned, ...]
    next_node: str
    need: int
    borne: int
    limit: int | None
    into: str | None


@value
class Goto:
    """No effect: go to the next node."""

    next_node: str


@value
class Finish:
    """The run's output; it completes."""

    output: Any
    text: bytes


def effect_digest(effect: Mapping[str, Any]) -> str:
    """SHA-256 of a recorded effect: equal effects, and no others, have equal digests."""
    core = {name: effect.get(name) for name in ("type", "payload", "result_key")}
    return hashlib.sha256(chain_form(core)).hexdigest()


def check(
    plan: StepPlan, *, node_id: str, knows: Callable[[str], bool], workflow_id: str
) -> Planned | Fanout | Goto | Finish:
    """The plan as one of four things to do. Raises InvalidPlan, NotJson, LimitExceeded."""
    if not isinstance(plan, StepPlan):
        raise InvalidPlan(f"Node '{node_id}' returned {type(plan).__name__}, not a StepPlan")
    if plan.complete_output is not None:
        text, output = exact(plan.complete_output, path="$.complete_output")
        return Finish(output, text)
    effect = plan.effect
    if plan.effects is not None:
        return _fanout(plan, node_id, knows, workflow_id)
    if effect is None:
        if not plan.next_node:
            raise InvalidPlan(f"Node '{node_id}' returned no effect and no next_node")
        return Goto(_known(plan.next_node, knows, workflow_id))
    return _planned(effect, plan.next_node, node_id, knows, workflow_id)


def _fanout(plan: StepPlan, node_id: str, knows: Callable[[str], bool], workflow_id: str) -> Fanout:
    if plan.effect is not None:
        raise InvalidPlan(f"Node '{node_id}' planned one effect and several")
    effects = list(plan.effects or ())
    if not effects or len(effects) > MAX_BRANCHES:
        count = len(effects)
        raise InvalidPlan(f"Node '{node_id}' planned {count} effects, not 1 to {MAX_BRANCHES}")
    if not plan.next_node:
        raise InvalidPlan(f"Node '{node_id}' planned several effects but did not specify next_node")
    next_node = _known(plan.next_node, knows, workflow_id)
    branches = tuple(_planned(each, next_node, node_id, knows, workflow_id) for each in effects)
    for each in branches:
        exhausted = ((each.options or {}).get("retry") or {}).get("on_exhausted", "fail")
        if exhausted not in ENDS:
            raise InvalidPlan(f"Node '{node_id}': a branch cannot go to node '{exhausted}'")
    need: Any = _NEEDS.get(plan.join, plan.join)
    if type(need) is not int or need < (plan.join != "all") or need > len(branches):
        raise InvalidPlan(
            f"Node '{node_id}': join is 'all', 'any' or 1 to {len(branches)}, not {plan.join!r}"
        )
    for name, found, least in (("limit", plan.limit, 1), ("failures", plan.failures, 0)):
        if found is not None and (type(found) is not int or found < least):
            raise InvalidPlan(f"Node '{node_id}': {name} cannot be {found!r}")
    into = plain(plan.into) if plan.into else None
    return Fanout(branches, next_node, need, plan.failures, plan.limit, into)


def _planned(
    effect: Effect,
    next_node: str | None,
    node_id: str,
    knows: Callable[[str], bool],
    workflow_id: str,
) -> Planned:
    if not isinstance(effect, Effect):
        raise InvalidPlan(f"Node '{node_id}' planned {type(effect).__name__}, not an Effect")
    kind = type_name(effect.type)
    text, payload = exact(effect.payload, path="$.effect.payload")
    if type(payload) is not dict:
        raise InvalidPlan(f"Node '{node_id}': effect payload must be an object")
    resume_to = payload.get("resume_to_node")
    if next_node is None and isinstance(resume_to, str) and resume_to:
        next_node = resume_to
    if resume_to is not None:
        _known(resume_to, knows, workflow_id)
    next_node = _known(next_node, knows, workflow_id) if next_node else None
    stays = kind in MAY_STAY and not (kind == "start_subworkflow" and payload.get("async"))
    if not next_node and not stays:
        raise InvalidPlan(f"Node '{node_id}' executed effect but did not specify next_node")
    key = effect.result_key
    if key is not None and not isinstance(key, str):
        raise InvalidPlan(f"Node '{node_id}': result_key must be text")
    key = plain(key) if key else None
    return Planned(
        kind,
        payload,
        key,
        next_node,
        text,
        chain_form(payload),
        _options(effect, knows),
        None if effect.undo is None else _undo(effect.undo, node_id),
    )


def _undo(effect: Effect, node_id: str) -> dict[str, Any]:
    """An undo as it is registered."""
    if not isinstance(effect, Effect):
        raise InvalidPlan(f"Node '{node_id}' planned {type(effect).__name__} as undo, no Effect")
    kind = type_name(effect.type)
    if kind in MAY_STAY or kind == "wait_until":
        raise InvalidPlan(f"Node '{node_id}': an undo cannot wait, as '{kind}' does")
    if effect.undo is not None:
        raise InvalidPlan(f"Node '{node_id}': an undo has no undo")
    payload = exact(effect.payload, path="$.effect.undo.payload")[1]
    if type(payload) is not dict:
        raise InvalidPlan(f"Node '{node_id}': an undo's payload must be an object")
    key = plain(effect.result_key) if effect.result_key else None
    said = {"type": kind, "payload": payload, "result_key": key}
    # What comes after its last attempt is not its to say: somebody is asked.
    options = _options(effect, ENDS.__contains__)
    return {**said, "options": options} if options else said


def _options(effect: Effect, knows: Callable[[str], bool]) -> dict[str, Any] | None:
    if (effect.delivery or effect.retry or effect.costs) is None and (
        effect.approval is None
        and effect.timeout_s is effect.total_timeout_s is effect.heartbeat_s is None
    ):
        return None
    said = recorded(
        delivery=effect.delivery,
        retry=effect.retry,
        timeout_s=effect.timeout_s,
        total_timeout_s=effect.total_timeout_s,
        heartbeat_s=effect.heartbeat_s,
        approval=effect.approval,
        costs=effect.costs,
    )
    exhausted = "fail" if effect.retry is None else effect.retry.on_exhausted
    if exhausted not in ENDS and not knows(exhausted):
        raise InvalidPlan(f"Unknown node_id {exhausted!r} in Retry.on_exhausted", node=exhausted)
    return said or None


def plain(name: str) -> str:
    """The name itself where a str enum was given."""
    return name if type(name) is str else str.__str__(name)


def _known(node: Any, knows: Callable[[str], bool], workflow_id: str) -> str:
    if not isinstance(node, str) or not knows(node):
        raise InvalidPlan(f"Unknown node_id {node!r} in workflow '{workflow_id}'", node=node)
    return plain(node)
