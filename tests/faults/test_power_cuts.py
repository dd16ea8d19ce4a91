"""Power cuts at every system call of a run: what was acknowledged is there, and the run goes on.

The calls of one process are recorded; from them come the states that a disk may be left in, and
each is opened, verified and gone on from. The same judge must find what stores do that are wrong
on purpose.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.aftermath import Count
from tests.faults.disk_states import Cut, legal_states
from tests.faults.ten_steps import KINDS, Place
from tests.faults.traced import needs_strace, traced

SEED = 20263
# Many processes, one after the other: on a busy machine they wait longer than they work.
pytestmark = [needs_strace, pytest.mark.timeout(90)]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_power_cut_what_was_acknowledged_is_there_and_the_run_ends(
    kind: str, quick_path: Path
) -> None:
    cut_power(Place(quick_path, kind), chances=6, sample=60).check()


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_after_any_of_a_thousand_power_cuts_what_was_acknowledged_is_there(
    kind: str, quick_path: Path
) -> None:
    # A store of JSON files has little that is not synced: it takes more runs to come to as many.
    chances, runs = (60, 5) if kind == "files" else (16, 1)
    count = cut_power(Place(quick_path, kind, runs=runs), chances=chances)
    assert count.judged >= 1000
    count.check()


@pytest.mark.parametrize(
    ("kind", "spoiled"),
    [
        ("files", "data not synced"),
        ("files", "folder not synced"),
        ("files", "written in place"),
        ("sqlite", "process"),
    ],
)
def test_a_store_that_spares_what_makes_it_durable_is_found_out(
    kind: str, spoiled: str, quick_path: Path
) -> None:
    count = cut_power(Place(quick_path, kind, spoiled), chances=6, sample=60)
    assert count.violations, "the judge sees nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_the_store_makes_survives_a_power_cut_too(
    kind: str, quick_path: Path
) -> None:
    cut_power(Place(quick_path, kind, below="new/store"), chances=4, sample=30).check()


def test_a_line_never_acknowledged_of_which_any_sectors_arrived_is_set_aside(
    quick_path: Path,
) -> None:
    cut_power(Place(quick_path, "files"), chances=10, sample=150, scattered=True).check()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_of_many_lines_never_acknowledged_any_sectors_may_have_arrived(quick_path: Path) -> None:
    count = cut_power(Place(quick_path, "files"), chances=20, scattered=True)
    assert count.judged >= 700
    count.check()


def cut_power(
    place: Place, *, chances: int, sample: int | None = None, scattered: bool | None = None
) -> Count:
    """Judge all states, or a sample of them, that a power cut can leave of ten-step runs."""
    place.disk.mkdir()
    ended = traced(place, place.folder / "calls")
    assert (ended.exitcode, ended.said[-1:], ended.faults) == (0, ["ended"], [])
    if scattered is None:
        scattered = place.kind == "sqlite"
    how = {"seed": SEED, "chances": chances, "scattered": scattered}
    # One after the other: a thousand states of a disk are gigabytes.
    cuts = legal_states(ended.calls, place.disk, place.witness.path, **how)
    if sample is not None:
        all_cuts = list(cuts)
        chosen = random.Random(SEED).sample(all_cuts, min(sample, len(all_cuts)))
        cuts = iter(sorted(chosen, key=call_of))
    count = Count()
    for cut in cuts:
        judge_cut(place, cut, count)
    print(f"seed {SEED}, {place.kind} {place.spoiled}: {len(ended.calls)} calls")
    print(count, *count.examples[:3], sep="\n  ")
    return count


def call_of(cut: Cut) -> int:
    return cut.call


def judge_cut(place: Place, cut: Cut, count: Count) -> None:
    shutil.rmtree(place.disk)
    place.disk.mkdir()
    cut.lay_out(place.disk)
    place.witness.path.write_bytes(cut.performed)
    healthy = replace(place, spoiled="")
    count.judge(healthy, cut.acknowledged, healthy.witness.performed, f"after call {cut.call}")
