"""Which status a run may go to by which move."""

from itertools import product

import pytest

from abstractruntime.core.machine.table import ENDED, TABLE, Move, next_status
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import Refused
from tests.unit.machine.builder import changes, draft_of, whole
from tests.unit.machine.states_page import PAGE, page

ALLOWED = {
    ("running", "step"): "running",
    ("running", "wait"): "waiting",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "cancel"): "cancelled",
    ("waiting", "wait"): "waiting",
    ("waiting", "answer"): "running",
    ("waiting", "fail"): "failed",
    ("waiting", "cancel"): "cancelled",
    ("failed", "reopen"): "running",
}
PAIRS = list(product(RunStatus, Move))
POSSIBLE = [pair for pair in PAIRS if tuple(each.value for each in pair) in ALLOWED]
IMPOSSIBLE = [pair for pair in PAIRS if pair not in POSSIBLE]


def test_every_pair_of_status_and_move_is_either_possible_or_impossible() -> None:
    assert len(POSSIBLE) == len(ALLOWED) == 10
    assert len(POSSIBLE) + len(IMPOSSIBLE) == len(RunStatus) * len(Move) == 35


def test_the_table_is_these_lines_and_no_others() -> None:
    lines = {
        (status.value, move.value): after.value
        for status, moves in TABLE.items()
        for move, after in moves.items()
    }
    assert lines == ALLOWED
    assert list(TABLE) == list(RunStatus)


@pytest.mark.parametrize(("status", "move"), POSSIBLE)
def test_a_possible_move_leads_to_the_status_of_its_line(status: RunStatus, move: Move) -> None:
    after = next_status(status, move)
    assert after is RunStatus(ALLOWED[status.value, move.value])


@pytest.mark.parametrize(("status", "move"), IMPOSSIBLE)
def test_an_impossible_move_is_refused_by_name(status: RunStatus, move: Move) -> None:
    with pytest.raises(Refused) as caught:
        next_status(status, move)
    assert type(caught.value) is Refused
    assert caught.value.message == f"A {status.value} run cannot {move.value}"
    assert caught.value.where == {"status": status.value}
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("status", "move"), POSSIBLE)
def test_a_draft_becomes_what_the_table_says_and_nothing_else_changes(
    status: RunStatus, move: Move
) -> None:
    draft = draft_of(status=status)
    before = whole(draft)
    draft.become(move)
    after = ALLOWED[status.value, move.value]
    assert changes(before, draft) == ({} if after == status.value else {"status": after})


@pytest.mark.parametrize(("status", "move"), IMPOSSIBLE)
def test_a_refused_move_leaves_the_draft_as_it_was(status: RunStatus, move: Move) -> None:
    draft = draft_of(status=status)
    before = whole(draft)
    with pytest.raises(Refused):
        draft.become(move)
    assert changes(before, draft) == {}


def test_ended_are_the_statuses_that_no_driver_moves_a_run_out_of() -> None:
    assert {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED} == ENDED
    for status in ENDED:
        assert set(TABLE[status]) <= {Move.REOPEN}
    for status in set(RunStatus) - ENDED:
        assert Move.CANCEL in TABLE[status]


def test_moves_are_plain_words() -> None:
    assert [move.value for move in Move] == [
        "step",
        "wait",
        "answer",
        "complete",
        "fail",
        "cancel",
        "reopen",
    ]


def test_the_page_about_states_shows_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "the table has changed: .venv/bin/python -m tests.unit.machine.states_page"
    )
