"""What people build workflows from: effects, plans, runs, waits and ledger records.

Shapes and field order are the public API; how a run may move is `core.machine`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from abstractruntime.core._defaults import new_id
from abstractruntime.core._defaults import utc_now_iso as utc_now
from abstractruntime.core.approval import Approval
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.options import Retry

__all__ = [
    "Effect",
    "EffectType",
    "LimitWarning",
    "RunState",
    "RunStatus",
    "StepPlan",
    "StepRecord",
    "StepStatus",
    "WaitReason",
    "WaitState",
    "utc_now",
]


class RunStatus(str, Enum):
    """Where a run stands; completed, failed and cancelled are ends."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WaitReason(str, Enum):
    """What kind of thing a waiting run waits for."""

    EVENT = "event"
    UNTIL = "until"
    USER = "user"
    JOB = "job"
    SUBWORKFLOW = "subworkflow"


class EffectType(str, Enum):
    """The effect types known by name; a plain string naming a registered handler works too."""

    WAIT_EVENT = "wait_event"
    WAIT_UNTIL = "wait_until"
    ASK_USER = "ask_user"
    LLM_CALL = "llm_call"
    TOOL_CALLS = "tool_calls"
    START_SUBWORKFLOW = "start_subworkflow"
    CALL = "call"


class StepStatus(str, Enum):
    """What one ledger record says of its step."""

    STARTED = "started"
    COMPLETED = "completed"
    WAITING = "waiting"
    FAILED = "failed"


def type_name(effect_type: EffectType | str) -> str:
    """The effect type as the plain string that ledgers, keys and policies use."""
    return effect_type._value_ if isinstance(effect_type, Enum) else str(effect_type)


@dataclass(frozen=True)
class Effect:
    """A request to the outside world as data; its result goes to the dotted `result_key`.

    The rest says how it is performed; what is not said, the registered function or handler and
    then the effect policy say. `delivery`: see core.options.Delivery. Seconds: `timeout_s` for one
    attempt, `total_timeout_s` for all of them, `heartbeat_s` between two signs of life. `undo` is
    performed if the run fails or is cancelled after this effect was or may have been. With an
    `approval` (core.approval.Approval) it waits until somebody has approved it. `costs` {"tokens",
    "cost"}: the most one attempt spends, where a budget limits it.
    """

    type: EffectType | str
    payload: dict[str, Any] = field(default_factory=dict)
    result_key: str | None = None
    delivery: str | None = None
    retry: Retry | None = None
    timeout_s: float | None = None
    total_timeout_s: float | None = None
    heartbeat_s: float | None = None
    undo: Effect | None = None
    approval: Approval | None = None
    costs: dict[str, int] | None = None


@dataclass(frozen=True)
class StepPlan:
    """What a node wants next: an effect, a next node, or the run's output.

    `effects`: several at once, each a branch with records, key, retry and delivery class of its
    own; `limit` of them at a time. The run goes to `next_node` when the `join` fires, once: "all"
    completed (but for `failures` that are borne), "any" one of them, or so many. At the dotted
    `into` stands then {"results": [in order, None where none came], "errors": {branch: text},
    "cancelled": [branch]}.
    """

    node_id: str
    effect: Effect | None = None
    next_node: str | None = None
    complete_output: dict[str, Any] | None = None
    effects: Sequence[Effect] | None = None
    join: str | int = "all"
    limit: int | None = None
    failures: int = 0
    into: str | None = None


@dataclass
class WaitState:
    """What a waiting run waits for, and where it goes when the answer comes."""

    reason: WaitReason
    wait_key: str | None = None
    until: str | None = None
    resume_to_node: str | None = None
    result_key: str | None = None
    prompt: str | None = None
    choices: list[str] | None = None
    allow_free_text: bool = True
    details: dict[str, Any] | None = None


@dataclass
class RunState:
    """A run as last committed. `checkpoint` is the kernel's; programs leave it as it is."""

    run_id: str
    workflow_id: str
    status: RunStatus
    current_node: str
    vars: dict[str, Any] = field(default_factory=dict)
    waiting: WaitState | None = None
    output: dict[str, Any] | None = None
    error: str | None = None
    created_at: str = field(default_factory=utc_now)
    updated_at: str = field(default_factory=utc_now)
    actor_id: str | None = None
    session_id: str | None = None
    parent_run_id: str | None = None
    checkpoint: Checkpoint | None = None

    @classmethod
    def new(
        cls,
        *,
        workflow_id: str,
        entry_node: str,
        actor_id: str | None = None,
        session_id: str | None = None,
        vars: dict[str, Any] | None = None,
        parent_run_id: str | None = None,
    ) -> RunState:
        """A RUNNING run with a fresh UUID, standing at `entry_node`; nothing is stored."""
        return cls(
            run_id=new_id(),
            workflow_id=workflow_id,
            status=RunStatus.RUNNING,
            current_node=entry_node,
            vars=vars or {},
            actor_id=actor_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
        )


@dataclass
class StepRecord:
    """One line of a run's ledger.

    Moves that are no step (resumed, cancelled, edited, moved, …) have effect None, status
    completed and result {"kind": …}.
    """

    run_id: str
    step_id: str
    node_id: str
    status: StepStatus
    effect: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    started_at: str = field(default_factory=utc_now)
    ended_at: str | None = None
    actor_id: str | None = None
    session_id: str | None = None
    attempt: int = 1
    idempotency_key: str | None = None
    prev_hash: str | None = None
    record_hash: str | None = None
    signature: str | None = None
    visit: int | None = None
    branch: str | None = None
    generation: int | None = None
    revision: int | None = None
    chain: int | None = None
    salts: dict[str, str] | None = None
    last: bool | None = None
    next_node: str | None = None
    next_at: str | None = None
    vars: dict[str, Any] | None = None

    @classmethod
    def start(
        cls,
        *,
        run: RunState,
        node_id: str,
        effect: Effect | None,
        attempt: int = 1,
        idempotency_key: str | None = None,
    ) -> StepRecord:
        """A STARTED record of `effect` at `node_id`, with a fresh step id."""
        return cls(
            run_id=run.run_id,
            step_id=new_id(),
            node_id=node_id,
            status=StepStatus.STARTED,
            effect=None
            if effect is None
            else {
                "type": type_name(effect.type),
                "payload": effect.payload,
                "result_key": effect.result_key,
            },
            actor_id=run.actor_id,
            session_id=run.session_id,
            attempt=attempt,
            idempotency_key=idempotency_key,
        )

    def finish_success(self, result: dict[str, Any] | None = None) -> StepRecord:
        """Mark completed with `result`; returns self."""
        return self._finish(StepStatus.COMPLETED, result=result)

    def finish_waiting(self, wait: WaitState) -> StepRecord:
        """Mark waiting; the result holds every field of `wait`; returns self."""
        return self._finish(StepStatus.WAITING, result={"wait": wait_to_dict(wait)})

    def finish_failure(self, error: str) -> StepRecord:
        """Mark failed with `error`; returns self."""
        self.error = error
        return self._finish(StepStatus.FAILED, result=self.result)

    def _finish(self, status: StepStatus, *, result: dict[str, Any] | None) -> StepRecord:
        self.status = status
        self.result = result
        self.ended_at = utc_now()
        return self


@dataclass
class LimitWarning:
    """A limit that is near or passed; `pct` is current of maximum, one decimal."""

    limit_type: str
    status: str
    current: int
    maximum: int
    pct: float = 0.0

    def __post_init__(self) -> None:
        if self.maximum > 0:
            self.pct = round(self.current / self.maximum * 100, 1)


def wait_to_dict(wait: WaitState) -> dict[str, Any]:
    """The wait as the JSON object that ledgers and stores hold."""
    return {
        "reason": wait.reason.value,
        "wait_key": wait.wait_key,
        "until": wait.until,
        "resume_to_node": wait.resume_to_node,
        "result_key": wait.result_key,
        "prompt": wait.prompt,
        "choices": wait.choices,
        "allow_free_text": wait.allow_free_text,
        "details": wait.details,
    }


def wait_from_dict(data: dict[str, Any]) -> WaitState:
    """The inverse of `wait_to_dict`; ValueError when `reason` is missing."""
    if not data.get("reason"):
        raise ValueError("Persisted waiting state missing 'reason'")
    return WaitState(
        reason=WaitReason(data["reason"]),
        wait_key=data.get("wait_key"),
        until=data.get("until"),
        resume_to_node=data.get("resume_to_node"),
        result_key=data.get("result_key"),
        prompt=data.get("prompt"),
        choices=data.get("choices"),
        allow_free_text=data.get("allow_free_text", True),
        details=data.get("details"),
    )


def run_to_dict(run: RunState) -> dict[str, Any]:
    """The run as a JSON object, keys in field order; `checkpoint` only when there is one."""
    data: dict[str, Any] = {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status._value_,
        "current_node": run.current_node,
        "vars": run.vars,
        "waiting": None if run.waiting is None else wait_to_dict(run.waiting),
        "output": run.output,
        "error": run.error,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "actor_id": run.actor_id,
        "session_id": run.session_id,
        "parent_run_id": run.parent_run_id,
    }
    if run.checkpoint is not None:
        data["checkpoint"] = Checkpoint.coerce(run.checkpoint).to_dict()
    return data


def run_from_dict(data: dict[str, Any]) -> RunState:
    """The inverse of `run_to_dict`; keys it does not know are ignored."""
    waiting = data.get("waiting")
    checkpoint = data.get("checkpoint")
    return RunState(
        run_id=data["run_id"],
        workflow_id=data["workflow_id"],
        status=RunStatus(data["status"]),
        current_node=data["current_node"],
        vars=data.get("vars") or {},
        waiting=None if waiting is None else wait_from_dict(waiting),
        output=data.get("output"),
        error=data.get("error"),
        created_at=data.get("created_at") or utc_now(),
        updated_at=data.get("updated_at") or utc_now(),
        actor_id=data.get("actor_id"),
        session_id=data.get("session_id"),
        parent_run_id=data.get("parent_run_id"),
        checkpoint=None if checkpoint is None else Checkpoint.coerce(checkpoint),
    )


def record_to_dict(record: StepRecord) -> dict[str, Any]:
    """The record as the JSON object a ledger holds: api fields always, later ones when set."""
    data: dict[str, Any] = {
        "run_id": record.run_id,
        "step_id": record.step_id,
        "node_id": record.node_id,
        "status": record.status.value,
        "effect": record.effect,
        "result": record.result,
        "error": record.error,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "actor_id": record.actor_id,
        "session_id": record.session_id,
        "attempt": record.attempt,
        "idempotency_key": record.idempotency_key,
        "prev_hash": record.prev_hash,
        "record_hash": record.record_hash,
        "signature": record.signature,
    }
    for name in _LATER_FIELDS:
        value = getattr(record, name)
        if value is not None:
            data[name] = value
    return data


_LATER_FIELDS = tuple(StepRecord.__dataclass_fields__)[16:]
_RECORD_FIELDS = frozenset(StepRecord.__dataclass_fields__)


def record_from_dict(data: dict[str, Any]) -> StepRecord:
    """The inverse of `record_to_dict`; keys it does not know are ignored."""
    known = {name: value for name, value in data.items() if name in _RECORD_FIELDS}
    known["status"] = StepStatus(known["status"])
    return StepRecord(**known)
