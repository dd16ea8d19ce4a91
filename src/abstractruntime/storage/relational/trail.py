"""What a writer must know of a run's row to write the next: kept between commits, by revision."""

from __future__ import annotations

from typing import Any, Final

from abstractruntime.core import times
from abstractruntime.core.checkpoint import NO_TERMS
from abstractruntime.core.models import RunState
from abstractruntime.core.values import value
from abstractruntime.storage.relational.database import Row
from abstractruntime.storage.relational.run_rows import fixed_of
from abstractruntime.storage.relational.sums import fixed_sum

LIVE: Final = frozenset({"running", "waiting"})
_MOST_TRAILS = 16_384
_MOST_TEXT_BYTES = 32 * 1024 * 1024


@value
class Trail:
    """The stored row as of `revision`, but for its large values.

    number   the row's key
    base     the last revision that stands whole in the log
    weight   bytes of what changed since then
    payloads JSON: node -> [revision, index, weight, count] of its last large payload
    listed   see `listed_of`
    names    see `names_of`
    fixed    the sum of the row's fixed part
    """

    number: int
    revision: int
    base: int
    weight: int
    payloads: str | None
    listed: tuple[Any, ...]
    names: tuple[str | None, ...]
    created_at: str
    changed_at: str
    fixed: int

    @classmethod
    def of(cls, row: Row) -> Trail:
        """From a row of the query `run`, which was checked."""
        fixed = fixed_of(row)
        return cls(
            number=row[0],
            revision=row[8],
            base=row[9],
            weight=row[21],
            payloads=row[22],
            listed=row[14:20],
            names=(fixed[1], *fixed[3:]),
            created_at=row[3],
            changed_at=row[13],
            fixed=fixed_sum(fixed),
        )


def listed_of(run: RunState) -> tuple[Any, ...]:
    """What listing asks about: status, wait_reason, wait_key, wait_until, wake_at, driven."""
    kernel = run.checkpoint
    assert kernel is not None
    status = run.status.value
    waiting = run.waiting
    reason = key = until = wake_at = None
    if waiting is not None:
        reason, key, until = waiting.reason.value, waiting.wait_key, waiting.until
        if until is not None:
            until = times.normal(until, what="waiting.until")
    if status not in LIVE:
        return (status, reason, key, until, None, 0)
    usual = kernel.terms is NO_TERMS and kernel.join is None
    if not usual or until is not None or kernel.queued_at is not None or kernel.open_steps:
        wake_at = kernel.wake_at(until)
    return (status, reason, key, until, wake_at, 0 if kernel.driver is None else 1)


def names_of(run: RunState) -> tuple[str | None, ...]:
    """The fields that only a host's edit changes."""
    return (run.workflow_id, run.actor_id, run.session_id, run.parent_run_id)


class Trails:
    """The trails of runs that were written last, a bounded number. Not for two threads at once."""

    def __init__(self) -> None:
        self._trails: dict[str, Trail] = {}

    def get(self, run_id: str) -> Trail | None:
        return self._trails.get(run_id)

    def drop(self, run_id: str | None) -> None:
        """Ask the database next time."""
        if run_id is not None:
            self._trails.pop(run_id, None)

    def put(self, run_id: str, trail: Trail) -> None:
        trails = self._trails
        trails.pop(run_id, None)
        trails[run_id] = trail
        if len(trails) > _MOST_TRAILS:
            del trails[next(iter(trails))]


Spot = tuple[str, int, int]
"""Where a payload stands: run id, revision, index in the row's records."""


class Texts:
    """The last payload texts, up to some number of bytes in all. Not for two threads at once."""

    def __init__(self) -> None:
        self._texts: dict[Spot, bytes] = {}
        self._bytes = 0

    def get(self, spot: Spot) -> bytes | None:
        return self._texts.get(spot)

    def put(self, spot: Spot, text: bytes, *, instead_of: Spot | None) -> None:
        """Keep `text`; the one it follows is not asked for again."""
        if instead_of is not None:
            self._drop(instead_of)
        self._drop(spot)
        if len(text) > _MOST_TEXT_BYTES:
            return
        self._texts[spot] = text
        self._bytes += len(text)
        while self._bytes > _MOST_TEXT_BYTES:
            self._drop(next(iter(self._texts)))

    def _drop(self, spot: Spot) -> None:
        text = self._texts.pop(spot, None)
        if text is not None:
            self._bytes -= len(text)
