"""Files in a folder of runs that contradict it: of no run, or of a run that is gone. It looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.durable_files import translated
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.json_lines import last_line, record_on
from abstractruntime.storage.leftovers import Leftover
from abstractruntime.storage.paired_files import cut_short


def of_runs(runs: JsonFileRunStore) -> Iterator[Leftover]:
    """Files that are named as runs and hold none, and ledgers whose run has no file.

    Reads every name, and those run files that the index does not know as they are.
    """
    for error in runs.index.broken():
        yield Leftover("run file", Path(error.where["path"]).name, str(error), lost=True)
    with translated(runs.folder):
        names = sorted(os.listdir(runs.folder))
    known = {None, *(_key(name, "run_", ".json") for name in names)}
    for name in names:
        if _key(name, "ledger_", ".jsonl") not in known:
            yield _alone(runs.folder / name)


def _alone(path: Path) -> Leftover:
    """What a ledger without a run file is: of a run that is gone, or of one that never was."""
    why = "the file of its run is gone: put that back from a backup, or move this away too"
    try:
        with translated(path), FileIO(path) as file:
            line = last_line(file.fileno())
        if line is None or cut_short(record_on(path, None, line)):
            why = "a crash cut the creation of its run short: nobody was told of it, move it away"
            return Leftover("ledger", path.name, why)
    except StoreCorrupt as error:
        why = f"{why}; {error}"
    return Leftover("ledger", path.name, why, lost=True)


def _key(name: str, prefix: str, suffix: str) -> str | None:
    """What the files of one run have in common; None when it is no such file."""
    if not (name.startswith(prefix) and name.endswith(suffix)):
        return None
    middle = name[len(prefix) : -len(suffix)]
    digest = middle.rpartition("~")[2]
    return digest if len(digest) == 64 else middle
