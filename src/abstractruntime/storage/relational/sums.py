"""Checksums of rows of `runs` and `commits`: another letter in one is StoreCorrupt, never a value.

A sum is the CRC-32 of a compact JSON array of small values, and of the large texts, with line feeds
between them. Those are compact JSON too: none has a raw line feed, none is empty, as which one that
is null counts. `runs.evidence` is in no sum, for it is counted outside of commits.
"""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import orjson

from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.relational.texts import text_of

_FIX: Final = "abstractruntime verify names every damaged row; restore the file from a backup"


def fixed_sum(fixed: tuple[str | None, ...]) -> int:
    """Of run_id, workflow_id, created_at, actor_id, session_id, parent_run_id."""
    return crc32(text_of(fixed))


def run_sum(fixed: int, small: tuple[Any, ...], head: bytes | None, vars: bytes | None) -> int:
    """Of a row of `runs`, going on from the sum of its fixed part.

    `small` are changed_at, [status, wait_reason, wait_key, wait_until, wake_at, driven] and
    [revision, updated_at, current_node, base, weight, payloads].
    """
    return crc32(b"\n".join((orjson.dumps(small), head or b"", vars or b"")), fixed)


def log_sums(
    run_id: str,
    revision: int,
    head: bytes,
    delta: bytes | None,
    vars: bytes | None,
    records: bytes,
) -> tuple[int, int]:
    """Of the state and of the records in a row of `commits`: each is read without the other."""
    start = crc32(orjson.dumps((run_id, revision)))
    state = crc32(b"\n".join((head, delta or b"", vars or b"")), start)
    return state, crc32(records, start)


# -- of what was read; a row from before there were sums has none


def check_state(
    run_id: str, revision: int, recorded: int | None, head: str, delta: str | None, vars: str | None
) -> None:
    """StoreCorrupt unless the state in a log row is what was written."""
    if recorded is not None:
        texts = (head.encode(), _bytes(delta), _bytes(vars))
        found, _ = log_sums(run_id, revision, *texts, b"")
        _compare(run_id, revision, "the state", recorded, found)


def check_records(run_id: str, revision: int, recorded: int | None, records: str) -> None:
    """StoreCorrupt unless the records in a log row are what was written."""
    if recorded is not None:
        _, found = log_sums(run_id, revision, b"", None, None, records.encode())
        _compare(run_id, revision, "the text of the records", recorded, found)


def check_run(
    fixed: tuple[str | None, ...],
    small: tuple[Any, ...],
    head: str | None,
    vars: str | None,
    recorded: int,
) -> None:
    """StoreCorrupt unless a row of `runs` is what was written."""
    run_id, revision = str(fixed[0]), small[2][0]
    found = run_sum(fixed_sum(fixed), small, _bytes(head), _bytes(vars))
    _compare(run_id, revision, "the row", recorded, found)


def lost(run_id: str, revision: int, what: str) -> StoreCorrupt:
    """What to say of a row that has no sum where it must have one."""
    return StoreCorrupt(
        f"Run '{run_id}': {what} of revision {revision} has lost its checksum",
        fix=_FIX,
        run_id=run_id,
        revision=revision,
    )


def _compare(run_id: str, revision: int, what: str, recorded: int, found: int) -> None:
    if found != recorded:
        raise StoreCorrupt(
            f"Run '{run_id}': {what} of revision {revision} is not as it was written: its "
            f"checksum is {recorded & 0xFFFFFFFF:08x}, what stands there gives {found:08x}",
            fix=_FIX,
            run_id=run_id,
            revision=revision,
            recorded=recorded,
            found=found,
        )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
