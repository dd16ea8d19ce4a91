"""Any order of actions on every store: what it shows of its runs is what the model says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from abstractruntime.core.machine import wait
from abstractruntime.core.machine.draft import Draft
from abstractruntime.engine import advance, perform, recalls
from abstractruntime.storage import views
from tests.property.machine import Machine

STORES = ("memory", "sqlite", "pair", "files", "plain")
BLOCKS, EXAMPLES, ACTIONS = 8, 24, 640
"""Examples have 50 steps at most; of a store's blocks each is at least so many actions."""
LONG_BLOCKS, LONG_EXAMPLES, LONG_ACTIONS = 100, 160, 5_000


def played(kind: str, number: int, examples: int) -> type[Machine]:
    """Play one block of examples, always the same ones; the machine with its figures."""

    class Block(Machine):
        pass

    Block.kind, Block.counted, Block.told = kind, Counter(), Counter()
    seed(number)(Block)
    begin = time.perf_counter()
    bounds = settings(
        max_examples=examples,
        stateful_step_count=50,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        # Processes die here, power does not: what reaches the medium when is not asked.
        with mock.patch("os.fsync"):
            run_state_machine_as_test(Block, settings=bounds)
    finally:
        taken = time.perf_counter() - begin
        actions = Block.counted.total() - Block.counted["crash"]
        print(f"{kind}: {actions} actions in {taken:.1f} s: {dict(sorted(Block.counted.items()))}")
        print(f"  of which ledgers tell: {dict(sorted(Block.told.items()))}")
    return Block


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", STORES)
def test_whatever_is_done_every_run_is_what_the_model_says(kind: str, block: int) -> None:
    counted = played(kind, block, EXAMPLES).counted
    assert counted.total() - counted["crash"] >= ACTIONS
    assert counted["crash"] > ACTIONS / 50


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
@pytest.mark.parametrize("kind", STORES)
def test_half_a_million_actions_on_every_store(kind: str, block: int) -> None:
    actions, number = 0, 1000 + block
    while actions < LONG_ACTIONS:  # a block of few actions is followed by one of its own
        counted = played(kind, number, LONG_EXAMPLES).counted
        actions += counted.total() - counted["crash"]
        number += LONG_BLOCKS


def test_the_long_form_plays_half_a_million_actions_on_every_store() -> None:
    assert LONG_BLOCKS * LONG_ACTIONS >= 500_000


# ---- a safety is taken away: the machine must find it


def no_revision_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_refuse_stale", lambda *_: None)


def stale_answers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    check = wait.check_answer

    def deaf(draft: Draft, *, wait_id: str | None, **said: Any) -> None:
        check(draft, wait_id=None, **said)

    monkeypatch.setattr(wait, "check_answer", deaf)


def visits_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(draft: Draft, node_id: str) -> None:
        draft.run.current_node = node_id
        draft.visits = {**draft.visits, node_id: 1}
        draft.entered = True

    monkeypatch.setattr(Draft, "enter", enter)


def rewound_steps_are_performed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(mover: advance.Mover, planned: Any) -> Any:
        mover.draft.recall = None
        return False
        yield

    monkeypatch.setattr(recalls, "recall", forget)


def an_open_step_is_taken_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery goes on behind the step that its driver left, as if it had been performed."""

    def skip(mover: advance.Mover, found: Any) -> Any:
        outcome = perform.EffectOutcome.completed({"visit": found.visit})
        perform.apply(mover, perform.Done(found, outcome, final=True))
        return True
        yield

    monkeypatch.setattr(perform, "perform_open", skip)


@pytest.mark.parametrize(
    "plant",
    [
        no_revision_check,
        stale_answers_are_taken,
        visits_are_not_counted,
        rewound_steps_are_performed_again,
        an_open_step_is_taken_for_done,
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError) as caught:
        played("memory", 0, BLOCKS * EXAMPLES)
    print(f"{plant.__name__}: {str(caught.value)[:160]}")
