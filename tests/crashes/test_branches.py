"""A process dies before or after each call of a run with branches: what is done stays done."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from abstractruntime.core.times import plus
from abstractruntime.testing.clock import EPOCH
from abstractruntime.testing.crashes import When
from tests.crashes.branches import BranchTrial, many, six
from tests.crashes.grounds import ground
from tests.crashes.trial import Ground, Point, every_point

pytestmark = pytest.mark.timeout(90)

STORES = pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files"])
DRIVERS = pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])

SIX = [
    0, "to 1", {"until": plus(EPOCH, 3600.0), "ready": True}, {"below": {"below": 3}}, 4, 5,
]  # fmt: skip


def trial(here: Ground, *points: Point) -> BranchTrial:
    found = BranchTrial(here, six)
    found.play(*points)
    found.judge_branches(SIX)
    return found


@DRIVERS
@STORES
def test_six_branches_end_once_each_wherever_their_process_dies(
    kind: str, awaiting: bool, tmp_path: Path
) -> None:
    surfaced, failures = 0, []
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        calls = trial(here).fuses[0].calls
        for point in every_point(calls, reads=kind in ("memory", "sqlite")):
            try:
                surfaced += bool(trial(here, point).surfaced)
            except Exception as error:
                failures.append(f"{point} {calls[point[0] - 1]}: {str(error)[:200]}")
    assert failures == []
    assert surfaced > 0
    print(f"{kind}: {len(calls)} calls, {surfaced} crashes left a doubt")


def killed(here: Ground, *, count: int, kills: int, seed: int) -> BranchTrial:
    """`count` questions answered in any order by processes of which `kills` die."""
    dice = random.Random(seed)
    found = BranchTrial(here, partial(many, count=count))
    found.order = list(range(count))
    dice.shuffle(found.order)
    points = [(dice.randint(1, 6 * count // kills), dice.choice(list(When))) for _ in range(kills)]
    found.play(*points)
    found.judge_branches([f"to {n}" for n in range(count)])
    return found


@STORES
def test_a_hundred_answers_in_any_order_join_once_though_twenty_processes_die(
    kind: str, tmp_path: Path
) -> None:
    with ground(kind, tmp_path) as here:
        found = killed(here, count=100, kills=20, seed=7)
        assert found.crashes == 20
