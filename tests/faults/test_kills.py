"""Real SIGKILLs of processes that move durable runs: 0 lost, 0 corrupt, 0 repeated after commit.

`make test` kills 30 on SQLite and 30 on JSON files at instants spread over the whole run, and
processes before every sixth SQL statement; `make faults` kills 300 each, by the same code.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign

KINDS = pytest.mark.parametrize(
    ("durability", "awaiting", "runs"),
    [("power", False, 1), ("power", True, 4), ("process", False, 2)],
    ids=["power-blocking", "power-awaiting-4-runs", "process-blocking-2-runs"],
)
SEED = 20261


@KINDS
def test_of_ten_killed_processes_nothing_is_lost_corrupt_or_repeated(
    durability: str, awaiting: bool, runs: int, tmp_path: Path
) -> None:
    kill(tmp_path, 10, durability=durability, awaiting=awaiting, runs=runs)


@pytest.mark.faults
@KINDS
def test_of_a_hundred_killed_processes_nothing_is_lost_corrupt_or_repeated(
    durability: str, awaiting: bool, runs: int, tmp_path: Path
) -> None:
    kill(tmp_path, 100, durability=durability, awaiting=awaiting, runs=runs)


FILES = pytest.mark.parametrize(
    ("awaiting", "runs"), [(False, 1), (True, 4)], ids=["blocking", "awaiting-4-runs"]
)


@FILES
def test_of_fifteen_processes_killed_on_json_files_nothing_is_lost_corrupt_or_repeated(
    awaiting: bool, runs: int, tmp_path: Path
) -> None:
    kill(tmp_path, 15, kind="files", awaiting=awaiting, runs=runs)


@pytest.mark.faults
@FILES
def test_of_many_processes_killed_on_json_files_nothing_is_lost_corrupt_or_repeated(
    awaiting: bool, runs: int, tmp_path: Path
) -> None:
    kill(tmp_path, 150, kind="files", awaiting=awaiting, runs=runs)


def kill(folder: Path, count: int, **job: object) -> None:
    campaign = Campaign(folder, seed=SEED, **job)
    campaign.kill_uniformly(count)
    print(f"seed {SEED}, {job}: {campaign.hits}")
    assert campaign.hits.killed == count


@pytest.mark.parametrize("first", [1, 4])
def test_a_process_killed_before_any_sql_statement_leaves_nothing_half_written(
    first: int, tmp_path: Path
) -> None:
    """Between the two statements of a commit, before COMMIT, after it: every third of all."""
    kill_before_statements(tmp_path, first, 6)


@pytest.mark.faults
def test_a_process_killed_before_each_sql_statement_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    kill_before_statements(tmp_path, 1, 1)


def kill_before_statements(folder: Path, first: int, stride: int) -> None:
    campaign = Campaign(folder, seed=SEED)
    _, statements = campaign.measure()
    assert statements > 80
    numbers = range(first, statements + 1, stride)
    for number in numbers:
        campaign.kill_before_statement(number)
    print(f"{statements} statements: {campaign.hits}")
    assert campaign.hits.killed >= len(numbers) - 1


WRITES = "pwrite64,fdatasync,fsync"


def test_a_process_killed_inside_the_writes_of_a_commit_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    kill_before_writes(tmp_path, 8)


@pytest.mark.faults
def test_a_process_killed_at_any_write_of_a_commit_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    kill_before_writes(tmp_path, 150)


def kill_before_writes(folder: Path, count: int) -> None:
    """`count` processes, each killed as it enters one of its writes, spread over all of them."""
    campaign = Campaign(folder, seed=SEED)
    writes = campaign.count_syscalls(WRITES)
    for place in range(count):
        campaign.kill_before_syscall(WRITES, 1 + place * writes // count)
    print(f"{writes} writes and syncs: {campaign.hits}")
    # strace counts by thread, and a few of the writes come from others than the main one.
    assert campaign.hits.killed >= count * 3 // 4
