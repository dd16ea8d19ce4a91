"""What a pair of plain stores holds of one run, made whole: edits noticed, commits redone.

Theory of operation. A commit is written in the order: created children, records, the run. So at
most one commit can stand in the ledger and not in the run store: a crash came in between. At the
first look at a run in this process that commit is redone from its records, or voided by a record
that says so when not all of them are there. That record is appended before the run is saved; a
crash in between leaves the run as it was before the commit. So what is above the run is asked of
the run alone: what was voided opens nothing there, and what was not is redone again. Later looks
need the ledger no more: what this process has written whole is remembered in `Known`, and
forgotten while a commit is being written.

The host may write to its run store at any time. Ours give each save a revision (ADR 0009); a look
that finds other public fields at the same one counts for others. Whoever loaded before is refused.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from abstractruntime.core._defaults import new_id
from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.commit import Commit, Loaded
from abstractruntime.core.delta import Encoding
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import public_digest
from abstractruntime.core.machine.redo import redo
from abstractruntime.core.machine.seal import sealer_for
from abstractruntime.core.models import (
    RunState,
    StepRecord,
    record_from_dict,
    record_to_dict,
)
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.paired_files import Ends, Torn, innermost, torn_note
from abstractruntime.storage.paired_journal import (
    KEPT_FIELDS,
    Group,
    Numbers,
    Record,
    first_of,
    group_at_end,
    groups_above,
    incomplete_at_end,
    is_evidence,
    kept_checkpoints,
    moment_of,
    not_redone,
    opens_step,
    revision_of,
    with_next,
    with_then,
    without_then,
)
from abstractruntime.storage.paired_known import (
    Known,
    Saving,
    as_text,
    at_commit,
    checkpoint_in,
    commit_in,
    copy_of,
    counted,
    given_out,
    own_record,
    taken_by,
    written_since,
)
from abstractruntime.storage.paired_rebuild import overwritten, rebuilt
from abstractruntime.storage.views import new_salt

REMEMBERED = 10_000
"""Runs that this process remembers; of others it reads the ledger again."""


class Looks:
    """One pair of stores, one run at a time. The caller holds the run's lock."""

    def __init__(
        self,
        runs: RunStore,
        ledger: LedgerStore,
        *,
        hash_chain: int | None,
        clock: Callable[[], str],
    ) -> None:
        self.runs = runs
        self.ledger = ledger
        self._clock = clock
        self._chain = hash_chain
        self._sealer = sealer_for(hash_chain, new_salt)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._guard = threading.Lock()
        # Ours copy what they are given and give back just that; a user's may do neither.
        self._runs_exact = isinstance(runs, InMemoryRunStore | JsonFileRunStore)
        self._end = Ends(runs, innermost(ledger))
        self._ledger_exact = isinstance(innermost(ledger), InMemoryLedgerStore | JsonlLedgerStore)
        # A chain hands on what a user's ledger keeps, which may differ from run to run.
        self._ledger_keeps: bool | None = None if innermost(ledger) is ledger else False

    # -- reading

    def look(self, run_id: str) -> Loaded | None:
        """The run as it stands; None when unknown. What a crash left half-way is settled first."""
        raw, seen = self._end.load(run_id)
        if raw is None:
            with self._guard:
                self._known.pop(run_id, None)
            self._end.refuse_lost_run(run_id)
            return None
        encoding, vars = Encoding.of(raw.vars)
        run = copy_of(raw, vars, checkpoint_in(raw))
        public = public_digest(run)
        known = self._known.get(run_id)
        if known is not None:
            known.look_back(public)
        mark = self._end.mark(run_id)
        unseen = known is None or known.mark != mark
        if known is None or unseen or not known.sure or known.stored != commit_in(run.checkpoint):
            return self._examined(run, encoding, public, known, mark)
        known.noticed(public, run.checkpoint)
        known.seen = seen
        return given_out(run, encoding, known)

    def revision(self, run_id: str) -> int:
        """The revision that a look at the run would give, 0 when unknown."""
        known = self._known.get(run_id)
        if known is not None and known.sure and self._end.unchanged(run_id, known):
            return known.revision
        loaded = self.look(run_id)
        return 0 if loaded is None else cast("Checkpoint", loaded.run.checkpoint).revision

    def checkpoint_of(self, raw: RunState) -> Checkpoint | None:
        """The checkpoint of a run that was listed, without looking whether it is up to date."""
        known = self._known.get(raw.run_id)
        stored = checkpoint_in(raw)
        return stored if known is None or known.kernel is None else known.checkpoint(stored)

    def records(self, run_id: str) -> list[Record]:
        """The run's ledger as it is, in dicts that nobody else holds."""
        records = self.ledger.list(run_id)
        if self._ledger_exact:
            return records
        return [decode(as_text(record)) for record in records]

    def known(self, run_id: str) -> Known | None:
        """What this process knows of the run."""
        return self._known.get(run_id)

    # -- the first look at a run in this process

    def _examined(
        self, run: RunState, encoding: Encoding, public: str, known: Known | None, mark: object
    ) -> Loaded:
        stored = run.checkpoint
        # Torn bytes are set aside first: what of the commit they are of stands is judged then.
        torn = self._end.torn(run.run_id)
        if stored is not None and torn is None and self._moved_elsewhere(run.run_id, stored, known):
            edited = stored.digest not in (None, public)
            least = 0 if known is None else known.revision + 1
            revision = max(taken_by(stored, edited), least)
            known = Known(stored.last_commit, public, revision, edited, None, stored.linked)
            known.mark = mark
            self._remember(run.run_id, known)
            return given_out(run, encoding, known)
        records = self.ledger.list(run.run_id)
        base, groups, edited = self._base(run, records, public, known)
        # Whoever loaded the run before this is to be refused, unless only evidence came.
        least = 0 if known is None else known.least(commit_in(stored), public, bool(groups))
        shown = min((group.place for group in groups), default=len(records))
        known = Known(
            commit_in(stored),
            public,
            max(taken_by(base, edited), least),
            edited,
            kernel=None if base is stored else as_text(base.to_dict()),
            evidence=sum(map(is_evidence, records)),
            numbers=None if self._ledger_exact else Numbers(shown, base.last_commit),
            mark=mark if torn is None else self._end.mark(run.run_id),
        )
        self._remember(run.run_id, known)
        run.checkpoint = base
        if groups or torn:
            written = len(records) - shown
            run, encoding = self._settle(run, encoding, groups, known, written, torn)
        return given_out(run, encoding, known)

    def _moved_elsewhere(self, run_id: str, stored: Checkpoint, known: Known | None) -> bool:
        """Whether the run is new to this process, or moved whole by another since it was seen."""
        later = known is None or stored.last_commit > (known.stored or 0)
        whole = known is None or (known.sure and self._ledger_exact)
        return later and whole and self._shows_all(run_id, stored)

    def _shows_all(self, run_id: str, stored: Checkpoint) -> bool:
        """Whether the end of the ledger, read alone, says that the run store has every commit."""
        read_last = getattr(self.ledger, "last", None)
        last = None if read_last is None else read_last(run_id)
        revision = None if last is None else revision_of(last)
        if last is None or revision is None or is_evidence(last):
            return False
        return revision <= stored.last_commit

    def _base(
        self, run: RunState, records: Sequence[Record], public: str, known: Known | None
    ) -> tuple[Checkpoint, list[Group], bool]:
        """The checkpoint beneath the run, the commits above it, and whether the host edited it."""
        stored = run.checkpoint
        numbered = any(revision_of(record) is not None for record in records)
        if known is not None and known.stored == commit_in(stored):
            # A commit of this process may be half written.
            base, edited = known.checkpoint(stored), known.edited or public != known.public
            return base, written_since(records, known, base.last_commit), edited
        if known is not None and (commit_in(stored) or 0) < (known.stored or 0):
            return overwritten(run, records, known.public), [], True
        if stored is not None:
            groups = (
                groups_above(records, stored.last_commit)
                if numbered
                else group_at_end(records, run, stored.last_commit)
            )
            if sum(not group.void for group in groups) > 1:
                return overwritten(run, records), [], True
            return stored, groups, stored.digest not in (None, public)
        if numbered and kept_checkpoints(records):
            # No crash leaves a run without the checkpoint it had: its host saved it so.
            groups = incomplete_at_end(records)
            shown = records[: min((group.place for group in groups), default=len(records))]
            return overwritten(run, shown), groups, True
        groups = group_at_end(records, run, 0)
        if groups and (first := first_of(records[groups[0].place :])) is not None:
            groups = groups_above(records, first - 1)
        shown = records[: min((group.place for group in groups), default=len(records))]
        base = replace(rebuilt(run, shown), digest=public)
        if not numbered:
            # Any number will do that grows: so many commits there were at most.
            base = replace(base, revision=max(len(shown), 1))
            groups = [replace(group, revision=base.revision + 1) for group in groups]
        return base, groups, False

    # -- what a crash left

    def _settle(
        self,
        run: RunState,
        encoding: Encoding,
        groups: Sequence[Group],
        known: Known,
        written: int,
        torn: Torn | None,
    ) -> tuple[RunState, Encoding]:
        """Redo what is complete, void what is not, and save the run as it then is.

        `written` records stand in the ledger from the first of the groups on.
        """
        known.sure = False
        unperformed: list[Record] = []
        for group in groups:
            assert run.checkpoint is not None
            above = run.checkpoint.revision
            if not group.complete:
                unperformed = group.records
                if group.revision - 1 > above:
                    run = at_commit(run, group.revision - 1, above, None)
                break
            unperformed = []
            if not group.void:
                unperformed = not_redone(run, group)
                run = redo(run, map(without_then, group.records))
            stand = group.records[: len(group.records) - len(unperformed)]
            last = stand[-1] if stand and self._chain else None
            run = at_commit(run, group.revision, above, last)
        # Not before what was redone: by these times it is known that the run shows it.
        now = max([self._clock(), *(moment_of(r) for group in groups for r in group.records)])
        draft = Draft(Loaded(run, encoding))
        draft.absorb()
        if not unperformed and torn is None:
            draft.run.updated_at = now
            self._save(draft.run, draft.encoding, known, records=written)
            return draft.run, draft.encoding
        if unperformed:
            draft.note(
                "voided",
                line_id=new_id(),
                now=now,
                revision=group.revision,
                step_ids=list(dict.fromkeys(record["step_id"] for record in unperformed)),
                records=len(unperformed),
            )
        if torn is not None:
            draft.note("torn", line_id=new_id(), now=now, **torn_note(torn))
        commit = assemble(draft, self._sealer, now=now)
        self._append(commit, known)
        self._save(commit.run, commit.encoding, known, records=written + len(commit.records))
        return commit.run, commit.encoding

    # -- writing

    def write(self, commit: Commit) -> None:
        """Append the records, then save the run: what a crash leaves of that can be redone."""
        known = self._known.get(commit.run_id)
        if known is None:
            known = Known(None, "", 0, False, numbers=None if self._ledger_exact else Numbers(0, 1))
        known.sure = known.edited = False
        self._append(commit, known)
        self._save(commit.run, commit.encoding, known, records=len(commit.records))
        self._remember(commit.run_id, known)

    def append_evidence(self, record: StepRecord) -> None:
        """Append what belongs to no commit."""
        self.ledger.append(own_record(record_to_dict(record)))
        known = self._known.get(record.run_id)
        if known is not None:
            known.evidence += 1
            known.mark = self._end.mark(record.run_id)
            if known.numbers is not None:
                known.numbers.grow(1, known.revision)

    def _append(self, commit: Commit, known: Known) -> None:
        records = []
        for entry in commit.records:
            data = {**entry.record, "revision": commit.checkpoint.revision}
            if entry is commit.records[-1]:
                data["last"] = True
            if not self._ledger_exact:
                data = self._with_lost(data)
            if known.kernel is not None and opens_step(data):
                data = with_next(data, commit.checkpoint)
            records.append(record_from_dict(data) if self._ledger_exact else own_record(data))
        if not records:
            return
        append_many = getattr(self.ledger, "append_many", None)
        if append_many is not None:
            append_many(records)
        else:
            for record in records:
                self.ledger.append(record)
        if not self._ledger_exact and self._ledger_keeps is None:
            self._ledger_keeps = revision_of(self.ledger.list(commit.run_id)[-1]) is not None

    def _with_lost(self, data: Record) -> Record:
        """The record, with what a ledger of the api's fields alone would lose put aside."""
        lost = {name: data[name] for name in KEPT_FIELDS if data.get(name) is not None}
        if self._ledger_keeps or not lost or not data.get("effect"):
            return data
        return with_then(data, **lost)

    def _save(self, run: RunState, encoding: Encoding, known: Known, *, records: int) -> None:
        """Save the run with its checkpoint, and know what the run store makes of it."""
        assert run.checkpoint is not None
        public = public_digest(run)
        # The flow hands its object to the host, which may save it: the mark must be in it. Where
        # the flow is still to notice an edit, the mark is the older one.
        kernel = counted(run.checkpoint) if known.edited else replace(run.checkpoint, digest=public)
        run.checkpoint = kernel
        if self._runs_exact:
            known.seen = self._end.save(replace(run, checkpoint=kernel))
            known.stored, known.kernel = kernel.last_commit, None
        else:
            text = as_text(kernel.to_dict())
            saving = Saving(public, kernel, text, records)
            public = self._save_and_read_back(run, encoding, known, saving)
        known.mark = self._end.mark(run.run_id)
        known.saved(public, kernel, records)

    def _save_and_read_back(
        self, run: RunState, encoding: Encoding, known: Known, saving: Saving
    ) -> str:
        """A user's store may drop or change what it is given: what comes back is what is known."""
        copy = copy_of(run, decode(encoding.text()), None)
        # As a plain object: stores that write fields they do not know can write it too.
        copy.checkpoint = cast("Any", decode(saving.text))
        known.saving = saving
        self.runs.save(copy)
        back = self.runs.load(run.run_id)
        if back is None:
            raise StoreCorrupt(
                f"The run store does not give back run '{run.run_id}', which it has just saved",
                run_id=run.run_id,
            )
        stored = checkpoint_in(back)
        known.stored = commit_in(stored)
        known.kernel = None if known.stored == saving.kernel.last_commit else saving.text
        return public_digest(copy_of(back, Encoding.of(back.vars)[1], None))

    def _remember(self, run_id: str, known: Known) -> None:
        with self._guard:
            self._known[run_id] = known
            self._known.move_to_end(run_id)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
