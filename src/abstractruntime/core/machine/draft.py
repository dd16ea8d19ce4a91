"""A run between two commits: its fields as they will be, and the records that will say why.

A draft belongs to one caller. Reducers change it, `assemble` reads it; a store never sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.checkpoint import Checkpoint, Driver, OpenStep, OpenWait
from abstractruntime.core.commit import Commit, Count, Entry, Evidence, Loaded, Message
from abstractruntime.core.delta import Delta
from abstractruntime.core.head import head_of
from abstractruntime.core.machine.table import Move, next_status
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import InvalidInput

# What is below these bounds passes the limits of vars wherever it is put; more is tried at once.
_SURELY_SHALLOW = 150
_SURELY_SMALL = 8 * 1024 * 1024


class Draft:
    """The working copy of a run and its kernel fields, with what the next commit will carry."""

    __slots__ = (
        "_results",
        "absorbed",
        "chain_head",
        "consumed",
        "counters",
        "creates",
        "delta",
        "digest",
        "driver",
        "encoding",
        "entered",
        "evidence",
        "generation",
        "head",
        "join",
        "lines",
        "linked",
        "moves",
        "open_steps",
        "queued_at",
        "recall",
        "reports_to",
        "revision",
        "run",
        "sent",
        "terms",
        "urgent",
        "version",
        "visits",
        "waits",
        "weight",
    )

    def __init__(self, loaded: Loaded) -> None:
        run = loaded.run
        at = run.checkpoint or Checkpoint()
        self.run = run
        self.encoding = loaded.encoding
        self.head: dict[str, Any] | None = None
        if at.revision:
            self.head = loaded.head or head_of(run)
        self.revision = at.revision
        self.generation = at.generation
        self.visits: Mapping[str, int] = at.visits
        self.entered = at.entered
        self.open_steps: Mapping[str, OpenStep] = at.open_steps
        self.waits: Mapping[str, OpenWait] = at.waits
        self.driver: Driver | None = at.driver
        self.chain_head = at.chain_head
        self.recall = at.recall
        self.version = at.version
        self.reports_to = at.reports_to
        self.linked = at.linked
        self.evidence = at.evidence
        self.digest = at.digest
        self.queued_at = at.queued_at
        self.terms = at.terms
        self.join = at.join
        self.absorbed = True
        self.clear()

    def clear(self) -> None:
        """Forget what was gathered: it is committed."""
        self.lines: list[Entry] = []
        self.delta: Delta | None = None
        self.creates: list[Commit] = []
        self.sent: list[Message] = []
        self.consumed: list[str] = []
        self.counters: dict[str, Count] = {}
        self.urgent = False
        self.moves = 0
        self.weight = 0
        self._results: list[tuple[str, bytes]] = []

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self.lines
            or self.delta
            or self._results
            or self.consumed
            or self.creates
            or self.counters
        )

    @property
    def parked(self) -> bool:
        """A running run that only its host moves: no driver, no open step, no queue."""
        return (
            self.run.status is RunStatus.RUNNING
            and self.driver is None
            and not self.open_steps
            and self.queued_at is None
        )

    @property
    def wakes(self) -> bool:
        """Whether a clock moves the run, be it for a retry or from a queue."""
        return self.queued_at is not None or any(
            step.wake_at is not None for step in self.open_steps.values()
        )

    def become(self, move: Move) -> None:
        """Change the run's status by the table."""
        self.run.status = next_status(self.run.status, move)

    # -- vars

    def set_result(self, key: str, text: bytes) -> None:
        """Put the value encoded in `text` at the dotted `key` of vars; absorbed with the next.

        Raises LimitExceeded, having changed nothing, when vars cannot hold it there.
        """
        set_dotted(self.run.vars, key, decode(text))
        self._results.append((key, text))
        self.absorbed = False
        depth = text.count(b"[") + text.count(b"{") + key.count(".")
        if depth > _SURELY_SHALLOW or len(text) + self.encoding.size > _SURELY_SMALL:
            try:
                self.absorb()
            except InvalidInput:
                self._results.pop()
                self.restore()
                raise

    def absorb(self) -> None:
        """Take the vars as they stand now; NotJson or LimitExceeded name what cannot be stored.

        Afterwards every changed value is one decoded from its encoding.
        """
        self.encoding, self.run.vars, delta = self.encoding.step(self.run.vars)
        self._results.clear()
        self.absorbed = True
        if delta is not None:
            self.delta = delta if self.delta is None else [*self.delta, *delta]

    def restore(self) -> None:
        """Vars as last absorbed, with the results that came since."""
        self.run.vars = self.encoding.restore(self.run.vars)
        for key, text in self._results:
            set_dotted(self.run.vars, key, decode(text))

    # -- visits

    def enter(self, node_id: str) -> None:
        """The runtime goes to `node_id`: its visit counts from now."""
        self.run.current_node = node_id
        self.visits = {**self.visits, node_id: self.visits.get(node_id, 0) + 1}
        self.entered = True

    def visit(self) -> int:
        """The number of the current node's visit; one the host jumped to is counted here."""
        if not self.entered:
            self.enter(self.run.current_node)
        return self.visits[self.run.current_node]

    # -- records

    def note(
        self,
        kind: str,
        *,
        line_id: str,
        now: str,
        actor_id: str | None = None,
        visit: int | None = None,
        **result: Any,
    ) -> None:
        """A record of a move that is no step: effect None, result {"kind": kind, …}."""
        body = {"kind": kind}
        body.update({name: value for name, value in result.items() if value is not None})
        run = self.run
        record = {
            "run_id": run.run_id,
            "step_id": line_id,
            "node_id": run.current_node,
            "status": "completed",
            "effect": None,
            "result": body,
            "error": None,
            "started_at": now,
            "ended_at": now,
            "actor_id": actor_id or run.actor_id,
            "session_id": run.session_id,
            "attempt": 1,
            "idempotency_key": None,
            "prev_hash": None,
            "record_hash": None,
            "signature": None,
        }
        if visit is not None:
            record["visit"] = visit
        if self.generation != 1:
            record["generation"] = self.generation
        self.lines.append(Entry(record))
        self.weight += 512

    def count(self, key: str, count: Count) -> None:
        """Change a counter with the next commit."""
        self.counters = {**self.counters, key: count.added_to(self.counters.get(key))}

    def link_evidence(self, kept: list[Evidence], *, ids: Any, now: str) -> None:
        """Link the evidence that no commit has linked yet."""
        for item in kept[self.linked :]:
            self.note(
                "evidence", line_id=ids(), now=now, evidence=item.evidence_id, digest=item.digest,
                step_id=item.step_id,
            )  # fmt: skip
        self.linked = len(kept)

    # -- kernel fields

    def close_all(self) -> None:
        """No step and no wait is open any more."""
        self.join = None
        self.open_steps = {}
        self.waits = {}
        self.queued_at = None
        self.run.waiting = None

    def checkpoint(self, revision: int) -> Checkpoint:
        """The kernel fields as a frozen value."""
        return Checkpoint(
            revision,
            self.generation,
            self.visits,
            self.entered,
            self.open_steps,
            self.waits,
            self.driver,
            self.chain_head,
            self.recall,
            self.version,
            self.reports_to,
            self.linked,
            self.evidence,
            self.digest,
            self.queued_at,
            self.terms,
            self.join,
        )


def set_dotted(target: dict[str, Any], key: str, value: Any) -> None:
    """Store `value` at the dotted `key`; objects are made on the way, non-objects replaced."""
    *path, last = key.split(".")
    for name in path:
        below = target.get(name)
        if not isinstance(below, dict):
            below = target[name] = {}
        target = below
    target[last] = value
