"""The crash simulation of tests/crashes with bigger numbers: all pairs of points, all lines."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest

from abstractruntime import open_store
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.testing.crashes import When
from abstractruntime.testing.workflows import build, random_shape
from tests.crashes.grounds import ATOMIC, PAIRS, ground
from tests.crashes.invoice import invoices
from tests.crashes.test_interrupts import ENGINE, WRITING, interrupt_at_lines
from tests.crashes.trial import clean, every_point, survey

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])
@pytest.mark.parametrize("kind", [*ATOMIC, *PAIRS])
def test_any_two_crashes_in_a_row_change_nothing(kind: str, awaiting: bool, tmp_path: Path) -> None:
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        _, calls = clean(here, invoices)
        again = itertools.product(range(1, 9), When)
        # The ledgers of users are slow: of their crashes every fourth.
        stride = 1 if kind in ("memory", "sqlite", "pair") else 4
        first = every_point(calls, stride=stride, reads=kind in ("memory", "sqlite"))
        plans = itertools.product(first, list(again))
        print(f"{kind}: {survey(here, invoices, plans)} pairs of crashes")


@pytest.mark.parametrize("kind", [*ATOMIC, *PAIRS])
@pytest.mark.parametrize("block", range(2))
def test_every_crash_in_many_random_workflows_changes_nothing(
    kind: str, block: int, tmp_path: Path
) -> None:
    awaiting = block % 2 == 1
    many = 50 if kind in ("memory", "sqlite", "pair") else 12
    seeds = range(block * many, (block + 1) * many)
    played = 0
    for seed in seeds:
        with ground(kind, tmp_path / str(seed), awaiting=awaiting) as here:
            workflow = partial(build, random_shape(seed, length=6))
            _, calls = clean(here, workflow)
            stride = max(len(calls) // 20, 1)
            played += survey(
                here, workflow, ((point,) for point in every_point(calls, stride=stride))
            )
    print(f"{kind}: {played} crashes in {many} workflows, {seeds}")


def test_an_interrupt_between_each_two_lines_of_the_engine_changes_nothing() -> None:
    interrupt_at_lines(MemoryStore(), ENGINE, first=1, stride=1)


def test_an_interrupt_between_each_two_lines_of_sqlites_writer_changes_nothing(
    tmp_path: Path,
) -> None:
    with open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        interrupt_at_lines(store, WRITING, first=1, stride=1)
