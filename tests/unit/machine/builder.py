"""Runs between two commits, made of fixed times and ids, and what a move did to one.

Every expectation is a whole value: `changes` names all that differs, and nothing else may.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count
from typing import Any

from abstractruntime.core.canonical import chain_form, encode
from abstractruntime.core.checkpoint import MAIN, Checkpoint, Driver, OpenStep, OpenWait
from abstractruntime.core.commit import Commit, Entry, Loaded
from abstractruntime.core.delta import Encoding, apply_delta
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Planned
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict

CREATED = "2026-01-01T00:00:00.000000+00:00"
BEGAN = "2026-01-02T00:00:00.000000+00:00"
NOW = "2026-01-03T00:00:00.000000+00:00"
LATER = "2026-01-04T00:00:00.000000+00:00"

EFFECT: dict[str, Any] = {"type": "call", "payload": {"n": 1}, "result_key": "out.value"}
STEP = OpenStep(
    step_id="step-1",
    node_id="a",
    visit=2,
    effect=EFFECT,
    key="key-1",
    started_at=BEGAN,
    opened=3,
    next_node="b",
    salt="5a17",
)
WAIT = WaitState(
    WaitReason.USER,
    wait_key="user:a",
    resume_to_node="b",
    result_key="said.last",
    prompt="Well?",
)
WAIT_DICT: dict[str, Any] = {
    "reason": "user",
    "wait_key": "user:a",
    "until": None,
    "resume_to_node": "b",
    "result_key": "said.last",
    "prompt": "Well?",
    "choices": None,
    "allow_free_text": True,
    "details": None,
}
OPEN_WAIT = OpenWait("wait-1", "step-1", "a", 2, 3, "user:a")
DRIVER = Driver(host="here/1", boot="boot-1", pid=42, started="100", token="flow-1")
OTHER_BRANCH = "left"
"""A second branch: whatever happens on the main one leaves it as it is."""


def planned(payload: dict[str, Any] | None = None, **fields: Any) -> Planned:
    payload = {"n": 1} if payload is None else payload
    known = {"type": "call", "result_key": "out.value", "next_node": "b", **fields}
    return Planned(payload=payload, text=encode(payload), form=chain_form(payload), **known)


def checkpoint(**fields: Any) -> Checkpoint:
    return Checkpoint(**{"revision": 3, "visits": {"a": 2}, "entered": True, **fields})


def run_of(
    vars: dict[str, Any] | None = None, kernel: Checkpoint | None = None, **fields: Any
) -> RunState:
    known: dict[str, Any] = {
        "run_id": "run-1",
        "workflow_id": "wf",
        "status": RunStatus.RUNNING,
        "current_node": "a",
        "created_at": CREATED,
        "updated_at": BEGAN,
        "actor_id": "ada",
        "session_id": "s-1",
    }
    vars = {"n": 1} if vars is None else vars
    return RunState(**{**known, "vars": vars, "checkpoint": kernel, **fields})


def loaded(
    vars: dict[str, Any] | None = None, kernel: Checkpoint | None = None, **fields: Any
) -> Loaded:
    encoding, fresh = Encoding.of({"n": 1} if vars is None else vars)
    return Loaded(run_of(fresh, kernel or checkpoint(), **fields), encoding)


def draft_of(
    vars: dict[str, Any] | None = None, kernel: Checkpoint | None = None, **fields: Any
) -> Draft:
    return Draft(loaded(vars, kernel, **fields))


def stepping(step: OpenStep = STEP, **kernel: Any) -> Draft:
    """A run whose effect is being performed."""
    return draft_of(kernel=checkpoint(open_steps={MAIN: step}, **kernel))


def waiting(
    wait: WaitState = WAIT,
    opened: OpenWait | None = OPEN_WAIT,
    vars: dict[str, Any] | None = None,
    **kernel: Any,
) -> Draft:
    """A run that waits."""
    waits = {} if opened is None else {MAIN: opened}
    return draft_of(
        vars,
        checkpoint(waits=waits, **kernel),
        status=RunStatus.WAITING,
        waiting=deepcopy(wait),
    )


def ids(prefix: str = "line") -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def salts() -> Iterator[bytes]:
    """16 bytes each: 0101…, 0202…, …"""
    return (bytes([number]) * 16 for number in range(1, 256))


# ---- what is expected


def record(**fields: Any) -> dict[str, Any]:
    """A note of run-1 at node a, unless said otherwise."""
    return {
        "run_id": "run-1",
        "step_id": "line-1",
        "node_id": "a",
        "status": "completed",
        "effect": None,
        "result": None,
        "error": None,
        "started_at": NOW,
        "ended_at": NOW,
        "actor_id": "ada",
        "session_id": "s-1",
        "attempt": 1,
        "idempotency_key": None,
        "prev_hash": None,
        "record_hash": None,
        "signature": None,
        **fields,
    }


def step_record(status: str, **fields: Any) -> dict[str, Any]:
    """A record of STEP."""
    known = {
        "step_id": "step-1",
        "status": status,
        "effect": EFFECT,
        "started_at": BEGAN,
        "ended_at": None if status == "started" else NOW,
        "idempotency_key": "key-1",
        "visit": 2,
    }
    return record(**{**known, **fields})


def line(record: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An Entry as `whole` shows it."""
    return {**slots_of(Entry(record)), **fields}


# ---- what is there


def slots_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def whole(draft: Draft) -> dict[str, Any]:
    """Everything a draft holds, as plain values that later moves cannot change."""
    kernel = {
        name: value
        for name, value in slots_of(draft).items()
        if name not in ("run", "encoding", "lines")
    }
    public = run_to_dict(draft.run)
    public.pop("checkpoint", None)
    lines = [slots_of(each) if isinstance(each, Entry) else each for each in draft.lines]
    plain = {**kernel, **public, "lines": lines, "encoding": draft.encoding.text()}
    return deepcopy(plain)


def changes(before: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """What a draft holds that differs from `before`."""
    now = whole(draft)
    assert now.keys() == before.keys()
    return {name: value for name, value in now.items() if value != before[name]}


def fresh_delta(draft: Draft, before: dict[str, Any]) -> bytes | None:
    """The vars that the draft's delta leads to."""
    return None if draft.delta is None else apply_delta(before["encoding"], [draft.delta])


def commit_dict(commit: Commit, base: bytes | None = None) -> dict[str, Any]:
    """A commit as plain values; `delta` is what it makes of `base`."""
    parts = slots_of(commit)
    parts["run"] = run_to_dict(commit.run)
    parts["encoding"] = commit.encoding.text()
    if commit.delta is not None:
        parts["delta"] = apply_delta(base or b"", [commit.delta])
    return parts
