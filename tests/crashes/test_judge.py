"""The judge itself on trial: what breaks a promise must not pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.engine import advance, children
from abstractruntime.storage.base import Store
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.crashes.grounds import ground
from tests.crashes.invoice import invoices
from tests.crashes.trial import Ground, clean, every_point, survey


def losing(store: MemoryStore) -> Ground:
    """Each process that dies takes the last commit of each of its runs with it."""

    @contextmanager
    def process(fuse: Fuse, clock: VirtualClock) -> Iterator[Store]:
        yield CrashingStore(store, fuse)
        if fuse.burnt:
            for row in store._rows.values():
                if len(row.revisions) > 1:
                    row.revisions.pop()

    return Ground(store, process)


def test_a_store_that_loses_what_it_acknowledged_is_caught() -> None:
    here = losing(MemoryStore())
    _, calls = clean(here, invoices)
    with pytest.raises(AssertionError, match="plans failed"):
        survey(here, invoices, ((point,) for point in every_point(calls)))


def test_a_child_with_another_id_at_each_try_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = itertools.count(1)
    monkeypatch.setattr(children, "child_id_of", lambda *identity: f"child-{next(ids)}")
    with ground("pair", tmp_path) as here:
        workflow = partial(invoices, touches=False)
        _, calls = clean(here, workflow)
        with pytest.raises(AssertionError, match="plans failed"):
            survey(here, workflow, ((point,) for point in every_point(calls)))


def test_a_recovery_that_calls_the_node_again_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over = advance.perform._take_over

    def forgets_the_plan(mover: Any, open_step: Any) -> Any:
        mine = mover.draft.driver is not None and mover.draft.driver.token == mover.me.token
        yield from take_over(mover, open_step)
        if not mine:
            mover.draft.open_steps = {}
            yield from mover.commit(mover.me)
            raise advance.Moved

    monkeypatch.setattr(advance.perform, "_take_over", forgets_the_plan)
    with ground("memory", tmp_path) as here:
        _, calls = clean(here, invoices)
        with pytest.raises(AssertionError, match="plans failed"):
            survey(here, invoices, ((point,) for point in every_point(calls)))


def test_a_fuse_burns_once_and_everything_behind_it_is_dead() -> None:
    fuse = Fuse(2, When.AFTER, verb="b")
    made: list[str] = []
    fuse.guard("a", lambda: made.append("a"))
    fuse.guard("b", lambda: made.append("b"))
    with pytest.raises(Crash, match="after b, call 3"):
        fuse.guard("b", lambda: made.append("b again"))
    with pytest.raises(Crash, match="dead since after b, call 3"):
        fuse.guard("a", lambda: made.append("never"))
    assert made == ["a", "b", "b again"]
    assert fuse.calls == ["a", "b", "b"]


def test_a_fuse_that_burns_before_a_call_does_not_make_it() -> None:
    fuse = Fuse(1, When.BEFORE)
    with pytest.raises(Crash, match="before a, call 1"):
        fuse.guard("a", lambda: pytest.fail("made"))


def test_a_wired_object_is_its_own_again_afterwards() -> None:
    class Door:
        def open(self) -> str:
            return "open"

    door, fuse = Door(), Fuse(2)
    unwire = fuse.wire(door, "open")
    assert door.open() == "open"
    with pytest.raises(Crash):
        door.open()
    unwire()
    assert door.open() == "open"
    assert fuse.calls == ["open", "open"]
