"""Why a run stands where it does, from the store alone: what it waits for, who has it, what went
wrong last. `explain` says it in words.

It looks and changes nothing; no workflow is loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import MAIN, Checkpoint, Driver, OpenStep
from abstractruntime.core.commit import Message
from abstractruntime.core.machine.mail import WAIT_KEYS, expired, times_out
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, wait_from_dict, wait_to_dict
from abstractruntime.engine.liveness import is_live
from abstractruntime.errors import UnknownRun
from abstractruntime.inspect.runs import short_ids
from abstractruntime.inspect.standing import standing_of
from abstractruntime.inspect.text import one_line
from abstractruntime.inspect.ways import Way, ways_on
from abstractruntime.storage.base import Store

SHOWN = 10
"""Open waits, steps and names of unread messages that are looked at closely."""

LOOKED_BACK = 200
"""Revisions from the end in which the last error is looked for."""

RESENT = 200
"""Characters of a payload that are worth repeating in a command."""

ALIKE = 0.6
"""How alike a message's name and a wait's key are, by difflib's ratio, to be taken for a slip."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One open wait. `until`: `limit` says whether it is a limit or what is waited for; `child`
    {"run_id", "status"}; `step`: what was being performed when its outcome became unknown."""

    branch: str
    reason: str
    keys: tuple[str, ...]
    since: str
    prompt: str | None = None
    choices: tuple[str, ...] = ()
    until: str | None = None
    limit: bool = False
    child: dict[str, Any] | None = None
    unknown: str | None = None
    step: str | None = None
    ready: int = 0
    """Messages that are there for it."""
    lapsed: int = 0
    """Messages for it whose time was over before they were read."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Unread messages of one name that no open wait hears; `meant`: the key it may be a slip of."""

    name: str
    count: int
    since: str
    payload: Any
    meant: str | None = None


@dataclass(frozen=True, slots=True)
class Trying:
    """A step that is being performed, or will be. `due`: when its next attempt is, if set."""

    branch: str
    node: str
    what: str
    attempt: int
    delivery: str
    begun: bool
    since: str
    due: str | None = None
    error: str | None = None
    failed_at: str | None = None
    progress: Any = None


@dataclass(frozen=True, slots=True)
class Why:
    """All that is known of why a run stands where it does."""

    run_id: str
    short: str
    workflow_id: str
    status: str
    standing: str
    node: str
    since: str
    error: str | None
    waits: tuple[Waiting, ...]
    more_waits: int
    unread: tuple[Unread, ...]
    trying: tuple[Trying, ...]
    more_trying: int
    wake: str | None
    deadline: str | None
    driver: dict[str, Any] | None
    paused: dict[str, Any] | None
    join: dict[str, Any] | None
    ways: tuple[Way, ...]

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("waits", "unread", "trying"):
            plain[name] = [_plain(each) for each in plain[name]]
        del plain["ways"]
        return plain


def why(store: Store, run_id: str, *, now: str, live: Callable[[Driver], bool] = is_live) -> Why:
    """Look at one run as of `now`. Raises UnknownRun."""
    loaded = store.load(run_id)
    if loaded is None:
        raise UnknownRun(f"Unknown run_id: {one_line(run_id, 60)}", run_id=run_id)
    run = loaded.run
    at = run.checkpoint or Checkpoint()

    def short(each: str) -> str:
        return short_ids(store, [each], all_known=False)[each]

    messages = [] if run.status in ENDED else store.list_messages(run_id)
    tail = _tail(store, run, at)
    waits = [_waiting(store, run, at, branch, messages, tail, now) for branch in _waits(at)]
    unread = _unread(messages, [key for wait in waits for key in wait.keys], now)
    steps = [
        _trying(step, tail)
        for step in at.open_steps.values()
        if step.unknown is None and step.attempt != 0
    ]
    return Why(
        run_id=run_id,
        short=short(run_id),
        workflow_id=run.workflow_id,
        status=run.status.value,
        standing=standing_of(run, live=live),
        node=run.current_node,
        since=run.updated_at,
        error=run.error,
        waits=tuple(waits),
        more_waits=max(0, len(at.waits) - SHOWN),
        unread=tuple(unread),
        trying=tuple(sorted(steps, key=lambda step: (step.due or "", step.branch)))[:SHOWN],
        more_trying=max(0, len(steps) - SHOWN),
        wake=None if run.status in ENDED else _wake(run, at),
        deadline=None if run.status in ENDED else at.terms.deadline,
        driver=None
        if at.driver is None or run.status in ENDED
        else {
            "pid": at.driver.pid,
            "host": at.driver.host.partition("/")[0],
            "live": live(at.driver),
        },
        paused=None if run.status in ENDED else at.terms.paused,
        join=None if at.join is None else at.join.to_dict(),
        ways=(*_resend(unread, short(run_id)), *ways_on(store, run, short)),
    )


def _wake(run: RunState, at: Checkpoint) -> str | None:
    return at.wake_at(run.waiting.until if run.waiting is not None else None)


def _waits(at: Checkpoint) -> list[str]:
    return sorted(at.waits, key=lambda branch: int(branch or 0))[:SHOWN]


def _waiting(
    store: Store,
    run: RunState,
    at: Checkpoint,
    branch: str,
    messages: Iterable[Message],
    tail: list[dict[str, Any]],
    now: str,
) -> Waiting:
    opened = at.waits[branch]
    said: Mapping[str, Any] = opened.wait or {}
    if branch == MAIN and run.waiting is not None:
        said = wait_to_dict(run.waiting)
    wait = wait_from_dict({"reason": "event", **said})
    several = (wait.details or {}).get(WAIT_KEYS)
    keys = tuple(several) if isinstance(several, list) else (opened.key or wait.wait_key or "",)
    hears = wait.reason.value == "event"
    there = [message for message in messages if hears and message.name in keys]
    step = at.open_steps.get(branch)
    unknown = None if step is None else step.unknown
    return Waiting(
        branch=branch,
        reason="unknown" if unknown is not None else wait.reason.value,
        keys=keys if hears else (),
        since=_opened_at(store, run, opened.step_id, opened.opened, tail),
        prompt=None if unknown is not None else wait.prompt,
        choices=tuple(wait.choices or ()),
        until=wait.until,
        limit=times_out(wait),
        child=_child(store, (wait.details or {}).get("sub_run_id")),
        unknown=unknown,
        step=None if step is None else f"{step.effect['type']} at node '{step.node_id}'",
        ready=sum(not expired(message, now) for message in there),
        lapsed=sum(expired(message, now) for message in there),
    )


def _opened_at(
    store: Store, run: RunState, step_id: str, revision: int, tail: list[dict[str, Any]]
) -> str:
    """When the wait was opened, as its record says."""
    for records in (tail, store.list_records(run.run_id, after=max(0, revision - 1), limit=1)):
        for record in reversed(records):
            if record["step_id"] == step_id and record["status"] == "waiting":
                return str(record.get("ended_at") or record["started_at"])
    return run.updated_at


def _child(store: Store, child_id: object) -> dict[str, Any] | None:
    if not isinstance(child_id, str):
        return None
    loaded = store.load(child_id)
    if loaded is None:
        return {"run_id": child_id, "status": "gone", "waits_for": None}
    waiting = loaded.run.waiting
    return {
        "run_id": child_id,
        "status": loaded.run.status.value,
        "waits_for": None if waiting is None else waiting.reason.value,
    }


def _trying(step: OpenStep, tail: list[dict[str, Any]]) -> Trying:
    failed = next(
        (r for r in reversed(tail) if r["step_id"] == step.step_id and r["status"] == "failed"),
        None,
    )
    payload = step.effect.get("payload") or {}
    function = payload.get("function") if step.effect["type"] == "call" else None
    return Trying(
        branch=step.branch,
        node=step.node_id,
        what=str(function or step.effect["type"]),
        attempt=step.attempt,
        delivery=str((step.effect.get("options") or {}).get("delivery") or "at_least_once"),
        begun=step.begun,
        since=step.started_at,
        due=step.wake_at,
        error=None if failed is None else failed.get("error"),
        failed_at=None if failed is None else failed.get("ended_at"),
        progress=step.progress,
    )


def _tail(store: Store, run: RunState, at: Checkpoint) -> list[dict[str, Any]]:
    """The newest records of a live run that waits or is at a step."""
    if run.status in ENDED or not (at.open_steps or at.waits):
        return []
    return store.list_records(run.run_id, after=max(0, at.revision - LOOKED_BACK))


def _unread(messages: Iterable[Message], keys: list[str], now: str) -> list[Unread]:
    """What was sent under names that nothing hears now, those that look like a slip first."""
    found: dict[str, Unread] = {}
    for message in messages:
        name = message.name
        if name in keys or expired(message, now):
            continue
        known = found.get(name)
        if known is None:
            meant = _meant(name, keys)
            found[name] = Unread(name, 1, message.sent_at, message.payload, meant)
        else:
            found[name] = Unread(name, known.count + 1, known.since, known.payload, known.meant)
    return sorted(found.values(), key=lambda each: (each.meant is None, each.since))[:SHOWN]


def _resend(unread: list[Unread], name: str) -> Iterator[Way]:
    """What was sent under a name that was a slip, sent under the right one."""
    for each in unread[:1]:
        text = encode(each.payload).decode("utf-8")
        if each.meant is not None:
            shown = text if len(text) <= RESENT else "@payload.json"
            yield Way(("send", name, each.meant, "--payload", shown), app=True)


def _meant(name: str, keys: list[str]) -> str | None:
    folded = {_bare(key): key for key in reversed(keys)}
    near = get_close_matches(_bare(name), folded, n=1, cutoff=ALIKE)
    return folded[near[0]] if near else None


def _bare(name: str) -> str:
    return name.strip().casefold()


def _plain(each: Any) -> dict[str, Any]:
    return {name: getattr(each, name) for name in each.__slots__}


def is_over(status: str) -> bool:
    """Whether a run of that status has ended."""
    return RunStatus(status) in ENDED
