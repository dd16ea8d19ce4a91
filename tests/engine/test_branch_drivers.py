"""Who moves the branches of a run: one live driver, whoever else would take them over."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, Runtime
from abstractruntime.core.commit import Commit
from abstractruntime.core.models import EffectType, RunState
from abstractruntime.errors import RunBusy
from abstractruntime.storage.base import Handle, Store
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.engine.conftest import World
from tests.engine.test_parallel import PATIENCE_S, fan, probes


class Overtaken(CrashingStore):
    """A store whose user is overtaken by somebody just before its next commit."""

    def __init__(self, inner: Store, other: Callable[[], None]) -> None:
        super().__init__(inner)
        self.other: Callable[[], None] | None = other

    def submit(self, commit: Commit) -> Handle:
        other, self.other = self.other, None
        if other is not None:
            other()
        return super().submit(commit)


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
@pytest.mark.parametrize("commits", [2, 3], ids=["nothing-begun", "one-begun"])
def test_who_comes_second_to_a_dead_drivers_branches_leaves_them_alone(
    world: World, delivery: str, commits: int
) -> None:
    """Both found the dead driver; the first one's attempt is under way when the second commits."""
    spec = fan(probes(3, delivery=delivery), limit=1)
    performed: list[int] = []
    inside, leave = threading.Event(), threading.Event()

    def perform(run: RunState, effect: Effect) -> EffectOutcome:
        performed.append(effect.payload["n"])
        inside.set()
        assert leave.wait(PATIENCE_S)
        return EffectOutcome.completed()

    handlers = {"probe": perform}
    dying = CrashingStore(world.store, Fuse(commits, When.AFTER, verb="commit"))
    leave.set()
    victim = Runtime(store=dying, context=world.clock, effect_handlers=handlers)
    run_id = victim.start(workflow=spec)
    with contextlib.suppress(Crash):
        victim.tick(workflow=spec, run_id=run_id)
    performed.clear()
    inside.clear()
    leave.clear()

    world.make(effect_handlers=handlers)
    thread = threading.Thread(target=lambda: world.tick(spec, run_id), daemon=True)

    def overtake() -> None:
        thread.start()
        assert inside.wait(PATIENCE_S)

    late = Runtime(
        store=Overtaken(world.store, overtake), context=world.clock, effect_handlers=handlers
    )

    def come_second() -> None:
        if world.mode == "blocking":
            late.tick(workflow=spec, run_id=run_id)
        else:
            asyncio.run(late.atick(workflow=spec, run_id=run_id))

    try:
        with pytest.raises(RunBusy):
            come_second()
    finally:
        leave.set()
        thread.join(PATIENCE_S)
    assert len(set(performed)) == len(performed), "each by one of them"
    assert world.runtime.get_state(run_id).status in (RunStatus.COMPLETED, RunStatus.WAITING)


def test_a_branch_wakes_at_its_instant_whatever_offset_it_is_said_in(world: World) -> None:
    until = ("2026-01-01T06:00:00+05:00", "2026-01-01T02:00:00+00:00")  # 01:00 and 02:00 in UTC
    effects = [Effect(EffectType.WAIT_UNTIL, {"until": each}) for each in until]
    spec = fan(effects)
    run = world.run(spec)
    assert run.checkpoint is not None
    waiting = run.waiting
    assert waiting is not None
    assert run.checkpoint.wake_at(waiting.until) == "2026-01-01T01:00:00.000000+00:00"
    world.clock.forward(3600)
    assert world.store.list_due(world.clock.now) == [run.run_id]
    world.clock.forward(3600)
    assert world.tick(spec, run.run_id).status is RunStatus.COMPLETED
