"""The judge of what a fault left of ten-step runs: lost, unreadable, repeated or different?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from abstractruntime.core.models import RunStatus
from abstractruntime.errors import RuntimeFault
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.base import Store
from abstractruntime.testing.witness import Performance, Witness, committed_keys
from tests.crashes.verdict import check_ended, check_ledger
from tests.faults.campaign import check_sqlite
from tests.faults.ten_steps import OUTPUT, STEPS, Place, finish_all, host_on


class Violation(AssertionError):
    """What a fault must not do; its first word is the kind."""


class Untyped(AssertionError):
    """An error came that is none of the package's."""


@dataclass
class Count:
    """What a series of faults did."""

    judged: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    slowest_opening: float = 0.0

    def judge(
        self,
        place: Place,
        acknowledged: Mapping[str, int],
        performed: Sequence[Performance],
        note: str,
    ) -> None:
        """Look at what is in the store, end its runs, look again; count what is wrong."""
        self.judged += 1
        try:
            opening = judge(place, acknowledged, performed)
            self.slowest_opening = max(self.slowest_opening, opening)
        except Violation as violation:
            self.violations[str(violation).split()[0].rstrip(":")] += 1
            self.examples.append(f"{note}: {violation}")

    def __str__(self) -> str:
        found = dict(self.violations) or "0 violations"
        return f"{self.judged} judged, {found}, slowest opening {self.slowest_opening:.3f} s"

    def check(self) -> None:
        if self.violations:
            raise Violation(f"{self.violations}\n" + "\n".join(self.examples[:5]))
        assert self.slowest_opening <= 1.0


def judge(place: Place, acknowledged: Mapping[str, int], performed: Sequence[Performance]) -> float:
    """How long it took to open the store and load its runs. Raises Violation."""
    began = time.perf_counter()
    try:
        with place.open() as store:
            store.list_runs()
            opening = time.perf_counter() - began
            _go_on(store, acknowledged, performed)
        if place.kind == "sqlite":
            check_sqlite(place.store / "runs.db")
        with place.open() as store:
            for run in store.list_runs():
                _check_verified(store, run.run_id)
    except RuntimeFault as fault:
        raise Violation(f"unreadable {type(fault).__name__}: {fault}") from fault
    return opening


def _go_on(store: Store, acknowledged: Mapping[str, int], performed: Sequence[Performance]) -> None:
    known: set[str] = set()
    for run_id, revision in acknowledged.items():
        loaded = store.load(run_id)
        if loaded is None:
            raise Violation(f"lost run {run_id}, acknowledged up to revision {revision}")
        assert loaded.run.checkpoint is not None
        found = loaded.run.checkpoint.revision
        if found < revision:
            raise Violation(f"lost revision {revision}, found {found}")
    for run in store.list_runs():
        _check_verified(store, run.run_id)
        known |= committed_keys(store, run.run_id)
    never = known - {seen.key for seen in performed}
    if never:
        raise Violation(f"different: {len(never)} outcomes of effects nobody performed")
    witness = Witness()
    run_ids = finish_all(store, host_on(store, witness))
    again = [seen for seen in witness.performed if seen.key in known]
    if again:
        raise Violation(f"repeated {len(again)} effects after their commit")
    for run_id in run_ids:
        _check_end(store, run_id, [*performed, *witness.performed])


def _check_verified(store: Store, run_id: str) -> None:
    verdict = verify_run(store, run_id)
    if not verdict.ok:
        raise Violation(f"unverified: {verdict.faults}")
    try:
        check_ledger(store, run_id)
    except AssertionError as error:
        raise Violation(f"different: {error}") from error


def _check_end(store: Store, run_id: str, performed: Sequence[Performance]) -> None:
    loaded = store.load(run_id)
    assert loaded is not None
    run = loaded.run
    if run.status is not RunStatus.COMPLETED or run.output != OUTPUT:
        raise Violation(f"different end: {run.status} {run.error} at {run.current_node}")
    mine = {(seen.node_id, seen.visit): seen.key for seen in performed if seen.run_id == run_id}
    if len(mine) != STEPS or len(set(mine.values())) != STEPS:
        raise Violation(f"different: {len(mine)} of {STEPS} steps performed")
    try:
        check_ended(store, run)
    except AssertionError as error:
        raise Violation(f"different: {error}") from error
