"""A kill, an I/O error and a full disk at every system call of a run on its store, one at a time.

strace injects them. The process meets an error by opening its store again, up to twice; what it
leaves is opened, verified and gone on from.
"""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.aftermath import Count, Untyped
from tests.faults.ten_steps import KINDS, Place
from tests.faults.traced import CHANGING, Call, Ended, needs_strace, traced

READING = "pread64,read,lseek,fstat,newfstatat"
FILLING = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "mkdir")
FAULTS = ("SIGKILL", "EIO", "ENOSPC")
# Many processes, one after the other: on a busy machine they wait longer than they work.
pytestmark = [needs_strace, pytest.mark.timeout(90)]


@pytest.mark.parametrize(("kind", "stride"), [("sqlite", 61), ("files", 31)])
def test_a_fault_at_some_system_calls_loses_and_repeats_nothing(
    kind: str, stride: int, quick_path: Path
) -> None:
    sweep(kind, quick_path, FAULTS, CHANGING, stride=stride)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_system_call_loses_and_repeats_nothing(
    kind: str, fault: str, quick_path: Path
) -> None:
    sweep(kind, quick_path, [fault], CHANGING, stride=1)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_at_any_read_loses_and_repeats_nothing(kind: str, quick_path: Path) -> None:
    sweep(kind, quick_path, ["EIO"], READING, stride=1)


def sweep(kind: str, folder: Path, faults: Sequence[str], names: str, *, stride: int) -> None:
    """Every `stride`-th pair of a call on the store and a fault; all are judged, then asserted."""
    calls = calls_on_store(fresh(folder, kind, 0), names)
    plans = [
        (call, fault)
        for fault in faults
        for call in calls
        if fault != "ENOSPC" or call.name.startswith(FILLING)
    ]
    count, met, missed = Count(), Counter[str](), 0
    for number, (call, fault) in enumerate(plans[::stride], 1):
        place = fresh(folder, kind, number)
        note = f"{fault} at {call.name} {call.place} of {Path(call.path).name}"
        ended = injected(place, call, fault, names)
        # What opens files apart from the store may come and go with caches: then it is another's.
        missed += not hit(place, ended, fault)
        met[outcome(ended, fault)] += 1
        count.judge(place, ended.acknowledged, place.witness.performed, note)
        shutil.rmtree(place.folder)
    print(f"{kind}: {len(calls)} calls on the store, every {stride}th of {len(plans)} faults")
    print(f"  {dict(met)}, {missed} hit something else; {count}", *count.examples, sep="\n  ")
    count.check()
    assert missed <= len(plans[::stride]) // 20
    untyped = [how for how in met if how.startswith("untyped")]
    if untyped:
        raise Untyped(str(untyped))


def fresh(folder: Path, kind: str, number: int) -> Place:
    place = Place(folder / str(number), kind)
    place.disk.mkdir(parents=True)
    return place


def calls_on_store(place: Place, names: str) -> list[Call]:
    """The calls that a process makes on its store when nothing goes wrong."""
    ended = traced(place, place.folder / "calls", names=names)
    assert (ended.exitcode, ended.said[-1:]) == (0, ["ended"])
    return [call for call in ended.calls if call.path.startswith(str(place.disk))]


def injected(place: Place, call: Call, fault: str, names: str) -> Ended:
    """A process that meets `fault` as it enters `call`."""
    what = "signal=KILL" if fault == "SIGKILL" else f"error={fault}"
    option = f"inject={call.name}:{what}:when={call.place}"
    return traced(place, place.folder / "calls", "-e", option, names=names)


def hit(place: Place, ended: Ended, fault: str) -> bool:
    """Whether the fault came where it was meant to."""
    if fault == "SIGKILL":
        return ended.exitcode == -signal.SIGKILL
    return any(call.injected and call.path.startswith(str(place.disk)) for call in ended.calls)


def outcome(ended: Ended, fault: str) -> str:
    """How the process ended, in words."""
    if fault == "SIGKILL" and ended.exitcode == -signal.SIGKILL:
        return "killed"
    if ended.exitcode != 0:
        return f"untyped: {ended.exitcode} after {ended.faults}"
    return f"{fault} as {ended.faults[0]}" if ended.faults else f"{fault} absorbed"
