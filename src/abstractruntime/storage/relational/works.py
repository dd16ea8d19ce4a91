"""What can be queued for the writer: commits, and the few other things that are written.

A work is prepared before the transaction (encoding, no lock held) and written inside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from abstractruntime.core.commit import Commit, Counter, Evidence, counts_of
from abstractruntime.errors import CounterRefused, RevisionConflict
from abstractruntime.storage.relational.database import Session
from abstractruntime.storage.relational.lines import Fresh
from abstractruntime.storage.relational.mail import message_values, note_awaited, put
from abstractruntime.storage.relational.moves import Move, move_of
from abstractruntime.storage.relational.texts import strict_text_of
from abstractruntime.storage.relational.trail import Trail


class Desk(Protocol):
    """What a work sees of the writer: the session, and what is known of the runs in this batch."""

    session: Session

    def first_of(self, run_id: str) -> bool:
        """Whether no earlier work of this batch concerns the run; from now on one does."""

    def trail(self, commit: Commit) -> Trail:
        """The run's trail; RevisionConflict when it is not at the revision the commit is from."""

    def recall(self, spot: tuple[str, int, int]) -> bytes:
        """The text of a large payload."""

    def stage(self, run_id: str, trail: Trail, fresh: Sequence[Fresh]) -> None:
        """What holds once this batch is committed."""


class Work(ABC):
    """One thing to write, whole or not at all."""

    urgent = True
    run_id: str | None = None
    """The run that a RevisionConflict is about."""

    def prepare(self, desk: Desk) -> int:
        """Encode what can be; about how many bytes will be written. Refusals concern this alone."""
        return 512

    @abstractmethod
    def write(self, desk: Desk) -> None:
        """Write in the open transaction. RevisionConflict, CounterRefused: nothing was written."""

    def landed(self, desk: Desk) -> bool:
        """Whether it is in the database, asked after a transaction that may have been committed.

        False for what may as well be written again.
        """
        return False


class CommitWork(Work):
    """A commit with all it creates, sends and consumes."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._move: Move | None = None
        self._number = 0
        self.urgent = commit.urgent
        self.run_id = commit.run_id

    def prepare(self, desk: Desk) -> int:
        commit = self._commit
        self._move = None
        first = desk.first_of(commit.run_id)
        for child in commit.creates:
            desk.first_of(child.run_id)
        if not first:
            # It goes from where its predecessor in this batch arrives, which is not known yet.
            return commit.encoding.size
        self._move = move = self._made(desk)
        return move.size

    def _made(self, desk: Desk) -> Move:
        commit = self._commit
        before = desk.trail(commit) if commit.expected else None
        return move_of(commit, before, desk.recall)

    def write(self, desk: Desk) -> None:
        commit = self._commit
        self._move = move = self._move or self._made(desk)
        counted = counts_of(commit)
        if not commit.creates and not counted:
            self._number = number = _write_move(desk.session, commit, move)
            desk.stage(commit.run_id, move.after(number), move.lines.fresh)
            return
        # A child may miss, or a counter be refused, when the parent is written: all goes back.
        session = desk.session
        session.run("mark")
        try:
            self._number = number = _write_move(session, commit, move)
            for child in commit.creates:
                _create(desk, child)
            for key, count in counted:
                rows = session.rows("counter", (key,))
                after = count.applied_to(key, Counter(*rows[0]) if rows else Counter())
                session.run("put_counter", (key, after.value, after.at_most))
        except (RevisionConflict, CounterRefused):
            session.run("undo")
            session.run("unmark")
            raise
        session.run("unmark")
        desk.stage(commit.run_id, move.after(number), move.lines.fresh)

    def landed(self, desk: Desk) -> bool:
        move = self._move
        if move is None or self._number == 0:
            return False
        found = desk.session.rows("log_at", (self._number, move.state[0]))
        return found == [move.log]


def _create(desk: Desk, commit: Commit) -> None:
    # Not staged, since its parent may be undone yet: its own next commit reads its row.
    _write_move(desk.session, commit, move_of(commit, None, desk.recall))
    for child in commit.creates:
        _create(desk, child)


def _write_move(session: Session, commit: Commit, move: Move) -> int:
    """Write the run's row, its log row and what goes with them; the run's number."""
    before, state = move.before, move.state
    if before is None:
        number = _insert_run(session, commit, move)
    else:
        number = before.number
        moved = session.run(move.how, (number, commit.run_id, *state, *move.touched))
        if not moved:
            raise refusal(session, commit)
        if move.trail.names != before.names:
            session.run("rename_run", (number, *move.trail.names))
    session.run("add_log", (number, state[0], *move.log))
    if move.how == "turn_run":
        note_awaited(session, commit.run, None if before is None else before.listed)
    lines = move.lines
    for key in lines.keys:
        session.run("add_step_key", (number, key, state[0]))
    for message_id in commit.consumed:
        session.run("consume_message", (commit.run_id, message_id))
    for message in commit.sent:
        put(session, message, message_values(message))
    return number


def _insert_run(session: Session, commit: Commit, move: Move) -> int:
    run = commit.run
    fixed = (run.run_id, run.workflow_id, run.created_at)
    names = (run.actor_id, run.session_id, run.parent_run_id)
    number = session.insert("create_run", (*fixed, *names, *move.trail.listed, *move.state))
    if number is None:
        raise refusal(session, commit)
    return number


def refusal(session: Session, commit: Commit) -> RevisionConflict:
    """What to say of a commit that does not fit the stored run."""
    run_id, expected = commit.run_id, commit.expected
    rows = session.rows("revision", (run_id,))
    found: int = rows[0][0] if rows else 0
    if not rows:
        text = f"Run '{run_id}' is not there, the commit was made from revision {expected}"
    elif expected == 0:
        text = f"Run '{run_id}' exists already, at revision {found}"
    else:
        text = f"Run '{run_id}' is at revision {found}, the commit was made from {expected}"
    return RevisionConflict(text, run_id=run_id, expected=expected, found=found)


class EvidenceWork(Work):
    """A piece of evidence; kept once however often it is written."""

    def __init__(self, evidence: Evidence) -> None:
        self._run_id = evidence.run_id
        self._values = (
            evidence.evidence_id,
            evidence.run_id,
            evidence.step_id,
            evidence.digest,
            strict_text_of(evidence.outcome).decode(),
            evidence.kept_at,
        )

    def write(self, desk: Desk) -> None:
        if desk.session.run("add_evidence", self._values):
            desk.session.run("count_evidence", (self._run_id,))


class StrayWork(Work):
    """A ledger line of a run whose state is kept elsewhere."""

    def __init__(self, run_id: str, record: dict[str, Any]) -> None:
        self._run_id = run_id
        self._text = strict_text_of(record).decode()
        self._place: int | None = None

    def write(self, desk: Desk) -> None:
        session = desk.session
        if session.rows("revision", (self._run_id,)):
            raise RevisionConflict(
                f"Run '{self._run_id}' was created meanwhile", run_id=self._run_id, expected=0
            )
        self._place = session.insert("add_stray_record", (self._run_id, self._text))

    def landed(self, desk: Desk) -> bool:
        found = desk.session.rows("stray_record_at", (self._place,))
        return found == [(self._run_id, self._text)]


class StatementWork(Work):
    """One statement that may as well run twice."""

    def __init__(self, query: str, values: Sequence[Any]) -> None:
        self._query = query
        self._values = values
        self.changed = 0

    def write(self, desk: Desk) -> None:
        self.changed = desk.session.run(self._query, self._values)
