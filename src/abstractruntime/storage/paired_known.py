"""What a process knows of the runs of a pair; runs and records copied out of a user's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from abstractruntime.core.canonical import MAX_DEPTH, decode
from abstractruntime.core.canonical import encode as encode_value
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.commit import Loaded
from abstractruntime.core.delta import Encoding
from abstractruntime.core.models import (
    RunState,
    StepRecord,
    record_from_dict,
    run_from_dict,
    run_to_dict,
)
from abstractruntime.storage.paired_journal import (
    Group,
    Numbers,
    Record,
    groups_above,
    is_evidence,
    one_group,
    revision_of,
)


class Saving(NamedTuple):
    """What a run store was given to save: digest of the public fields, checkpoint, records."""

    public: str
    kernel: Checkpoint
    text: bytes
    records: int


@dataclass(slots=True)
class Known:
    """What this process knows of a run beyond what the run store says of it.

    stored    the last commit that the run store shows; None: it drops checkpoints
    public    digest of the public fields as last seen
    revision  as given out: above the last commit's once the host has edited the run
    edited    the host has, and no commit has taken it up
    kernel    the checkpoint as text, where the run store does not give back the right one
    evidence  how many pieces are kept
    numbers   revisions of the records, where the ledger may drop them
    mark      of the ledger's end as last seen, where the ledger can say it
    seen      the mark of the run itself as last seen, where the run store can say it
    sure      no commit of this process may be half written
    saving    what the run store was given last: it may have failed and saved it all the same
    """

    stored: int | None
    public: str
    revision: int
    edited: bool
    kernel: bytes | None = None
    evidence: int = 0
    numbers: Numbers | None = None
    mark: object = None
    seen: object = None
    sure: bool = True
    saving: Saving | None = None

    def saved(self, public: str, kernel: Checkpoint, records: int) -> None:
        """It is written whole, with so many records; `public` is what came back of the run."""
        self.public, self.revision, self.sure = public, kernel.revision, True
        if self.numbers is not None:
            self.numbers.grow(records, kernel.last_commit)

    def noticed(self, public: str, stored: Checkpoint | None) -> None:
        """The run looks as `public` says, above the commit that this process knows of."""
        same = public == self.public
        self.public, self.edited = public, self.edited or not same
        taken = 0 if stored is None else stored.revision
        self.revision = max(self.revision + (not same), taken)

    def least(self, stored: int | None, public: str, more: bool) -> int:
        """The lowest revision to give out when the run is looked at anew; `more` commits came."""
        same = self.sure and (self.stored, self.public) == (stored, public)
        return self.revision + (more or not same)

    def look_back(self, public: str) -> None:
        """A run store that drops checkpoints and failed: by what it shows now, it has saved."""
        if self.sure or self.saving is None or self.stored is not None:
            return
        if public == self.saving.public != self.public:
            self.kernel = self.saving.text
            self.saved(public, self.saving.kernel, self.saving.records)

    def checkpoint(self, stored: Checkpoint | None) -> Checkpoint:
        """The checkpoint beneath the run: the one known better, else the one stored with it."""
        if self.kernel is not None:
            return Checkpoint.from_dict(decode(self.kernel))
        assert stored is not None
        return stored


def written_since(records: Sequence[Record], known: Known, revision: int) -> list[Group]:
    """What was appended after the commit `revision`, which is the last that `known` tells of."""
    if known.numbers is None or any(revision_of(record) is not None for record in records):
        return groups_above(records, revision)
    rest = [record for record in records[known.numbers.count :] if not is_evidence(record)]
    return one_group(rest, known.revision + 1, known.numbers.count)


def commit_in(stored: Checkpoint | None) -> int | None:
    """The last commit that a run store shows; None when it dropped the checkpoint."""
    return None if stored is None else stored.last_commit


def taken_by(at: Checkpoint, edited: bool) -> int:
    """The revision to give out for what stands above the commit `at`, with a host's edit or not.

    Our own stores count a host's saves; an edit that came past them takes one number.
    """
    return at.revision + (edited and at.committed is None)


def counted(at: Checkpoint) -> Checkpoint:
    """The checkpoint of a commit that leaves an edit to be noticed, the edit's number in it."""
    return replace(at, revision=taken_by(at, True), committed=at.last_commit)


def at_commit(run: RunState, revision: int, above: int, last: Record | None) -> RunState:
    """The run as of the commit `revision`, its chain ending with the record `last` when given.

    Numbers up to `above` were given out for what the run was before.
    """
    assert run.checkpoint is not None
    at = replace(run.checkpoint, revision=revision, committed=None)
    if revision <= above:
        at = replace(at, revision=above + 1, committed=revision)
    if last is not None:
        at = replace(at, chain_head=last.get("record_hash"))
    return replace(run, checkpoint=at)


def as_text(value: Any) -> bytes:
    """A run without its vars, or a record, as text: its parts were measured, it may be larger."""
    return encode_value(value, max_bytes=1 << 40, max_depth=MAX_DEPTH + 16)


def copy_of(run: RunState, vars: dict[str, Any], checkpoint: Checkpoint | None) -> RunState:
    """The run's public fields as values of our own, with these vars and this checkpoint."""
    bare = replace(run, vars={}, checkpoint=None)
    copy = run_from_dict(decode(as_text(run_to_dict(bare))))
    copy.vars = vars
    copy.checkpoint = checkpoint
    return copy


def checkpoint_in(run: RunState) -> Checkpoint | None:
    """The checkpoint a run store gave back, as object or dict; None when it dropped it.

    It shares nothing with the one given, which a user's store may still hold.
    """
    given: object = run.checkpoint
    if not isinstance(given, Checkpoint | Mapping):
        return None
    return Checkpoint.from_dict(decode(as_text(Checkpoint.coerce(given).to_dict())))


def own_record(data: Record) -> StepRecord:
    """A record that shares nothing with the flow's: a user's ledger may keep it as it is."""
    return record_from_dict(decode(as_text(data)))


def given_out(run: RunState, encoding: Encoding, known: Known) -> Loaded:
    """The run with the checkpoint that is known of it.

    Its digest differs from that of its public fields just when an edit is still to be noticed.
    """
    kernel = known.checkpoint(run.checkpoint)
    commit = kernel.last_commit
    run.checkpoint = replace(
        kernel,
        revision=known.revision,
        committed=commit if known.revision > commit else None,
        evidence=known.evidence,
        digest=kernel.digest if known.edited else known.public,
    )
    return Loaded(run, encoding)
