"""Real Ctrl-C, many times over, in a process that goes on each time: nothing is lost or hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign

SEED = 20262
DRIVERS = pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])


@DRIVERS
def test_a_process_that_is_interrupted_again_and_again_ends_its_runs(
    awaiting: bool, tmp_path: Path
) -> None:
    interrupt(tmp_path, 4, awaiting)


@pytest.mark.faults
@DRIVERS
def test_many_processes_that_are_interrupted_again_and_again_end_their_runs(
    awaiting: bool, tmp_path: Path
) -> None:
    interrupt(tmp_path, 60, awaiting)


def interrupt(folder: Path, processes: int, awaiting: bool) -> None:
    campaign = Campaign(folder, seed=SEED, awaiting=awaiting, runs=2)
    met = [campaign.interrupt(most=80) for _ in range(processes)]
    print(f"seed {SEED}: {met} interrupts, {campaign.hits.repeated} effects repeated by them")
    assert sum(met) > processes
