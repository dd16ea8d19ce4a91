"""What can be said of a store and its runs as a whole.

It looks; what may be removed is only named, `abstractruntime.storage.leftovers.sweep` removes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.times import parse
from abstractruntime.errors import RuntimeFault, UnknownRun
from abstractruntime.inspect.faults import faults_of
from abstractruntime.inspect.orphans import orphans
from abstractruntime.inspect.runs import RunRow, row_of
from abstractruntime.inspect.standing import STANDINGS, standing_of
from abstractruntime.inspect.verify import Verdict, all_run_ids, verify_run
from abstractruntime.storage.base import Capability, Store
from abstractruntime.storage.leftovers import Leftover

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

    `recoverable`, `parked` and `paused` hold the longest idle ones, at most 20 each; `held` counts
    the paused ones by standing. `damage` is what the
    medium or a read says of itself, `broken` the runs whose ledgers do not verify (None: not
    looked at), `without_sum` how many rows have no checksum, `leftovers` what belongs to nothing.
    """

    facts: dict[str, Any]
    capabilities: dict[str, bool]
    statuses: dict[str, int]
    standings: dict[str, int]
    waits: dict[str, int]
    recoverable: tuple[RunRow, ...]
    parked: tuple[RunRow, ...]
    paused: tuple[RunRow, ...]
    held: dict[str, int]
    troubles: tuple[Trouble, ...]
    damage: tuple[str, ...]
    verified: int
    broken: tuple[Verdict, ...] | None
    without_sum: int
    leftovers: tuple[Leftover, ...]

    @property
    def ok(self) -> bool:
        """Whether the medium is sound, every ledger verifies, no run contradicts itself or is gone
        while its ledger is there."""
        return not (self.troubles or self.damage or self.broken or self.lost)

    @property
    def lost(self) -> tuple[Leftover, ...]:
        """The leftovers of what was there and is gone."""
        return tuple(each for each in self.leftovers if each.lost)

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
            "paused": [row.to_dict() for row in self.paused],
            "held": self.held,
            "troubles": [
                {"run_id": trouble.run_id, "faults": list(trouble.faults)}
                for trouble in self.troubles
            ],
            "damage": list(self.damage),
            "verified": self.verified,
            "broken": None if self.broken is None else [each.to_dict() for each in self.broken],
            "without_sum": self.without_sum,
            "leftovers": [
                {
                    "kind": each.kind,
                    "name": each.name,
                    "why": each.why,
                    "removable": each.path is not None,
                    "lost": each.lost,
                }
                for each in self.leftovers
            ],
        }


def examine(
    store: Store,
    *,
    now: str,
    verify: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Health:
    """Look at the store and every run in it, as of `now`.

    `verify`: at every ledger too, which reads all of them; `progress(done, all)` is told after
    each.
    """
    damage: list[str] = []
    runs = _runs(store, damage)
    tally = _tally(runs, now)
    verdicts = _verdicts(store, _ids(store, runs), progress) if verify else ()
    leftovers = store.leftovers(now_s=parse(now).timestamp())
    if Capability.QUERYABLE in store.capabilities and not damage:
        leftovers += orphans(store, runs)
    return Health(
        facts=_facts(store, damage),
        capabilities={each.value: each in store.capabilities for each in Capability},
        **tally,
        damage=tuple(damage),
        verified=len(verdicts),
        broken=tuple(each for each in verdicts if not each.ok) if verify else None,
        without_sum=sum(each.without_sum for each in verdicts),
        leftovers=tuple(leftovers),
    )


def _ids(store: Store, runs: dict[str, RunState]) -> list[str]:
    """Of all runs; also when one that is damaged kept them from being listed."""
    if not runs:
        with suppress(RuntimeFault):
            return all_run_ids(store)
    return list(runs)


def _verdicts(
    store: Store, run_ids: list[str], progress: Callable[[int, int], None] | None
) -> tuple[Verdict, ...]:
    verdicts = []
    for number, run_id in enumerate(run_ids, start=1):
        with suppress(UnknownRun):  # its host removed it meanwhile
            verdicts.append(verify_run(store, run_id))
        if progress is not None:
            progress(number, len(run_ids))
    return tuple(verdicts)


def _facts(store: Store, damage: list[str]) -> dict[str, Any]:
    try:
        return store.facts()
    except RuntimeFault as fault:
        if str(fault) not in damage:
            damage.append(str(fault))
        return {"url": store.url}


def _runs(store: Store, damage: list[str]) -> dict[str, RunState]:
    """All runs by id, as far as they can be read; what stands against that goes to `damage`."""
    try:
        damage += store.check()
        if Capability.QUERYABLE not in store.capabilities:
            return {}
        return {run.run_id: run for run in store.list_runs(limit=MANY)}
    except RuntimeFault as fault:
        damage.append(str(fault))
        return {}


def _tally(runs: dict[str, RunState], now: str) -> dict[str, Any]:
    """The fields of Health that are counted over all runs."""
    statuses = {status.value: 0 for status in RunStatus}
    standings = {name: 0 for name in STANDINGS if name != "ended"}
    waits: dict[str, int] = {}
    held: dict[str, int] = {}
    idle: dict[str, list[RunRow]] = {"recoverable": [], "parked": [], "paused": []}
    troubles = []
    for run in runs.values():
        statuses[run.status.value] += 1
        standing = standing_of(run)
        if standing != "ended":
            standings[standing] += 1
        if run.status is RunStatus.WAITING and run.waiting is not None:
            reason = run.waiting.reason.value
            waits[reason] = waits.get(reason, 0) + 1
        row = row_of(run, now=now)
        if row.paused:
            held[standing] = held.get(standing, 0) + 1
            idle["paused"].append(row)
        elif standing in idle:
            idle[standing].append(row)
        faults = tuple(faults_of(run))
        if faults:
            troubles.append(Trouble(run.run_id, faults))
    longest = {
        name: tuple(sorted(rows, key=lambda row: -row.idle_s)[:SHOWN])
        for name, rows in idle.items()
    }
    return {
        "statuses": statuses,
        "standings": standings,
        "waits": waits,
        "held": held,
        "troubles": tuple(troubles),
        **longest,
    }
