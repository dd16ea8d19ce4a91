"""What lies in a store's folder and belongs to nothing: what crashes and gone runs leave behind.

It looks at names, sizes and times; only `sweep` removes anything, and only what no reader misses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from abstractruntime.storage.durable_files import remove, translated

SETTLED_S = 3600.0
"""Seconds after which no writer is still between two of its files."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """`kind` says what it is, `name` which one, `why` what it lacks.

    `path` is set when it may go: nothing would ever read it. `lost`: what it lacks was there.
    """

    kind: str
    name: str
    why: str
    path: str | None = None
    lost: bool = False


def of_folder(folder: Path, *, now_s: float) -> Iterator[Leftover]:
    """Temporary files of dead writers and bytes set aside, in a folder of runs; not below it."""
    for entry in _files(folder):
        if _is_temporary(entry.name):
            if _settled(entry, now_s):
                yield _temporary(entry)
        elif entry.name.endswith(".torn"):
            yield Leftover(
                "torn bytes",
                entry.name,
                f"{entry.stat().st_size:,} bytes that a crash cut short; never acknowledged, kept "
                "to be looked at",
            )


def of_artifacts(folder: Path, *, now_s: float) -> Iterator[Leftover]:
    """Temporary files, content without metadata and the reverse, in a folder of artifacts."""
    entries = {entry.name: entry for entry in _files(folder)}
    for name, entry in sorted(entries.items()):
        stem, dot, suffix = name.rpartition(".")
        if not _settled(entry, now_s):
            continue
        if _is_temporary(name):
            yield _temporary(entry)
        elif suffix == "bin" and f"{stem}.meta" not in entries:
            why = "content that no metadata names: its writer died before it was stored"
            yield Leftover("artifact content", name, why, entry.path)
        elif suffix == "meta" and dot and f"{stem}.bin" not in entries:
            yield Leftover("artifact metadata", name, "its content is missing")


def sweep(leftovers: Iterable[Leftover]) -> list[Leftover]:
    """Remove those that may go; durable on return. The ones that were still there."""
    return [each for each in leftovers if each.path is not None and remove(Path(each.path))]


def _files(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with translated(folder), os.scandir(folder) as entries:
        return sorted((each for each in entries if each.is_file()), key=lambda each: each.name)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _settled(entry: os.DirEntry[str], now_s: float) -> bool:
    return now_s - entry.stat().st_mtime > SETTLED_S


def _temporary(entry: os.DirEntry[str]) -> Leftover:
    return Leftover("temporary file", entry.name, "its writer died before it was done", entry.path)
