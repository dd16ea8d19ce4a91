"""What can be said of a store and its runs as a whole. It looks; it never repairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.inspect.runs import RunRow, row_of
from abstractruntime.inspect.standing import STANDINGS, standing_of
from abstractruntime.storage.base import Capability, Store

MANY = 1_000_000_000
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """A run that contradicts itself: what is wrong with it."""

    run_id: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """A store looked at: its facts, live runs by standing, all by status, and what is wrong.

    `recoverable` and `parked` hold the longest idle ones, at most 20 each.
    """

    facts: dict[str, Any]
    capabilities: dict[str, bool]
    statuses: dict[str, int]
    standings: dict[str, int]
    waits: dict[str, int]
    recoverable: tuple[RunRow, ...]
    parked: tuple[RunRow, ...]
    troubles: tuple[Trouble, ...]

    @property
    def ok(self) -> bool:
        """Whether no run contradicts itself."""
        return not self.troubles

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "ok": self.ok,
            "facts": self.facts,
            "capabilities": self.capabilities,
            "statuses": self.statuses,
            "standings": self.standings,
            "waits": self.waits,
            "recoverable": [row.to_dict() for row in self.recoverable],
            "parked": [row.to_dict() for row in self.parked],
            "troubles": [
                {"run_id": trouble.run_id, "faults": list(trouble.faults)}
                for trouble in self.troubles
            ],
        }


def examine(store: Store, *, now: str) -> Health:
    """Look at the store and every run in it, as of `now`."""
    statuses = {status.value: 0 for status in RunStatus}
    standings = {name: 0 for name in STANDINGS if name != "ended"}
    waits: dict[str, int] = {}
    idle: dict[str, list[RunRow]] = {"recoverable": [], "parked": []}
    troubles = []
    if Capability.QUERYABLE in store.capabilities:
        for run in store.list_runs(limit=MANY):
            statuses[run.status.value] += 1
            standing = standing_of(run)
            if standing != "ended":
                standings[standing] += 1
            if run.status is RunStatus.WAITING and run.waiting is not None:
                reason = run.waiting.reason.value
                waits[reason] = waits.get(reason, 0) + 1
            if standing in idle:
                idle[standing].append(row_of(run, now=now))
            faults = tuple(_faults(run))
            if faults:
                troubles.append(Trouble(run.run_id, faults))
    longest = {
        name: tuple(sorted(rows, key=lambda row: -row.idle_s)[:SHOWN])
        for name, rows in idle.items()
    }
    return Health(
        facts=store.facts(),
        capabilities={each.value: each in store.capabilities for each in Capability},
        statuses=statuses,
        standings=standings,
        waits=waits,
        recoverable=longest["recoverable"],
        parked=longest["parked"],
        troubles=tuple(troubles),
    )


def _faults(run: RunState) -> Iterator[str]:
    """What in a stored run contradicts the rest of it."""
    at = run.checkpoint
    if at is None:
        yield "it has no checkpoint"
        at = Checkpoint()
    if run.status in ENDED:
        if at.open_steps:
            yield f"it is {run.status.value} and has an open step"
        if at.waits or run.waiting is not None:
            yield f"it is {run.status.value} and has an open wait"
    elif run.status is RunStatus.WAITING:
        if run.waiting is None:
            yield "it is waiting and nothing says for what"
        if at.open_steps:
            yield "it is waiting and has an open step"
    else:
        if run.waiting is not None:
            yield "it is running and has an open wait"
        stranded = [
            step.node_id for step in at.open_steps.values() if step.wake_at is None
        ]  # fmt: skip
        if stranded and at.driver is None:
            yield f"the step at node '{stranded[0]}' is open and nobody performs it"
    if run.status is RunStatus.COMPLETED and run.output is None:
        yield "it is completed and has no output"
    if run.status is RunStatus.FAILED and not run.error:
        yield "it is failed and nothing says why"
    if at.linked > at.evidence:
        yield f"its ledger links {at.linked} pieces of evidence, {at.evidence} are kept"
