"""A ledger as people read it: one line per step or move, with attempts, durations and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from abstractruntime.core import times
from abstractruntime.core.canonical import encode
from abstractruntime.errors import InvalidInput
from abstractruntime.inspect.text import one_line
from abstractruntime.storage.base import Store

PAGE = 500
"""Commits read at a time."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, or one move that is no step.

    `what` is the effect's type or the move's kind, `about` a phrase on it, `seconds` from its
    first attempt to its outcome, `waited_s` from there to the answer; None while they last. Of a
    branch that lost its join the status is "cancelled".
    """

    step_id: str
    node: str
    visit: int | None
    what: str
    about: str
    status: str
    attempts: int
    revision: int
    started_at: str
    ended_at: str | None
    seconds: float | None
    waited_s: float | None = None
    error: str | None = None
    branch: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Summary:
    """What a ledger holds, counted. `effects`: completed steps by effect; `moves`: by kind."""

    records: int = 0
    steps: int = 0
    completed: int = 0
    failed_attempts: int = 0
    waits: int = 0
    answers: int = 0
    recoveries: int = 0
    first_at: str | None = None
    last_at: str | None = None
    effects: dict[str, int] = field(default_factory=dict)
    moves: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


def each_record(store: Store, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """A run's records in order, read page by page: a ledger may be longer than memory."""
    loaded = store.load(run_id)
    at = None if loaded is None else loaded.run.checkpoint
    newest = 0 if at is None else at.revision
    while True:
        page = store.list_records(run_id, after=after, limit=PAGE)
        yield from page
        if not page and after >= newest:
            return
        # Commits may hold no record, so that a page may be empty before the end.
        last = int(page[-1].get("revision") or 0) if page else 0
        after = last if last > after else after + PAGE


def timeline(records: Iterable[Mapping[str, Any]]) -> list[Step]:
    """The ledger's steps and moves in the order they began."""
    steps: dict[str, Step] = {}
    for record in records:
        step_id = str(record["step_id"])
        if record.get("effect") is None:
            if _cancelled(steps, record):
                continue
            move = _move(record, steps)
            _answered(steps, record)
            known = steps.get(step_id)
            if known is not None:  # a wait that can only fail is closed under its own step id
                steps[step_id] = replace(known, status=move.status, error=move.error)
            else:
                steps[step_id] = move
            continue
        known = steps.get(step_id)
        steps[step_id] = _step(record) if known is None else _later(known, record)
    return list(steps.values())


def summarise(records: Iterable[Mapping[str, Any]]) -> Summary:
    """The ledger, counted in one pass."""
    summary = Summary()
    seen: set[str] = set()
    for record in records:
        summary.records += 1
        summary.first_at = summary.first_at or record["started_at"]
        summary.last_at = record.get("ended_at") or record["started_at"]
        effect, status = record.get("effect"), record["status"]
        if effect is None:
            kind = _kind(record)
            summary.moves[kind] = summary.moves.get(kind, 0) + 1
            summary.answers += kind == "resumed"
            summary.recoveries += kind == "recovered"
            continue
        if record["step_id"] not in seen:
            seen.add(record["step_id"])
            summary.steps += 1
        if status == "completed":
            summary.completed += 1
            summary.effects[effect["type"]] = summary.effects.get(effect["type"], 0) + 1
        summary.waits += status == "waiting"
        summary.failed_attempts += status == "failed"
    return summary


def _step(record: Mapping[str, Any]) -> Step:
    effect = record["effect"]
    return _later(
        Step(
            step_id=str(record["step_id"]),
            node=str(record["node_id"]),
            visit=record.get("visit"),
            what=str(effect["type"]),
            about=_about(effect),
            status=record["status"],
            attempts=record.get("attempt") or 1,
            revision=record.get("revision") or 0,
            started_at=record["started_at"],
            ended_at=None,
            seconds=None,
            branch=record.get("branch"),
        ),
        record,
    )


def _later(step: Step, record: Mapping[str, Any]) -> Step:
    """The step after one more of its records."""
    ended = record.get("ended_at")
    return replace(
        step,
        status=record["status"],
        attempts=max(step.attempts, record.get("attempt") or 1),
        ended_at=ended,
        seconds=None if ended is None else _between(step.started_at, ended),
        error=record.get("error"),
    )


def _answered(steps: dict[str, Step], record: Mapping[str, Any]) -> None:
    """A wait's step is over when the answer comes: how long it waited."""
    result = record.get("result") or {}
    wait_id = result.get("wait_id")
    waiting = steps.get(wait_id) if isinstance(wait_id, str) else None
    if result.get("kind") == "resumed" and waiting is not None and waiting.ended_at:
        steps[waiting.step_id] = replace(
            waiting, waited_s=_between(waiting.ended_at, record["started_at"])
        )


def _cancelled(steps: dict[str, Step], record: Mapping[str, Any]) -> bool:
    """A branch lost its join: its step is over, as far as the run goes."""
    result = record.get("result") or {}
    lost = steps.get(str(result.get("step_id")))
    if result.get("kind") != "branch_cancelled" or lost is None:
        return False
    steps[lost.step_id] = replace(lost, status="cancelled", ended_at=record["started_at"])
    return True


def _move(record: Mapping[str, Any], steps: Mapping[str, Step]) -> Step:
    return Step(
        step_id=str(record["step_id"]),
        node=str(record["node_id"]),
        visit=record.get("visit"),
        what=_kind(record),
        about=_move_about(record.get("result") or {}, record.get("actor_id"), steps),
        status=record["status"],
        attempts=1,
        revision=record.get("revision") or 0,
        started_at=record["started_at"],
        ended_at=record.get("ended_at"),
        seconds=0.0,
        error=record.get("error"),
        branch=_branch_of(record.get("result") or {}, steps),
    )


def _branch_of(result: Mapping[str, Any], steps: Mapping[str, Step]) -> str | None:
    """The branch that a move is about."""
    if result.get("branch"):
        return str(result["branch"])
    named = (result.get(name) for name in ("resolved_step", "step", "wait_id", "recovered_step"))
    about = next((steps[name] for name in named if isinstance(name, str) and name in steps), None)
    return None if about is None else about.branch


def _kind(record: Mapping[str, Any]) -> str:
    result = record.get("result") or {}
    if result.get("completed") is True and "kind" not in result:
        return "completed"
    return str(result.get("kind") or "record")


def _about(effect: Mapping[str, Any]) -> str:
    """The part of an effect's payload that tells it from its like."""
    payload = effect.get("payload")
    if not isinstance(payload, Mapping):
        return ""
    if effect["type"] == "call":
        arguments = payload.get("arguments") or {}
        return f"{payload.get('function')}({_named(arguments)})"
    for name in ("prompt", "wait_key", "until", "workflow_id"):
        if payload.get(name):
            return str(payload[name])
    return _named(payload)


def _move_about(result: Mapping[str, Any], actor: str | None, steps: Mapping[str, Step]) -> str:
    match result.get("kind"):
        case "moved":
            said = f"to {result.get('to')}"
        case "resumed":
            said = f"by {result.get('cause')}: {_text(result.get('payload'))}"
        case "recovered":
            said = _recovered(result)
        case "edited":
            said = ", ".join(map(str, result.get("changed") or ()))
        case "restored":
            fresh = " afresh" if result.get("fresh") else ""
            said = f"snapshot {result.get('snapshot_id')}{fresh}"
        case "joined":
            counts = {name: result.get(name) for name in ("completed", "failed", "cancelled")}
            said = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        case "set_out":
            begun = steps.get(str(result.get("begun_step")))
            said = "begins" if begun is None else f"{begun.about} begins"
        case "heartbeat":
            said = _text(result.get("progress"))
        case "resolved":
            said = _said(f"as {result.get('outcome')}", actor, result.get("reason"))
        case "paused" | "unpaused":
            said = _said("", actor, result.get("reason"))
        case _:
            said = str(result.get("reason") or result.get("error_type") or "")
    return said


def _recovered(result: Mapping[str, Any]) -> str:
    driver = result.get("driver") or {}
    said = f"its driver, process {driver.get('pid')}, had died" if driver else ""
    several = result.get("recovered_steps")
    if isinstance(several, list):
        open_ = f"{len(several):,} open {'step' if len(several) == 1 else 'steps'}"
        return f"{said}; {open_}" if said else open_
    return said


def _said(what: str, actor: str | None, reason: Any) -> str:
    by = f"{what} by {actor}".strip() if actor else what
    return ": ".join(str(each) for each in (by, reason) if each)


def _named(values: Mapping[str, Any]) -> str:
    """Arguments by name, each short enough that the last can be seen too."""
    each = 60 if len(values) < 2 else 24
    return ", ".join(f"{name}={one_line(_text(value), each)}" for name, value in values.items())


def _text(value: Any) -> str:
    """A value as JSON; only its beginning when it is large."""
    if isinstance(value, str) and len(value) > 400:
        value = value[:400]
    elif isinstance(value, list) and len(value) > 8:
        return f"[{len(value)} items]"
    elif isinstance(value, dict) and len(value) > 40:
        return f"{{{len(value)} fields}}"
    try:
        return encode(value).decode("utf-8")
    except InvalidInput:
        return repr(value)


def _between(earlier: str, later: str) -> float:
    return max(0.0, times.seconds_between(earlier, later))
