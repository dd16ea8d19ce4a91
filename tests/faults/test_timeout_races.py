"""The race of a message against the end of its wait's time, a thousand times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.races.test_timeouts import raced

pytestmark = pytest.mark.faults

TIMES = 1000


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_of_a_message_and_a_timeout_one_wins_each_time(kind: str, quick_path: Path) -> None:
    wins = raced(f"{kind}:///{quick_path}/runs.db", TIMES)
    assert sum(wins.values()) == TIMES
    print(f"{kind}: {wins}")
