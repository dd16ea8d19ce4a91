"""What in a folder of JSON files a person should look at. It looks; it never repairs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from abstractruntime.storage.base import Store
from abstractruntime.storage.durable_files import translated
from abstractruntime.storage.json_files import TORN, JsonFileRunStore


@dataclass(frozen=True, slots=True)
class Finding:
    """A file to look at. `kind`: "torn" (bytes that a crash cut short, kept), "broken" (named as a
    run, holds none), "lost" (a ledger whose run has no file) or "litter" (left by a killed writer).
    """

    kind: str
    path: str
    bytes: int
    text: str


def check_files(store: Store) -> list[Finding]:
    """What is to be looked at in the folder of `store`, by kind and name; of other stores nothing.

    Reads every name, and the run files that changed since the index last saw them.
    """
    runs = store.run_store
    if not isinstance(runs, JsonFileRunStore):
        return []
    found = [_finding("broken", error.where["path"], str(error)) for error in runs.index.broken()]
    found += _by_name(runs.folder)
    return sorted(found, key=lambda finding: (finding.kind, finding.path))


def _by_name(folder: Path) -> Iterator[Finding]:
    with translated(folder):
        names = os.listdir(folder)
    runs = {None, *(_key(name, "run_", ".json") for name in names)}
    for name in names:
        path = str(folder / name)
        if name.startswith("ledger_") and name.endswith(".jsonl" + TORN):
            yield _finding("torn", path, "bytes that a crash cut short; nobody acknowledged them")
        elif name.startswith(".") and name.endswith(".tmp"):
            yield _finding("litter", path, "a file that was being written when its process died")
        elif _key(name, "ledger_", ".jsonl") not in runs:
            yield _finding("lost", path, "its run has no file: put that back, or move this too")


def _key(name: str, prefix: str, suffix: str) -> str | None:
    """What the files of one run have in common; None when it is no such file."""
    if not (name.startswith(prefix) and name.endswith(suffix)):
        return None
    middle = name[len(prefix) : -len(suffix)]
    digest = middle.rpartition("~")[2]
    return digest if len(digest) == 64 else middle


def _finding(kind: str, path: str, text: str) -> Finding:
    try:
        size = os.path.getsize(path)
    except OSError:
        size = 0
    return Finding(kind, path, size, text)
