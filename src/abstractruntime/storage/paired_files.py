"""What a pair sees of its stores without reading all, where they are files of ours.

By it a process notices what others, or a crash of theirs, left of a run behind its back.
"""

from __future__ import annotations

from abstractruntime.core.models import RunState
from abstractruntime.errors import StoreCorrupt, StoreReadOnly
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired_journal import Record, is_evidence, revision_of
from abstractruntime.storage.paired_known import Known

Torn = tuple[str, int]
"""The file that torn bytes are kept in, and how many they are."""


class Ends:
    """The runs in `runs`, and the ends of their ledgers in `ledger`."""

    def __init__(self, runs: RunStore, ledger: LedgerStore) -> None:
        self._runs = runs
        self._files = ledger if isinstance(ledger, JsonlLedgerStore) else None

    def load(self, run_id: str) -> tuple[RunState | None, object]:
        """The run, and the mark of its file."""
        if isinstance(self._runs, JsonFileRunStore):
            return self._runs.load_marked(run_id)
        return self._runs.load(run_id), None

    def save(self, run: RunState) -> object:
        """Save the run; the mark that its file then has."""
        if isinstance(self._runs, JsonFileRunStore):
            return self._runs.save_marked(run)
        self._runs.save(run)
        return None

    def unchanged(self, run_id: str, known: Known) -> bool:
        """Whether run and ledger are surely as they were when they were last seen."""
        if known.seen is None or not isinstance(self._runs, JsonFileRunStore):
            return False
        seen = self.mark(run_id), self._runs.mark(run_id)
        return seen == (known.mark, known.seen)

    def mark(self, run_id: str) -> object:
        """Another value whenever somebody has appended to the run's ledger."""
        return None if self._files is None else self._files.mark(run_id)

    def torn(self, run_id: str) -> Torn | None:
        """What a crash cut short at the end of the run's ledger, set aside now."""
        try:
            return None if self._files is None else self._files.set_torn_aside(run_id)
        except StoreReadOnly:  # whoever may only look is not given it either
            return None

    def refuse_lost_run(self, run_id: str) -> None:
        """StoreCorrupt when there is a ledger of a run that has no file: it was not us."""
        last = None if self._files is None else self._files.last(run_id)
        # Records of revision 1 alone are of a run whose creation a crash cut short.
        if last is None or is_evidence(last) or revision_of(last) == 1:
            return
        assert self._files is not None
        raise StoreCorrupt(
            f"The file of run '{run_id}' is gone, its ledger {self._files.path(run_id)} is there",
            fix="put the run's file back from a backup, or move its ledger away too",
            run_id=run_id,
            path=str(self._files.path(run_id)),
        )


def torn_note(torn: Torn) -> Record:
    """What the ledger says of bytes that were set aside."""
    file, size = torn
    return {"file": file, "bytes": size}


def innermost(ledger: LedgerStore) -> LedgerStore:
    """The ledger that records end up in, beneath those that only seal them."""
    while True:
        inner = getattr(ledger, "inner", None)
        if inner is None:
            return ledger
        ledger = inner
