"""What a process knows of the runs of a pair; runs and records copied out of a user's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    revision_of,
    without_voided,
)


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
    saved     the mark of the run itself as last seen, where the run store can say it
    sure      no commit of this process may be half written
    """

    stored: int | None
    public: str
    revision: int
    edited: bool
    kernel: bytes | None = None
    evidence: int = 0
    numbers: Numbers | None = None
    mark: object = None
    saved: object = None
    sure: bool = True

    def checkpoint(self, stored: Checkpoint | None) -> Checkpoint:
        """The checkpoint beneath the run: the one known better, else the one stored with it."""
        if self.kernel is not None:
            return Checkpoint.from_dict(decode(self.kernel))
        assert stored is not None
        return stored


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


def written_since(records: Sequence[Record], known: Known, base: Checkpoint) -> list[Group]:
    """What was appended after the commit that `base` is of."""
    if known.numbers is None or any(revision_of(record) is not None for record in records):
        return groups_above(records, base.revision)
    rest = [record for record in records[known.numbers.count :] if not is_evidence(record)]
    rest = without_voided(rest)
    return [Group(known.revision + 1, rest, True, known.numbers.count)] if rest else []
