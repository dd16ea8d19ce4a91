"""What a person can do about a run: command lines as words, likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.storage.base import Store

MOST = 4
"""Choices, and open waits, that get a line each."""

Short = Callable[[str], str]
"""A run's id as short as it can be typed."""


@dataclass(frozen=True, slots=True)
class Way:
    """The words behind the program's name; `app`: the workflow's program has to be named."""

    words: tuple[str, ...]
    app: bool = False


def ways_on(store: Store, run: RunState, short: Short) -> list[Way]:
    """What moves the run on, as it is stored now."""
    at = run.checkpoint or Checkpoint()
    name = short(run.run_id)
    if run.status in ENDED:
        ways = _parent(store, run, short)
        if run.status is RunStatus.FAILED:
            ways += [Way(("ledger", name)), Way(("reopen", name))]
        return ways
    ways = []
    if at.terms.paused is not None:
        ways.append(Way(("unpause", name)))
    if any(step.unknown is not None for step in at.open_steps.values()):
        ways += [
            Way(("resolve", name, "--completed", "{}")),
            Way(("resolve", name, "--retry")),
            Way(("resolve", name, "--fail")),
        ]
    if run.status is RunStatus.WAITING and any(s.attempt == 0 for s in at.open_steps.values()):
        return [*ways, Way(("approve", name), app=True), Way(("reject", name), app=True)]
    if run.status is RunStatus.RUNNING:
        return [*ways, Way(("continue", name), app=True)]
    if at.join is not None:
        return [*ways, *_branches(store, at, name, short)]
    if ways or run.waiting is None:
        return ways
    return _answers(store, run.waiting, name, short)


def _parent(store: Store, run: RunState, short: Short) -> list[Way]:
    """A parent that waits for this run's end can go on."""
    loaded = store.load(run.parent_run_id) if run.parent_run_id else None
    waiting = None if loaded is None else loaded.run.waiting
    if loaded is None or waiting is None or waiting.reason is not WaitReason.SUBWORKFLOW:
        return []
    if (waiting.details or {}).get("sub_run_id") != run.run_id:
        return []
    return [Way(("continue", short(loaded.run.run_id)), app=True)]


def _branches(store: Store, at: Checkpoint, name: str, short: Short) -> list[Way]:
    ways = []
    for branch in sorted(at.waits, key=int)[:MOST]:
        said = at.waits[branch].wait or {}
        step = at.open_steps.get(branch)
        if step is not None and step.unknown is not None:
            continue
        ways += _of_branch(store, said, branch, name, short)
    return list(dict.fromkeys(ways)) or [Way(("continue", name), app=True)]


def _of_branch(
    store: Store, said: Mapping[str, Any], branch: str, name: str, short: Short
) -> list[Way]:
    match said.get("reason"):
        case WaitReason.EVENT.value:
            return [Way(("send", name, said.get("wait_key") or "", "--payload", "{}"), app=True)]
        case WaitReason.USER.value:
            choices = said.get("choices") or ["your answer"]
            return [Way(("answer", name, *as_word(str(choices[0])), "--to", branch), app=True)]
        case WaitReason.JOB.value:
            payload = ("--payload", "@result.json", "--to", branch)
            return [Way(("answer", name, *payload), app=True)]
        case WaitReason.SUBWORKFLOW.value:
            child = (said.get("details") or {}).get("sub_run_id")
            loaded = store.load(child) if isinstance(child, str) else None
            return [] if loaded is None else ways_on(store, loaded.run, short)[:1]
    return []


def _answers(store: Store, waiting: WaitState, name: str, short: Short) -> list[Way]:
    match waiting.reason:
        case WaitReason.UNTIL:
            return [Way(("continue", name, "--wait"), app=True)]
        case WaitReason.EVENT:
            return [Way(("send", name, waiting.wait_key or "", "--payload", "{}"), app=True)]
        case WaitReason.JOB:
            return [Way(("answer", name, "--payload", "@result.json"), app=True)]
        case WaitReason.SUBWORKFLOW:
            child = (waiting.details or {}).get("sub_run_id")
            loaded = store.load(child) if isinstance(child, str) else None
            below = [] if loaded is None else ways_on(store, loaded.run, short)
            return list(dict.fromkeys([*below, Way(("continue", name), app=True)]))
        case WaitReason.USER if waiting.choices:
            return [
                Way(("answer", name, *as_word(choice)), app=True)
                for choice in waiting.choices[:MOST]
            ]
        case WaitReason.USER:
            return [Way(("answer", name, "your answer"), app=True)]


def as_word(choice: str) -> tuple[str, ...]:
    """A choice as an argument; one that looks like an option needs its own."""
    return ("--choice", choice) if choice.startswith("-") else (choice,)
