"""Which runs have lost their driver: their process died, or their flow ended without an end."""

from __future__ import annotations

from abstractruntime.core.machine.table import ENDED
from abstractruntime.engine.liveness import is_live
from abstractruntime.storage.base import Store


def orphaned(store: Store, *, limit: int = 1000) -> list[str]:
    """Ids of live runs that are not paused and whose checkpoint names a driver that is dead."""
    found = []
    for run in store.list_driven(limit=limit):
        at = run.checkpoint
        driver = None if at is None or at.terms.paused is not None else at.driver
        if driver is not None and run.status not in ENDED and not is_live(driver):
            found.append(run.run_id)
    return found
