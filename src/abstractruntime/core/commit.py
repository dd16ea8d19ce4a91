"""What one move of a run writes, as one frozen value: all of it or nothing.

The machine and the flow make commits, stores write them. Places that later features fill
(fence, counters) stand here from the first day so that no store needs another verb for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.delta import Delta, Encoding
from abstractruntime.core.models import RunState
from abstractruntime.core.values import value


@value
class Entry:
    """One ledger record with the encodings that were made of it.

    `record` is the record whole, as readers see it (core.models.record_to_dict's keys, effect
    with its payload). `payload` and `result` are the storage texts of record["effect"]["payload"]
    and record["result"] when they exist, so that a store need not encode them again. `opened` is
    the revision of the commit whose STARTED record already holds this step's effect; a store may
    keep the effect there only. None: the effect is first written here (or there is none).
    `own_key`: a STARTED record whose idempotency key the user's policy made: looked up by key.
    `salt` and `form`, the payload's chain form, are for its sealing.
    """

    record: dict[str, Any]
    payload: bytes | None = None
    result: bytes | None = None
    opened: int | None = None
    own_key: bool = False
    salt: str | None = None
    form: bytes | None = None


@value
class Message:
    """Something sent to a run: it reaches the wait whose key equals `name`.

    From `expires_at` on it reaches none. `dedupe_key` is the sender's: one message of a run has it.
    """

    message_id: str
    run_id: str
    name: str
    payload: Any
    sent_at: str
    sent_by: str | None = None
    dedupe_key: str | None = None
    expires_at: str | None = None


@value
class Evidence:
    """A performed outcome whose run had moved on: kept, and linked by the run's next commit."""

    evidence_id: str
    run_id: str
    step_id: str
    digest: str
    outcome: dict[str, Any]
    kept_at: str


@value
class Commit:
    """All that one move writes, atomically.

    expected   the revision this move was made from; 0 creates the run, which must not exist.
               The stored run becomes revision `run.checkpoint.revision` == expected + 1.
    run        the run after the move, with its checkpoint. It belongs to the flow again once the
               result is known: a store encodes or copies, it never keeps the object.
    encoding   run.vars in encoded form; `encoding.text()` is their JSON.
    delta      what changed in vars since `expected` (None: nothing, or the run is created).
    previous   the run's head (core.head.head_of) as of `expected`; None when it is created.
    head       the run's head after the move.
    records    ledger entries, in order.
    creates    runs that come to be in the same transaction (children).
    sent       messages to other runs; their revision does not change.
    consumed   ids of this run's messages that this move used up; what was sent by `Store.send` is
               named by a record of the commit, too (result.message_id).
    urgent     synced to the medium at either durability level.
    fence, counters   places of leases and of budgets.
    """

    run_id: str
    expected: int
    run: RunState
    encoding: Encoding
    head: dict[str, Any]
    previous: dict[str, Any] | None = None
    delta: Delta | None = None
    records: tuple[Entry, ...] = ()
    creates: tuple[Commit, ...] = ()
    sent: tuple[Message, ...] = ()
    consumed: tuple[str, ...] = ()
    urgent: bool = False
    fence: int | None = None
    counters: Mapping[str, int] | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The kernel fields after the move."""
        assert self.run.checkpoint is not None
        return self.run.checkpoint


@value
class Loaded:
    """A run as a store gives it: shares nothing with the store; `encoding` is that of its vars.

    `head` is core.head.head_of(run), where the store has it at hand.
    """

    run: RunState
    encoding: Encoding
    head: dict[str, Any] | None = None
