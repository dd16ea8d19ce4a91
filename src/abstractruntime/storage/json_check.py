"""Files in a folder of runs that contradict it: of no run, or of a run that is gone. It looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from abstractruntime.storage.durable_files import translated
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.leftovers import Leftover


def of_runs(runs: JsonFileRunStore) -> Iterator[Leftover]:
    """Files that are named as runs and hold none, and ledgers whose run has no file.

    Reads every name, and those run files that the index does not know as they are.
    """
    for error in runs.index.broken():
        yield Leftover("run file", Path(error.where["path"]).name, str(error))
    with translated(runs.folder):
        names = sorted(os.listdir(runs.folder))
    known = {None, *(_key(name, "run_", ".json") for name in names)}
    for name in names:
        if _key(name, "ledger_", ".jsonl") not in known:
            yield Leftover("ledger", name, "its run has no file: put that back, or move this too")


def _key(name: str, prefix: str, suffix: str) -> str | None:
    """What the files of one run have in common; None when it is no such file."""
    if not (name.startswith(prefix) and name.endswith(suffix)):
        return None
    middle = name[len(prefix) : -len(suffix)]
    digest = middle.rpartition("~")[2]
    return digest if len(digest) == 64 else middle
