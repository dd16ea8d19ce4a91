"""A Commit as the values of its rows: when state stands whole, and which columns a move touches."""

from __future__ import annotations

from typing import Any, Final

from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunStatus
from abstractruntime.core.values import value
from abstractruntime.storage.relational.heads import thin_change
from abstractruntime.storage.relational.lines import MOST_DELTAS, Lines, Recall, lines_of, outweighs
from abstractruntime.storage.relational.texts import text_of
from abstractruntime.storage.relational.trail import Trail, listed_of, names_of

SMALL: Final = 4096
"""Bytes up to which vars, and head, stand whole in the run's row."""
_LEAST_WEIGHT: Final = 12_288
"""A chain of fewer bytes is read as fast as a whole state: no new base for its sake."""


@value
class Move:
    """The values of one commit, but for the number of a run that is yet to be created.

    state   revision, updated_at, current_node, base, weight, payloads, head, vars
    log     head, delta, vars, records
    before  None: the run is created
    how     the statement for the run's row: one that touches no index it need not
    touched the values of `listed` that it sets
    """

    state: tuple[Any, ...]
    log: tuple[Any, ...]
    lines: Lines
    listed: tuple[Any, ...]
    names: tuple[str | None, ...]
    before: Trail | None
    how: str
    touched: tuple[Any, ...]
    size: int

    def after(self, number: int) -> Trail:
        """What the next move of the run must know."""
        revision, _, _, base, weight, payloads, _, _ = self.state
        return Trail(number, revision, base, weight, payloads, self.listed, self.names)


def move_of(commit: Commit, before: Trail | None, recall: Recall) -> Move:
    """The rows that `commit` makes of a run whose trail is `before`. NotJson, InvalidTime."""
    run = commit.run
    revision = commit.expected + 1
    encoding = commit.encoding
    size = encoding.size
    lines = lines_of(commit, None if before is None else before.payloads, recall)
    head = text_of(commit.head)
    vars = encoding.text().decode() if size <= SMALL else None
    log_head, log_delta, log_vars = head, None, vars
    base, weight = revision, 0
    if before is not None and commit.previous is not None:
        change = text_of(thin_change(commit, commit.previous))
        delta = None if commit.delta is None else text_of(commit.delta)
        weight = before.weight + len(change) + (0 if delta is None else len(delta))
        if revision - before.base < MOST_DELTAS and not outweighs(
            weight, max(size + len(head), _LEAST_WEIGHT)
        ):
            base = before.base
            log_head, log_vars = change, None
            log_delta = None if delta is None else delta.decode()
    if base == revision:
        weight = 0
        if log_vars is None:
            log_vars = encoding.text().decode()
    head_text = head.decode()
    state = (
        revision,
        run.updated_at,
        run.current_node,
        base,
        weight,
        lines.payloads,
        head_text if len(head) <= SMALL else None,
        vars,
    )
    log = (
        head_text if base == revision else log_head.decode(),
        log_delta,
        log_vars,
        lines.text.decode(),
    )
    listed = listed_of(run)
    how, touched = "turn_run", listed
    if before is not None and run.status is RunStatus.RUNNING:
        if listed == before.listed:
            how, touched = "move_run", ()
        elif listed[:-1] == before.listed[:-1]:
            how, touched = "hand_run", listed[-1:]
    written = size if log_vars is not None else 0
    weighs = len(lines.text) + written
    return Move(state, log, lines, listed, names_of(run), before, how, touched, weighs)
