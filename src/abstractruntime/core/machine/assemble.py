"""From a draft to the Commit that a store writes: seal the records, freeze the checkpoint."""

from __future__ import annotations

from typing import Protocol

from abstractruntime.core.commit import Commit, Entry
from abstractruntime.core.head import head_of
from abstractruntime.core.machine.draft import Draft


class Sealer(Protocol):
    """Binds records to their predecessors (hash chain, later signatures)."""

    def new_salt(self) -> str | None:
        """The salt of a step's payload, the same in all its records; None where none is used."""

    def seal(self, entry: Entry, prev_hash: str | None) -> str | None:
        """Complete entry.record in place; returns the new head of the chain (None: no chain)."""


def assemble(draft: Draft, sealer: Sealer, *, now: str) -> Commit:
    """The commit of everything the draft gathered. Raises NotJson or LimitExceeded for vars.

    The draft stands at the new revision afterwards; when the commit is refused, throw it away.
    """
    if not draft.absorbed:
        draft.absorb()
    run = draft.run
    expected = draft.revision
    revision = expected + 1
    head_hash = draft.chain_head
    for entry in draft.lines:
        entry.record["revision"] = revision
        head_hash = sealer.seal(entry, head_hash)
    draft.chain_head = head_hash
    draft.revision = revision
    run.updated_at = now
    run.checkpoint = draft.checkpoint(revision)
    head = head_of(run)
    commit = Commit(
        run.run_id,
        expected,
        run,
        draft.encoding,
        head,
        draft.head,
        draft.delta,
        tuple(draft.lines),
        tuple(draft.creates),
        tuple(draft.sent),
        tuple(draft.consumed),
        draft.urgent,
        None,
        draft.counters or None,
    )
    draft.head = head
    draft.clear()
    return commit
