"""Whatever an id is, nothing outside of the folder is touched, and no two ids share anything."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from abstractruntime import (
    FileArtifactStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    JsonSnapshotStore,
    RunState,
    RunStatus,
    Snapshot,
    open_store,
)
from abstractruntime.core.models import StepRecord, StepStatus
from abstractruntime.errors import InvalidIdentifier
from abstractruntime.storage.sqlite import open_sqlite
from tests.storage.nasty_ids import LONG, NASTY, fuzzed, look_alikes

BLOCKS, FUZZED = 8, 1_250
"""Ten thousand ids for each place, in blocks that are not too long on a slow disk."""


class Watch:
    """Sees every file that Python code opens, lists, makes, moves or removes while it is on."""

    VERBS = frozenset({"open", "shutil.rmtree", "shutil.move", "glob.glob"})

    def __init__(self) -> None:
        self.inside: Path | None = None
        self.seen = 0
        self.outside: list[tuple[str, Any]] = []
        sys.addaudithook(self)  # for good: hooks cannot be taken away

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.inside is None or not (event in self.VERBS or event.startswith("os.")):
            return
        for argument in arguments[:2]:
            if isinstance(argument, str | bytes | os.PathLike) and event != "os.putenv":
                if event == "open" and argument is not arguments[0]:
                    continue  # its mode
                self.seen += 1
                path = Path(os.path.realpath(os.fsdecode(argument)))
                if not path.is_relative_to(self.inside):
                    self.outside.append((event, argument))

    @contextmanager
    def on(self, folder: Path) -> Iterator[None]:
        self.inside, self.seen = folder.resolve(), 0
        try:
            yield
        finally:
            self.inside = None


WATCH = Watch()


@dataclass
class Shelf:
    """One place that keeps things by id: put one's number there, and see whose number it holds."""

    put: Callable[[str, int], None]
    number: Callable[[str], int | None]
    close: Callable[[], None] = lambda: None


def a_run(run_id: str, number: int) -> RunState:
    return RunState(run_id, "w", RunStatus.RUNNING, "n", vars={"number": number})


def runs_of(store: Any, close: Callable[[], None] = lambda: None) -> Shelf:
    def number(run_id: str) -> int | None:
        run = store.load(run_id)
        return None if run is None else run.vars["number"]

    return Shelf(lambda run_id, n: store.save(a_run(run_id, n)), number, close)


def records_of(store: Any) -> Shelf:
    def put(run_id: str, number: int) -> None:
        store.append(StepRecord(run_id, f"s{number}", "n", StepStatus.COMPLETED))

    def number(run_id: str) -> int | None:
        found = store.list(run_id)
        assert len(found) < 2, f"{run_id!r} has the records of others: {found}"
        return int(found[0]["step_id"][1:]) if found else None

    return Shelf(put, number)


def snapshots_of(store: Any, close: Callable[[], None] = lambda: None) -> Shelf:
    def number(snapshot_id: str) -> int | None:
        found = store.load(snapshot_id)
        return None if found is None else int(found.name)

    def put(snapshot_id: str, n: int) -> None:
        store.save(Snapshot(snapshot_id, "r", name=str(n)))

    return Shelf(put, number, close)


def artifacts_of(store: FileArtifactStore) -> Shelf:
    def number(artifact_id: str) -> int | None:
        found = store.load_text(artifact_id)
        return None if found is None else int(found)

    return Shelf(lambda name, n: void(store.store_text(str(n), artifact_id=name)), number)


def void(_: object) -> None:
    return None


def sqlite(path: Path, what: str) -> Shelf:
    store = open_sqlite(path, durability="process")
    if what == "runs":
        return runs_of(store.run_store, store.close)
    return snapshots_of(store.snapshot_store, store.close)


SHELVES: dict[str, Callable[[Path], Shelf]] = {
    "runs": lambda folder: runs_of(JsonFileRunStore(folder)),
    "ledgers": lambda folder: records_of(JsonlLedgerStore(folder)),
    "snapshots": lambda folder: snapshots_of(JsonSnapshotStore(folder)),
    "artifacts": lambda folder: artifacts_of(FileArtifactStore(folder)),
    "sqlite runs": lambda folder: sqlite(folder / "runs.db", "runs"),
    "sqlite snapshots": lambda folder: sqlite(folder / "runs.db", "snapshots"),
}


REFUSALS = {
    "runs": {"InvalidIdentifier"},
    "ledgers": {"InvalidIdentifier"},
    "snapshots": {"InvalidIdentifier"},
    "artifacts": {"InvalidIdentifier"},
    "sqlite": {"InvalidInput"},
}


def put_all(shelf: Shelf, ids: Iterable[str]) -> tuple[dict[str, int], Counter[str]]:
    """Put each id's number there; those that were taken, and how many were refused by what."""
    taken: dict[str, int] = {}
    refused: Counter[str] = Counter()
    for number, identifier in enumerate(ids):
        try:
            assert shelf.number(identifier) is None, f"{identifier!r} is there already"
            shelf.put(identifier, number)
        except ValueError as error:
            refused[type(error).__name__] += 1
        else:
            taken[identifier] = number
    return taken, refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHELVES)
@pytest.mark.parametrize("block", range(BLOCKS + 1))
def test_an_id_works_for_itself_alone_or_is_refused(kind: str, block: int, tmp_path: Path) -> None:
    ids = list(fuzzed(FUZZED, seed=block)) if block else NASTY
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    (tmp_path / "in" / "up").write_text("not ours")
    with mock.patch("os.fsync"):  # no power fails here
        shelf = SHELVES[kind](folder)
        shelf.put("first", 0)
        with WATCH.on(folder):
            taken, refused = put_all(shelf, ids)
            found = {identifier: shelf.number(identifier) for identifier in taken}
        shelf.close()
    assert found == taken
    assert set(refused) <= REFUSALS[kind.partition(" ")[0]]
    assert WATCH.outside == []
    assert sorted(os.listdir(tmp_path)) == ["in"]
    assert sorted(os.listdir(tmp_path / "in")) == ["side", "up"]
    assert (tmp_path / "in" / "up").read_text() == "not ours"
    if kind.startswith("sqlite"):
        assert os.listdir(folder) == ["runs.db"]
    print(
        f"{kind}: {len(taken)} of {len(ids)} ids work, the others are refused {dict(refused)}, "
        f"{WATCH.seen} uses of files seen, {len(WATCH.outside)} outside of the folder"
    )


def test_the_watch_sees_who_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("")
    with WATCH.on(tmp_path / "in"):
        (tmp_path / "in" / "a").write_text("")
        os.listdir(tmp_path)
        os.replace(tmp_path / "in" / "a", tmp_path / "in" / ".." / "b")
        (tmp_path / "file").read_bytes()
        os.remove(tmp_path / "b")
    left = [event for event, _ in WATCH.outside]
    WATCH.outside.clear()
    assert left == ["os.listdir", "os.rename", "open", "os.remove"]


LOOSE = [
    pytest.param(
        kind,
        marks=pytest.mark.xfail(
            strict=True, reason="what is saved through this store's views has its ids unchecked"
        ),
    )
    for kind in ("memory", "sqlite")
]


@pytest.mark.parametrize("run_id", ["", "a" * 257, "\ud800"], ids=["empty", "long", "surrogate"])
@pytest.mark.parametrize("kind", ["files", *LOOSE])
def test_what_can_be_no_id_is_refused_by_every_store(
    kind: str, run_id: str, tmp_path: Path
) -> None:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/runs.db"}
    with open_store(urls.get(kind, f"files:///{tmp_path}")) as store:
        runs = store.run_store
        with pytest.raises(InvalidIdentifier):
            runs.save(a_run(run_id, 1))


@pytest.mark.xfail(strict=True, reason="an id that ends in another's digest has that one's file")
@pytest.mark.parametrize("kind", ["runs", "ledgers", "snapshots"])
def test_an_id_that_looks_like_a_digest_is_not_taken_for_a_long_one(
    kind: str, tmp_path: Path
) -> None:
    shelf = SHELVES[kind](tmp_path)
    ids = [LONG, *look_alikes(LONG)]
    taken, refused = put_all(shelf, ids)
    assert {identifier: shelf.number(identifier) for identifier in taken} == taken
    print(f"{kind}: {len(taken)} ids work, {refused.total()} are refused")
