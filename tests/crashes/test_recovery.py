"""The process that recovers dies too: at each of its first calls, and again and again."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest

from abstractruntime.testing.crashes import When
from tests.crashes.grounds import ground
from tests.crashes.invoice import invoices
from tests.crashes.trial import Point, clean, every_point, survey

SIDES = (When.BEFORE, When.AFTER)


@pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])
@pytest.mark.parametrize(("kind", "stride"), [("memory", 2), ("sqlite", 5), ("pair", 9)])
def test_a_crash_inside_recovery_changes_nothing(
    kind: str, stride: int, awaiting: bool, tmp_path: Path
) -> None:
    workflow = partial(invoices, touches=kind != "pair")
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        _, calls = clean(here, workflow)
        # What recovery does of its own is over within these calls; then it is a run as any.
        plans = [
            (first, (second, side))
            for number, first in enumerate(every_point(calls, stride=stride))
            for second, side in itertools.product((2, 3 + number % 4), SIDES)
        ]
        assert survey(here, workflow, plans) == len(plans)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "pair"])
def test_processes_that_all_die_at_the_same_call_still_end_the_run(
    kind: str, tmp_path: Path
) -> None:
    """With n calls each, they get on by n calls less those that recovery itself needs."""
    with ground(kind, tmp_path) as here:
        workflow = partial(invoices, touches=kind != "pair")
        plans: list[tuple[Point, ...]] = [
            ((at, side),) * 12 for at in (3, 4, 5, 6, 7, 9) for side in SIDES
        ]
        survey(here, workflow, plans)


def test_three_crashes_in_a_row_around_each_effect_change_nothing(tmp_path: Path) -> None:
    with ground("memory", tmp_path) as here:
        _, calls = clean(here, invoices)
        effects = [at for at, name in enumerate(calls, 1) if name == "effect"]
        plans = [
            ((at, first), (again, second), (again, second))
            for at in effects
            for first, second in itertools.product(SIDES, SIDES)
            # A recovery loads, loads, writes down that it takes over, and performs: call 4.
            for again in (3, 4)
        ]
        survey(here, invoices, plans)
