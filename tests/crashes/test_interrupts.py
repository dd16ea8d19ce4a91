"""Ctrl-C at any line of engine and writer: the run goes on as after a crash; no outcome is lost.

A crash is at a call; an interrupt can come between any two lines, with a half-made commit in hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import abstractruntime
from abstractruntime import Runtime, open_store
from abstractruntime.storage.base import Store
from abstractruntime.storage.memory_store import MemoryStore
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.host import Host
from abstractruntime.testing.witness import Witness, outcome_committed
from tests.crashes.invoice import invoices
from tests.crashes.verdict import comparable, judge

PACKAGE = str(abstractruntime.__path__[0])
ENGINE = ("engine/", "core/machine/")
WRITING = tuple(
    f"storage/relational/{name}.py" for name in ("desk", "works", "moves", "lines", "trail")
)
"""What SQLite's writer does inside a transaction, and what it knows between two."""
LOCKS = ("engine/liveness.py", "engine/runtime.py")
"""Where a tracer would interrupt between a lock and its release, which no signal can."""


@contextmanager
def interrupted(at: int | None, seen: list[str], rooms: tuple[str, ...]) -> Iterator[None]:
    """KeyboardInterrupt before the `at`-th line of these rooms; `seen` gets every line's place."""

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            seen.append(f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}")
            if len(seen) == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return local

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        name = name[len(PACKAGE) + 1 :]
        return local if name.startswith(rooms) and name not in LOCKS else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def play(store: Store, at: int | None, rooms: tuple[str, ...]) -> tuple[Any, list[str]]:
    """A run whose first host is interrupted at that line; its output and the lines it ran."""
    clock, seen = VirtualClock(step=0.001), []
    witness = Witness(outcome_committed(store))
    built = invoices(witness)

    def host() -> Host:
        runtime = Runtime(
            store=store,
            context=clock,
            effect_handlers=built.handlers,
            effect_policy=built.policy,
            workflow_registry=built,
        )
        return Host(runtime, clock)

    run_id = host().start(built.root)
    first, crashes = host(), 0
    try:
        with interrupted(at, seen, rooms):
            first.finish(run_id)
    except KeyboardInterrupt:
        crashes = 1
    host().finish(run_id)
    loaded = store.load(run_id)
    assert loaded is not None
    output = comparable(loaded.run.output)
    judge(store, run_id, built=built, output=output, witness=witness, crashes=crashes)
    return output, seen


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_an_interrupt_between_any_two_lines_of_the_engine_changes_nothing(part: int) -> None:
    # The stride is a prime: it meets all lines of a loop.
    interrupt_at_lines(MemoryStore(), ENGINE, first=1 + part * 11, stride=PARTS * 11 + 3)


@pytest.mark.parametrize("part", range(2))
def test_an_interrupt_between_any_two_lines_of_sqlites_writer_changes_nothing(
    part: int, tmp_path: Path
) -> None:
    with open_store(f"sqlite:///{tmp_path}/runs.db", durability="process") as store:
        interrupt_at_lines(store, WRITING, first=1 + part * 23, stride=47)


def interrupt_at_lines(store: Store, rooms: tuple[str, ...], *, first: int, stride: int) -> None:
    output, lines = play(store, None, rooms)
    failures = []
    for at in range(first, len(lines), stride):
        try:
            found, _ = play(store, at, rooms)
            assert found == output
        except Exception as error:
            failures.append(f"at {lines[at - 1]} (line {at}): {type(error).__name__}: {error}")
    assert not failures, f"{len(failures)} failed:\n" + "\n".join(failures[:10])
    print(f"interrupted before {len(range(first, len(lines), stride))} of {len(lines)} lines")
