"""How `MemoryStore` holds one run: a text per revision, whole now and then, else what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.canonical import MAX_DEPTH, decode
from abstractruntime.core.canonical import encode as encode_value
from abstractruntime.core.commit import Commit
from abstractruntime.core.delta import apply_delta
from abstractruntime.core.head import FIXED, apply_changed, changed
from abstractruntime.core.machine.mail import awaited_keys
from abstractruntime.core.models import RunState
from abstractruntime.errors import StoreCorrupt

WHOLE_EVERY = 64
"""So many revisions rest on one whole text at most; reading one costs no more than that."""


def encode(value: Any) -> bytes:
    """A record, head or message as text: each part was measured, together they may be larger."""
    return encode_value(value, max_bytes=1 << 40, max_depth=MAX_DEPTH + 16)


@dataclass(frozen=True, slots=True)
class Revision:
    """What one commit wrote. `whole_head`: `head` is all of it, else it holds what changed.

    Of vars either `vars` stands whole, or `delta` says what changed, or neither: nothing did.
    A line is a record without its effect's payload, with the revision that has it (None: no
    effect); `payloads` are the effects first written here, by step.
    """

    head: bytes
    whole_head: bool
    vars: bytes | None
    delta: bytes | None
    lines: tuple[tuple[bytes, int | None], ...]
    payloads: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Listed:
    """What listing asks about a run as it stands now."""

    status: str
    workflow_id: str
    parent_run_id: str | None
    created_at: str
    updated_at: str
    wait_reason: str | None
    awaited: tuple[str, ...]
    wake_at: str | None
    driven: bool

    @classmethod
    def of(cls, run: RunState) -> Listed:
        assert run.checkpoint is not None
        waiting = run.waiting
        return cls(
            status=run.status.value,
            workflow_id=run.workflow_id,
            parent_run_id=run.parent_run_id,
            created_at=run.created_at,
            updated_at=run.updated_at,
            wait_reason=None if waiting is None else waiting.reason.value,
            awaited=awaited_keys(run),
            wake_at=run.checkpoint.wake_at(None if waiting is None else waiting.until),
            driven=run.checkpoint.driver is not None,
        )


class Row:
    """One run: its revisions from the first on, and how it stands now."""

    __slots__ = ("fixed", "listed", "revisions", "run_id")

    def __init__(self, run: RunState) -> None:
        self.run_id = run.run_id
        self.fixed = _fixed(run)
        self.listed = Listed.of(run)
        self.revisions: list[Revision] = []

    @property
    def revision(self) -> int:
        return len(self.revisions)

    # -- writing

    def take(self, run: RunState, revision: Revision, listed: Listed) -> None:
        """The commit that `revision` was made of is written."""
        self.revisions.append(revision)
        self.listed = listed
        # A host's edit may change what else stays as it was created.
        self.fixed = _fixed(run)

    def next_revision(self, commit: Commit) -> Revision:
        """`commit` as texts; nothing is changed yet. NotJson when something is no JSON."""
        lines, payloads = self._lines(commit)
        head = commit.head
        whole_head = commit.previous is None or self.revision % WHOLE_EVERY == 0
        if not whole_head:
            assert commit.previous is not None
            head = changed(commit.previous, commit.head)
        delta = None if commit.delta is None else encode(commit.delta)
        vars = commit.encoding.text() if self._needs_whole_vars(delta) else None
        return Revision(
            head=encode(head),
            whole_head=whole_head,
            vars=vars,
            delta=None if vars is not None else delta,
            lines=lines,
            payloads=payloads,
        )

    def _needs_whole_vars(self, delta: bytes | None) -> bool:
        if not self.revisions:
            return True
        weight = 0 if delta is None else len(delta)
        for count, revision in enumerate(self._back_from(self.revision), 1):
            if revision.vars is not None:
                return weight > len(revision.vars)
            weight += 0 if revision.delta is None else len(revision.delta)
            if count >= WHOLE_EVERY:
                break
        return True

    def _lines(
        self, commit: Commit
    ) -> tuple[tuple[tuple[bytes, int | None], ...], dict[str, bytes]]:
        here = self.revision + 1
        lines: list[tuple[bytes, int | None]] = []
        payloads: dict[str, bytes] = {}
        for entry in commit.records:
            record = {**entry.record, "revision": here}
            effect = record.get("effect")
            if effect is None:
                lines.append((encode(record), None))
                continue
            step_id = record["step_id"]
            at = entry.opened if entry.opened is not None else here
            if step_id not in (payloads if at == here else self._payloads_at(at)):
                at = here
                payloads[step_id] = entry.payload or encode(effect.get("payload"))
            record["effect"] = {**effect, "payload": None}
            lines.append((encode(record), at))
        return tuple(lines), payloads

    def _payloads_at(self, revision: int) -> dict[str, bytes]:
        return self.revisions[revision - 1].payloads if 1 <= revision <= self.revision else {}

    # -- reading

    def _back_from(self, revision: int) -> Iterator[Revision]:
        return (self.revisions[at] for at in range(revision - 1, -1, -1))

    def head_at(self, revision: int) -> dict[str, Any]:
        """The head as of `revision`."""
        changes: list[dict[str, Any]] = []
        for at in self._back_from(revision):
            head: dict[str, Any] = decode(at.head)
            if at.whole_head:
                for change in reversed(changes):
                    head = apply_changed(head, change)
                return head
            changes.append(head)
        raise AssertionError("the first revision is whole")

    def vars_at(self, revision: int) -> bytes:
        """The text of the vars as of `revision`."""
        deltas: list[Any] = []
        for at in self._back_from(revision):
            if at.vars is not None:
                return apply_delta(at.vars, deltas[::-1]) if deltas else at.vars
            if at.delta is not None:
                deltas.append(decode(at.delta))
        raise AssertionError("the first revision is whole")

    def payload(self, opened: int, step_id: str) -> Any:
        """The payload of the effect of the step that revision `opened` began."""
        text = self._payloads_at(opened).get(step_id)
        if text is None:
            raise StoreCorrupt(
                f"Run '{self.run_id}': revision {opened} holds no step {step_id}",
                run_id=self.run_id,
                revision=opened,
            )
        return decode(text)

    def records_after(self, after: int, limit: int | None) -> list[dict[str, Any]]:
        """Records of commits above revision `after`, whole; `limit` bounds the commits."""
        start = max(after, 0)
        end = self.revision if limit is None else min(self.revision, start + max(limit, 0))
        found: list[dict[str, Any]] = []
        for revision in self.revisions[start:end]:
            for text, at in revision.lines:
                record: dict[str, Any] = decode(text)
                if at is not None:
                    record["effect"]["payload"] = self.payload(at, record["step_id"])
                found.append(record)
        return found


def _fixed(run: RunState) -> bytes:
    return encode({name: getattr(run, name) for name in FIXED})
