"""Media that are full, read-only or fail to sync while runs are moved: typed errors, then runs end.

As root on a small file system of its own; else by limits and modes.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

from abstractruntime.errors import StoreFault, StoreFull, StoreReadOnly, StoreUnavailable
from abstractruntime.storage.base import Store
from abstractruntime.testing.host import Host
from tests.faults.aftermath import judge
from tests.faults.media import Limited, Mounted, medium_at
from tests.faults.ten_steps import KINDS, Place, host_on, ten_steps
from tests.storage.sqlite_ground import on_medium

each = pytest.mark.parametrize("kind", KINDS)


class Acting:
    """A host of one run in this process, which remembers what was acknowledged."""

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self.store = store
        self.host: Host = host_on(store, place.witness)
        self.acknowledged: dict[str, int] = {}
        self.host.runtime.hooks.add(self._heard)

    def _heard(self, commit: Any) -> None:
        self.acknowledged[commit.run_id] = commit.checkpoint.revision

    def start(self) -> str:
        return self.host.start(ten_steps(self.place.witness))

    def some_steps(self, run_id: str, many: int) -> None:
        run = self.host.runtime.get_state(run_id)
        spec = ten_steps(self.place.witness)
        self.host.runtime.tick(workflow=spec, run_id=run.run_id, max_steps=many)

    def judge(self) -> None:
        judge(self.place, self.acknowledged, self.place.witness.performed)


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Mounted | Limited]:
    with medium_at(tmp_path / "disk") as made:
        yield made


@each
def test_a_full_medium_refuses_by_name_and_the_store_goes_on_when_space_is_freed(
    kind: str, tmp_path: Path, medium: Mounted | Limited
) -> None:
    # SQLite takes a limit for an error of the medium: then only a store opened again goes on.
    ends = kind == "sqlite" and isinstance(medium, Limited)
    refused: list[str] = []
    for pages in range(0, 24, 2):
        place = Place(tmp_path, kind)
        with place.open() as store:
            acting = Acting(place, store)
            run_id = acting.start()
            acting.some_steps(run_id, 2)
            with medium.full(but=pages * 4096):
                try:
                    acting.host.finish(run_id)
                except StoreFault as fault:
                    refused.append(type(fault).__name__)
                    assert ends or acknowledged_is_read(kind, store, run_id)
            assert ends or acting.host.finish(run_id).output is not None, "the same store goes on"
        acting.judge()
        clear(place)
    print(f"{kind} on {medium.name}: full 12 times, {Counter(refused)}")
    assert set(refused) == {(StoreUnavailable if ends else StoreFull).__name__}
    assert len(refused) >= 6


@each
def test_a_full_medium_refuses_a_new_store_by_name(
    kind: str, tmp_path: Path, medium: Mounted | Limited
) -> None:
    place = Place(tmp_path, kind)
    with medium.full(but=0), pytest.raises(StoreFault) as caught, place.open() as store:
        Acting(place, store).start()
    print(f"{kind} on {medium.name}: {type(caught.value).__name__}")
    with place.open() as store:
        acting = Acting(place, store)
        acting.host.finish(acting.start())
    acting.judge()


@each
def test_a_read_only_medium_refuses_by_name_and_is_used_again_when_it_can_be_written(
    kind: str, tmp_path: Path, medium: Mounted | Limited
) -> None:
    refuse_writes(Place(tmp_path, kind), medium)


@each
def test_a_folder_whose_mode_forbids_writes_is_as_a_read_only_medium(
    kind: str, tmp_path: Path
) -> None:
    place = Place(tmp_path, kind)
    place.disk.mkdir()
    refuse_writes(place, Limited(place.disk))


def refuse_writes(place: Place, medium: Mounted | Limited) -> None:
    with ExitStack() as opened:
        store = opened.enter_context(place.open())
        acting = Acting(place, store)
        run_id = acting.start()
        acting.some_steps(run_id, 3)
        if place.kind == "sqlite":
            opened.close()  # a medium with files open for writing does not become read-only
        with medium.read_only(), pytest.raises(StoreReadOnly):
            open_and_finish(place, run_id)
        if place.kind == "files":
            acting.host.finish(run_id)
    acting.judge()


def open_and_finish(place: Place, run_id: str) -> None:
    with place.open() as store:
        assert store.load(run_id) is not None, "what is there can be read"
        host_on(store, place.witness).finish(run_id)


def acknowledged_is_read(kind: str, store: Store, run_id: str) -> bool:
    """Whether the run can still be seen; JSON files settle a half-written commit by writing."""
    if kind == "files":
        return [run.run_id for run in store.list_runs()] == [run_id]
    return store.load(run_id) is not None


def clear(place: Place) -> None:
    """An empty disk, and a witness that has seen nothing."""
    for path in place.disk.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    place.witness.path.unlink()


# ---- syncs that fail


def test_a_failed_sync_ends_the_use_of_a_sqlite_store_until_it_is_opened_again(
    quick_path: Path,
) -> None:
    failed = 0
    for number in count():
        place = Place(quick_path / str(number), "sqlite")
        place.disk.mkdir(parents=True)
        with on_medium(place.store / "runs.db") as (store, medium):
            acting = Acting(place, store)
            medium.fail("sync", apsw.IOError, after=number)
            try:
                acting.host.finish(acting.start())
                break
            except StoreUnavailable:
                failed += 1
            medium.mend()
            for use in (store.list_runs, acting.start):
                with pytest.raises(StoreUnavailable):
                    use()
        acting.judge()
    print(f"{failed} syncs failed, one at a time")
    assert failed >= 12


def test_some_failed_syncs_of_json_files_are_named_and_the_same_store_goes_on(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fail_syncs_of_files(quick_path, monkeypatch, stride=5) >= 7


@pytest.mark.faults
def test_any_failed_sync_of_json_files_is_named_and_the_same_store_goes_on(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fail_syncs_of_files(quick_path, monkeypatch, stride=1) >= 35


def fail_syncs_of_files(folder: Path, monkeypatch: pytest.MonkeyPatch, *, stride: int) -> int:
    """How many syncs failed when every `stride`-th of a run fails, one at a time."""
    failed = 0
    for number in count(0, stride):
        place = Place(folder / str(number), "files")
        place.disk.mkdir(parents=True)
        acting = Acting(place, place.open())
        calls = count()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing_at(number, calls, place))
            try:
                acting.host.finish(acting.start())
                break
            except StoreUnavailable:
                failed += 1
        for run in acting.store.list_runs():
            acting.host.finish(run.run_id)
        acting.judge()
    print(f"{failed} syncs failed, one at a time")
    return failed


def failing_at(number: int, calls: Iterator[int], place: Place) -> Any:
    """An fsync that fails the number-th time it is asked for something on the place's disk."""
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        on_disk = os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(place.disk))
        if on_disk and next(calls) == number:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    return sync
