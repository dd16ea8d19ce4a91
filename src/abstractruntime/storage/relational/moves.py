"""A Commit as the values of its rows: when state stands whole, and which columns a move touches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunStatus
from abstractruntime.core.values import value
from abstractruntime.storage.relational.heads import thin_change
from abstractruntime.storage.relational.lines import MOST_DELTAS, Lines, Recall, lines_of, outweighs
from abstractruntime.storage.relational.sums import fixed_sum, log_sums, run_sum
from abstractruntime.storage.relational.texts import text_of
from abstractruntime.storage.relational.trail import Trail, listed_of, names_of

SMALL: Final = 4096
"""Bytes up to which vars, and head, stand whole in the run's row."""
_LEAST_WEIGHT: Final = 12_288
"""A chain of fewer bytes is read as fast as a whole state: no new base for its sake."""


@value
class Move:
    """The values of one commit, but for the number of a run that is yet to be created.

    state   revision, updated_at, current_node, base, weight, payloads, head, vars, sum
    log     head, delta, vars, records, state_sum, records_sum
    before  None: the run is created
    how     the statement for the run's row: one that touches no index it need not
    touched the values of `listed` that it sets
    trail   what the next move must know; of a run that is created, without its number
    """

    state: tuple[Any, ...]
    log: tuple[Any, ...]
    lines: Lines
    trail: Trail
    before: Trail | None
    how: str
    touched: tuple[Any, ...]
    size: int

    def after(self, number: int) -> Trail:
        """What the next move of the run must know."""
        trail = self.trail
        return trail if trail.number == number else replace(trail, number=number)


def move_of(commit: Commit, before: Trail | None, recall: Recall) -> Move:
    """The rows that `commit` makes of a run whose trail is `before`. NotJson, InvalidTime."""
    run = commit.run
    lines = lines_of(commit, None if before is None else before.payloads, recall)
    revision = commit.expected + 1
    base, weight, row_head, row_vars, head, delta, vars = _texts(commit, before)
    moved = (revision, run.updated_at, run.current_node, base, weight, lines.payloads)
    listed, names = listed_of(run), names_of(run)
    how, touched = "turn_run", listed
    if before is None:
        number, created_at, changed_at, fixed = 0, run.created_at, run.updated_at, None
    else:
        number, created_at, changed_at = before.number, before.created_at, run.updated_at
        fixed = before.fixed if names == before.names else None
        if run.status is RunStatus.RUNNING:
            if listed == before.listed:
                how, touched, changed_at = "move_run", (), before.changed_at
            elif listed[:-1] == before.listed[:-1]:
                how, touched, changed_at = "hand_run", listed[-1:], before.changed_at
    if fixed is None:
        fixed = fixed_sum((run.run_id, names[0], created_at, *names[1:]))
    state = (
        *moved,
        None if row_head is None else row_head.decode(),
        None if row_vars is None else row_vars.decode(),
        run_sum(fixed, (changed_at, listed, moved), row_head, row_vars),
    )
    state_sum, records_sum = log_sums(run.run_id, revision, head, delta, vars, lines.text)
    log = (
        head.decode(),
        None if delta is None else delta.decode(),
        None if vars is None else vars.decode(),
        lines.text.decode(),
        state_sum,
        records_sum,
    )
    trail = Trail(
        number, revision, base, weight, lines.payloads, listed, names, created_at, changed_at, fixed
    )
    size = len(lines.text) + (0 if vars is None else len(vars))
    return Move(state, log, lines, trail, before, how, touched, size)


def _texts(
    commit: Commit, before: Trail | None
) -> tuple[int, int, bytes | None, bytes | None, bytes, bytes | None, bytes | None]:
    """base, weight, head and vars of the run's row; head, delta and vars of the log's."""
    size = commit.encoding.size
    head = text_of(commit.head)
    row_head = head if len(head) <= SMALL else None
    row_vars = commit.encoding.text() if size <= SMALL else None
    if before is not None and commit.previous is not None:
        change = text_of(thin_change(commit, commit.previous))
        delta = None if commit.delta is None else text_of(commit.delta)
        weight = before.weight + len(change) + (0 if delta is None else len(delta))
        if commit.expected + 1 - before.base < MOST_DELTAS and not outweighs(
            weight, max(size + len(head), _LEAST_WEIGHT)
        ):
            return before.base, weight, row_head, row_vars, change, delta, None
    vars = commit.encoding.text() if row_vars is None else row_vars
    return commit.expected + 1, 0, row_head, row_vars, head, None, vars
