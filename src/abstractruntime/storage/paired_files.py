"""What a pair sees of its stores without reading all, where they are files of ours.

By it a process notices what others, or a crash of theirs, left of a run behind its back.
"""

from __future__ import annotations

from abstractruntime.core.machine.edit import public_digest
from abstractruntime.core.models import RunState
from abstractruntime.errors import RuntimeFault, StoreCorrupt, StoreReadOnly
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.json_lines import Gap
from abstractruntime.storage.paired_journal import Record, is_evidence, revision_of
from abstractruntime.storage.paired_known import Known, checkpoint_in

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
            try:
                return self._runs.load_marked(run_id)
            except RuntimeFault:
                raise
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                # What the api's store raises as it is: the file says what no run can be.
                raise StoreCorrupt(
                    f"The file of run '{run_id}' in {self._runs.folder} holds no run: {error}",
                    run_id=run_id,
                    path=str(self._runs.folder),
                ) from error
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
        if self._files is None:
            return None
        gap = self._files.gap(run_id)
        start = None if gap is None or not self._never_acknowledged(run_id, gap) else gap.place
        try:
            return self._files.set_torn_aside(run_id, start=start)
        except StoreReadOnly:  # whoever may only look is not given it either
            return None

    def _never_acknowledged(self, run_id: str, gap: Gap) -> bool:
        """Whether all that was acknowledged stands before the gap, which else is bit rot.

        The run's file is saved after its records are synced: what its checkpoint shows was. By
        the checkpoint's chain, else by its revision, it is known which record was the last.
        """
        checkpoint = None if (run := self._runs.load(run_id)) is None else checkpoint_in(run)
        if run is None or checkpoint is None or any(map(is_evidence, gap.after)):
            return False
        before = [record for record in gap.before if not is_evidence(record)]
        shown = [record for record in before if (revision_of(record) or 0) <= checkpoint.revision]
        after = {revision_of(record) or 0 for record in gap.after}
        above = {revision_of(record) for record in before[len(shown) :]} | after
        # More than one commit above the run: its file is an old one, put back.
        if len(above) > 1 or any(at <= checkpoint.revision for at in after):
            return False
        edited = checkpoint.digest not in (None, public_digest(run))
        if not edited and not after <= {checkpoint.revision + 1}:  # an edit takes a number
            return False
        if not shown:
            return checkpoint.chain_head is None and checkpoint.revision == 1
        if checkpoint.chain_head is not None:
            return bool(shown[-1].get("record_hash") == checkpoint.chain_head)
        return revision_of(shown[-1]) == checkpoint.revision and shown[-1].get("last") is True

    def refuse_lost_run(self, run_id: str) -> None:
        """StoreCorrupt when there is a ledger of a run that has no file: it was not us."""
        last = None if self._files is None else self._files.last(run_id)
        if last is None or cut_short(last):
            return
        assert self._files is not None
        raise StoreCorrupt(
            f"The file of run '{run_id}' is gone, its ledger {self._files.path(run_id)} is there",
            fix="put the run's file back from a backup, or move its ledger away too",
            run_id=run_id,
            path=str(self._files.path(run_id)),
        )


def cut_short(last: Record) -> bool:
    """Whether a ledger that ends so, and whose run has no file, may be of one that never was.

    Records of revision 1 alone are of a run whose creation a crash cut short.
    """
    revision = revision_of(last)
    return is_evidence(last) if revision is None else revision <= 1


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
