"""What tests of the index of a folder share: runs, strangers' writes, and processes that die."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState, run_to_dict
from abstractruntime.storage import durable_files, json_files
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.testing.commits import time_at

LATE = time_at(3000)


def waiting(run_id: str, at: int, **fields: Any) -> RunState:
    wait = WaitState(WaitReason.UNTIL, until=time_at(at))
    return RunState(
        run_id, "wf", RunStatus.WAITING, "n", waiting=wait, updated_at=time_at(at), **fields
    )


def running(run_id: str, **fields: Any) -> RunState:
    return RunState(run_id, "wf", RunStatus.RUNNING, "n", **fields)


def write(folder: Path, run: RunState) -> None:
    """As an editor writes: in place, and without a word to the index."""
    (folder / f"run_{run.run_id}.json").write_text(json.dumps(run_to_dict(run)))


def due(store: JsonFileRunStore, at: str = LATE) -> list[str]:
    return store.index.due(at, 1000)


def index_of(folder: Path) -> Path:
    return folder / ".abstractruntime" / "index-1"


def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the run files that are read from here on."""
    read: list[str] = []
    real = json_files._text_of

    def spy(path: Path) -> Any:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(json_files, "_text_of", spy)
    return read


class Killed(BaseException):
    """The process is gone."""


def dies_before_the_name(store: JsonFileRunStore, run: RunState) -> None:
    """The row is in the index, the run's file is not what it says."""
    with pytest.MonkeyPatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            store.save(run)


def dies_after_the_name(store: JsonFileRunStore, run: RunState) -> None:
    """The run's file is there, nothing that comes after that was done."""
    with pytest.MonkeyPatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(durable_files, "sync_folder", die)
        with pytest.raises(Killed):
            store.save(run)
