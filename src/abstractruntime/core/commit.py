"""What one move of a run writes, as one frozen value: all of it or nothing.

The machine and the flow make commits, stores write them. The place of leases
(fence) stands here from the first day so that no store needs another verb for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.delta import Delta, Encoding
from abstractruntime.core.models import RunState
from abstractruntime.core.values import value
from abstractruntime.errors import CounterRefused


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
class Counter:
    """A number that commits of several runs change together, and the most it may be."""

    value: int = 0
    at_most: int = 0


@value
class Count:
    """What a commit changes in a counter: `delta` is added to its value, `raised` to its bound.

    A `firm` one is refused, with the whole commit, when the value passes the bound by it; another
    is written all the same. A counter that is not there stands at 0 of 0.
    """

    delta: int = 0
    raised: int = 0
    firm: bool = False

    def added_to(self, other: Count | None) -> Count:
        """Both at once."""
        if other is None:
            return self
        return Count(self.delta + other.delta, self.raised + other.raised, self.firm or other.firm)

    def applied_to(self, key: str, found: Counter) -> Counter:
        """The counter after it; CounterRefused."""
        after = Counter(found.value + self.delta, found.at_most + self.raised)
        if self.firm and self.delta > 0 and after.value > after.at_most:
            raise CounterRefused(
                f"Counter '{key}' stands at {found.value} of {found.at_most}: "
                f"{self.delta} more are refused",
                counter=key,
                value=found.value,
                at_most=found.at_most,
            )
        return after


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
    counters   changes of counters by their keys, made in the order of the keys: one that is
               refused refuses the commit, and nothing is written.
    fence      the place of leases.
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
    counters: Mapping[str, Count] | None = None

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


def counts_of(commit: Commit) -> list[tuple[str, Count]]:
    """All that the commit and those it creates change in counters, in the order of their keys."""
    if commit.counters is None and not commit.creates:
        return []
    found: dict[str, Count] = {}
    commits = [commit]
    for one in commits:
        commits.extend(one.creates)
        for key, count in (one.counters or {}).items():
            found[key] = count.added_to(found.get(key))
    return sorted(found.items())
