"""A process dies before or after each call that a run makes: of the store, and of its effects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from abstractruntime.testing.crashes import When
from tests.crashes.grounds import ATOMIC, PAIRS, ground
from tests.crashes.invoice import invoices
from tests.crashes.trial import clean, every_point, survey

# Hundreds of crashes each: seconds on a quiet machine, not on a busy one.
pytestmark = pytest.mark.timeout(90)


def is_save(name: str) -> bool:
    """Whether the call gives a run store a run; files have a verb of their own for it."""
    return name in ("save", "save_marked")


DRIVERS = pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])


@DRIVERS
@pytest.mark.parametrize("kind", ATOMIC)
def test_a_crash_before_or_after_any_call_changes_nothing(
    kind: str, awaiting: bool, tmp_path: Path
) -> None:
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        _, calls = clean(here, invoices)
        assert calls.count("effect") == 11
        assert calls.count("commit") >= 17
        played = survey(here, invoices, ((point,) for point in every_point(calls)))
    print(f"{kind}: {played} crashes, each before or after one of {len(calls)} calls")


@pytest.mark.parametrize(
    ("kind", "awaiting"), [*((kind, False) for kind in PAIRS), ("pair", True), ("files", True)]
)
def test_a_crash_between_the_two_writes_of_a_pair_changes_nothing(
    kind: str, awaiting: bool, tmp_path: Path
) -> None:
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        workflow = partial(invoices, touches=False)
        _, calls = clean(here, workflow)
        assert any(is_save(name) for name in calls)
        # Dying before a read is dying after the last write: of these, one is enough.
        played = survey(here, workflow, ((point,) for point in every_point(calls, reads=False)))
    print(f"{kind}: {played} crashes, each before or after one of {len(calls)} calls")


@pytest.mark.parametrize("kind", PAIRS)
def test_what_a_handler_left_in_vars_survives_a_crash_between_the_two_writes(
    kind: str, tmp_path: Path
) -> None:
    with ground(kind, tmp_path) as here:
        _, calls = clean(here, invoices)
        converted = [place for place, name in enumerate(calls, 1) if name == "effect"][5]
        saved = next(at for at in range(converted, len(calls)) if is_save(calls[at])) + 1
        survey(here, invoices, [((saved, When.BEFORE),), ((saved, When.AFTER),)])


@pytest.mark.parametrize("kind", ["memory", "sqlite", "files"])
def test_a_crash_of_a_host_that_ticks_one_node_at_a_time_changes_nothing(
    kind: str, tmp_path: Path
) -> None:
    with ground(kind, tmp_path, max_steps=1) as here:
        _, calls = clean(here, invoices)
        survey(here, invoices, ((point,) for point in every_point(calls, stride=3)))


@pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files"])
def test_a_crash_of_a_scheduler_at_any_call_changes_nothing(kind: str, tmp_path: Path) -> None:
    """The next one finds what the dead one was moving, and what has become due meanwhile."""
    with ground(kind, tmp_path, scheduled=True) as here:
        _, calls = clean(here, invoices)
        stride = 1 if kind == "memory" else 3
        survey(here, invoices, ((point,) for point in every_point(calls, stride=stride)))
