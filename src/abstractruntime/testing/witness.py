"""Who saw what effects did, kept outside the runtime: in memory, or in a file that survives kills.

An effect may be performed again only with the same key, and only until its outcome is committed.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from abstractruntime.engine.outcome import StepContext
from abstractruntime.storage.base import Store
from abstractruntime.testing.crashes import Fuse


@dataclass(frozen=True, slots=True)
class Performance:
    """One time that an effect did what it is for."""

    key: str
    run_id: str
    node_id: str
    visit: int
    attempt: int
    pid: int


class Witness:
    """Sees performances. `fuse` may end the process before or after each of them ("effect").

    `committed(run_id, key)` tells whether the ledger already holds the outcome of that step; a
    performance that comes after that is kept in `repeated`.
    """

    def __init__(self, committed: Callable[[str, str], bool] | None = None) -> None:
        self.performed: list[Performance] = []
        self.repeated: list[Performance] = []
        self.fuse = Fuse()
        self._committed = committed
        self._lock = threading.Lock()

    def perform(self, step: StepContext) -> Performance:
        """The side effect of `step` happens now."""
        seen = performance_of(step)
        self.fuse.guard("effect", lambda: self._see(seen))
        return seen

    def _see(self, seen: Performance) -> None:
        repeated = self._committed is not None and self._committed(seen.run_id, seen.key)
        with self._lock:
            self.performed.append(seen)
            if repeated:
                self.repeated.append(seen)


class FileWitness:
    """Sees performances into a file, one JSON line each, on the medium when `perform` returns.

    Several processes may write to one file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def perform(self, step: StepContext) -> Performance:
        """The side effect of `step` happens now."""
        seen = performance_of(step)
        line = json.dumps(asdict(seen)).encode() + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)
        return seen

    @property
    def performed(self) -> list[Performance]:
        """All that is in the file, in order; a torn last line never was."""
        if not self.path.exists():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")
        return [Performance(**json.loads(line)) for line in whole]


def performance_of(step: StepContext) -> Performance:
    """What a witness writes of a step."""
    return Performance(step.key, step.run_id, step.node_id, step.visit, step.attempt, os.getpid())


def outcome_committed(store: Store) -> Callable[[str, str], bool]:
    """Asks `store` whether a run's ledger holds the completed outcome of the step with that key."""

    def committed(run_id: str, key: str) -> bool:
        return key in committed_keys(store, run_id)

    return committed


def committed_keys(store: Store, run_id: str) -> set[str]:
    """The keys of all steps of a run whose outcome its ledger holds."""
    return {
        record["idempotency_key"]
        for record in store.list_records(run_id)
        if record["effect"] is not None and record["status"] == "completed"
    }
