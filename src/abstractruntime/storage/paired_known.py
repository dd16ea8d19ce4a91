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
    kernel: bytes
    revision: int
    records: int


@dataclass(slots=True)
class Known:
    """What this process knows of a run beyond what the run store says of it.

    stored    the revision the run store gives back; None: it drops checkpoints
    public    digest of the public fields as last seen
    revision  as given out: above the checkpoint's once the host has edited the run
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

    def saved(self, public: str, revision: int, records: int) -> None:
        """It is written whole, with so many records; `public` is what came back of the run."""
        self.public, self.revision, self.sure = public, revision + self.edited, True
        if self.numbers is not None:
            self.numbers.grow(records, revision)

    def least(self, stored: int | None, public: str, more: bool) -> int:
        """The lowest revision to give out when the run is looked at anew; `more` commits came."""
        same = self.sure and (self.stored, self.public) == (stored, public)
        return self.revision + (more or not same)

    def look_back(self, public: str) -> None:
        """A run store that drops checkpoints and failed: by what it shows now, it has saved."""
        if self.sure or self.saving is None or self.stored is not None:
            return
        if public == self.saving.public != self.public:
            self.kernel = self.saving.kernel
            self.saved(public, self.saving.revision, self.saving.records)

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


def at_revision(run: RunState, revision: int, last: Record | None) -> RunState:
    """The run as of `revision`, its chain ending with the record `last` when given."""
    assert run.checkpoint is not None
    head = run.checkpoint.chain_head if last is None else last.get("record_hash")
    return replace(run, checkpoint=replace(run.checkpoint, revision=revision, chain_head=head))


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
    run.checkpoint = replace(
        kernel,
        revision=known.revision,
        evidence=known.evidence,
        digest=kernel.digest if known.edited else known.public,
    )
    return Loaded(run, encoding)
