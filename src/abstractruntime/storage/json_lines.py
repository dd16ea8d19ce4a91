"""The lines of a ledger's file: what is on each, and what a crash left of the last ones.

It works on bytes and open files. Who may be told of a line, and when, is not its business.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from abstractruntime.core.canonical import decode
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.durable_files import append_whole, read_at

_TAIL = 64 * 1024
_LOST = b"\0"
"""What stands where a sector never reached the medium. Records escape it: it is no part of one."""

TORN = ".torn"
"""What the name of a file ends with that keeps bytes which a crash cut short."""


class Gap(NamedTuple):
    """A line at `place` in which a sector is missing, and the whole records around it."""

    place: int
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


def record_on(path: Path, number: int | None, line: bytes) -> dict[str, Any]:
    """The record on a line; StoreCorrupt names file and line (None: its last)."""
    try:
        record = decode(line)
    except ValueError as error:
        raise _corrupt(path, number, f"is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise _corrupt(path, number, "holds no record")
    return record


def _corrupt(path: Path, number: int | None, reason: str) -> StoreCorrupt:
    where = "its last line" if number is None else f"line {number}"
    return StoreCorrupt(f"{path}: {where} {reason}", path=str(path), line=number)


def end_of_lines(descriptor: int, end: int) -> int:
    """Where the last complete line before `end` ends; 0 when there is none."""
    while end > 0:
        start = max(end - _TAIL, 0)
        at = read_at(descriptor, start, end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def last_line(descriptor: int) -> bytes | None:
    """The last complete line that is not blank."""
    end = end_of_lines(descriptor, os.fstat(descriptor).st_size)
    while end > 0:
        start = end_of_lines(descriptor, end - 1)
        line = read_at(descriptor, start, end - start)
        if line.strip():
            return line
        end = start
    return None


def without_torn_line(descriptor: int, path: Path, end: int | None = None) -> int:
    """The size of the file once its unterminated last line is moved to `*.torn`, bytes kept.

    Given `end`, all from there on is moved.
    """
    size = os.fstat(descriptor).st_size
    if end is None:
        end = end_of_lines(descriptor, size)
    if end < size:
        torn = path.with_name(path.name + TORN)
        bytes_kept = read_at(descriptor, end, size - end)
        # Kept durably before it is cut: a crash in between keeps it twice, never loses it.
        append_whole(torn, b"\n" + bytes_kept if torn.exists() else bytes_kept)
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end


def gap_at_end(descriptor: int, path: Path) -> Gap | None:
    """The first line of the last commit in which a sector is missing; None when there is none.

    What follows the last line break is not looked at. StoreCorrupt names another broken line.
    """
    size = end_of_lines(descriptor, os.fstat(descriptor).st_size)
    place = _first_gap(descriptor, size)
    if place is None:
        return None
    lines = read_at(descriptor, 0, size).split(b"\n")[:-1]
    first = read_at(descriptor, 0, place).count(b"\n")
    whole = [
        (number, record_on(path, number + 1, line))
        for number, line in enumerate(lines)
        if line.strip() and not (number >= first and _LOST in line)
    ]
    return Gap(
        place,
        [record for number, record in whole if number < first],
        [record for number, record in whole if number > first],
    )


def _first_gap(descriptor: int, end: int) -> int | None:
    """Where it begins; only the lines of the last commit, and one before, are read."""
    found: int | None = None
    commit: object = None
    while end > 0:
        start = end_of_lines(descriptor, end - 1)
        line = read_at(descriptor, start, end - start)
        if _LOST in line:
            found = start
        elif line.strip():
            try:
                record = decode(line)
            except ValueError:
                return None  # broken in another way: whoever reads it says so
            revision = record.get("revision") if isinstance(record, dict) else None
            if revision is None or commit not in (None, revision):
                break
            commit = revision
        end = start
    return found
