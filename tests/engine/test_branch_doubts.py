"""Doubts among branches: each is resolved by itself, and the run rests in between."""

from __future__ import annotations

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus
from abstractruntime.core.models import EffectType
from abstractruntime.errors import OutcomeUnknown
from tests.engine.conftest import World
from tests.engine.test_parallel import fan


@pytest.mark.parametrize("word", ["retry", "completed"])
def test_a_run_whose_other_branches_wait_rests_again_after_a_word(world: World, word: str) -> None:
    """It is not due to schedulers for ever, nor RUNNING with nothing to do."""
    tries: list[int] = []

    def pay(run: object, effect: Effect) -> EffectOutcome:
        tries.append(1)
        if len(tries) == 1:
            raise OutcomeUnknown("the line went dead")
        return EffectOutcome.completed("paid")

    world.make(effect_handlers={"pay": pay})
    ask = Effect(EffectType.ASK_USER, {"prompt": "?"})
    spec = fan([Effect("pay", {}, delivery="at_most_once"), ask])
    run_id = world.run(spec).run_id
    outcome = EffectOutcome.completed("paid") if word == "completed" else word
    world.runtime.resolve(run_id, outcome=outcome)
    world.tick(spec, run_id)
    state = world.runtime.get_state(run_id)
    assert state.status is RunStatus.WAITING
    assert world.store.list_due(world.clock.now) == []
    assert "recovered" not in world.kinds(run_id)
    assert world.resume(spec, run_id, "yes").status is RunStatus.COMPLETED
