"""Named checkpoints, and where they are kept."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunState, RunStatus, run_to_dict
from abstractruntime.errors import InvalidIdentifier, NotJson, StoreCorrupt
from abstractruntime.storage import (
    InMemoryRunStore,
    InMemorySnapshotStore,
    JsonSnapshotStore,
    Snapshot,
    SnapshotStore,
    SqliteSnapshotStore,
    open_store,
)


class Rows:
    """The rows a SQL store gives, in memory: the contract of SnapshotRows in a few lines."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, str, int, str]] = {}
        self.numbers = count()

    def save_row(self, *, snapshot_id: str, run_id: str, created_at: str, text: str) -> None:
        number = self.rows[snapshot_id][2] if snapshot_id in self.rows else next(self.numbers)
        self.rows[snapshot_id] = run_id, created_at, number, text

    def load_row(self, snapshot_id: str) -> str | None:
        return self.rows[snapshot_id][3] if snapshot_id in self.rows else None

    def delete_row(self, snapshot_id: str) -> bool:
        return self.rows.pop(snapshot_id, None) is not None

    def list_rows(self, run_id: str | None) -> Iterator[str]:
        mine = [row for row in self.rows.values() if run_id in (None, row[0])]
        return (row[3] for row in sorted(mine, key=lambda row: row[1:3], reverse=True))


def times() -> Callable[[], str]:
    minutes = count()
    return lambda: at(next(minutes))


def at(minute: int) -> str:
    return f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00.000000+00:00"


@pytest.fixture(params=["memory", "json", "rows", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotStore]:
    stores: dict[str, Callable[[], SnapshotStore]] = {
        "memory": lambda: InMemorySnapshotStore(now=times()),
        "json": lambda: JsonSnapshotStore(tmp_path, now=times()),
        "rows": lambda: SqliteSnapshotStore(Rows(), now=times()),
        "sqlite": lambda: SqliteSnapshotStore(tmp_path / "runs.db", now=times()),
    }
    made = stores[request.param]()
    yield made
    if isinstance(made, SqliteSnapshotStore):
        made.close()


def run(**fields: Any) -> RunState:
    return RunState("r", "wf", RunStatus.RUNNING, "n", **fields)


def snapshot(snapshot_id: str, **fields: Any) -> Snapshot:
    return Snapshot(**{"run_id": "r", "created_at": at(0), **fields}, snapshot_id=snapshot_id)


def ids(found: list[Snapshot]) -> list[str]:
    return [each.snapshot_id for each in found]


# ---- a snapshot


def test_the_fields_stand_in_the_order_of_the_api() -> None:
    names = [each.name for each in dataclasses.fields(Snapshot)]
    assert names[:9] == [
        "snapshot_id",
        "run_id",
        "step_id",
        "name",
        "description",
        "tags",
        "created_at",
        "updated_at",
        "run_state",
    ]
    made = Snapshot("s", "r")
    assert (made.step_id, made.name, made.description) == (None, "", None)
    assert (made.tags, made.run_state) == ([], {})


def test_a_snapshot_of_a_run_holds_its_public_json_form() -> None:
    state = run(vars={"items": (1, 2)}, actor_id="a")
    taken = Snapshot.from_run(
        run=state, name="before", description="why", tags=["t"], step_id="step-1"
    )
    assert (taken.run_id, taken.name, taken.description) == ("r", "before", "why")
    assert (taken.tags, taken.step_id) == (["t"], "step-1")
    assert taken.run_state == {**run_to_dict(state), "vars": {"items": [1, 2]}}
    assert taken.created_at == taken.updated_at
    other = Snapshot.from_run(run=state, name="before")
    assert (other.description, other.tags, other.step_id) == (None, [], None)
    assert other.snapshot_id != taken.snapshot_id


def test_a_snapshot_shares_nothing_with_its_run() -> None:
    state, tags = run(vars={"items": [1]}), ["t"]
    taken = Snapshot.from_run(run=state, name="n", tags=tags)
    state.vars["items"].append(2)
    tags.append("u")
    assert (taken.run_state["vars"], taken.tags) == ({"items": [1]}, ["t"])
    restored = taken.to_run()
    restored.vars["items"].append(3)
    assert taken.run_state["vars"] == {"items": [1]}


def test_a_run_made_of_a_snapshot_can_be_saved_over_a_later_revision() -> None:
    runs = InMemoryRunStore()
    before = run(vars={"n": 1}, checkpoint=Checkpoint(revision=3, visits={"n": 1}))
    taken = Snapshot.from_run(run=before, name="n")
    assert taken.checkpoint == {"revision": 3, "visits": {"n": 1}}
    assert "checkpoint" not in taken.run_state
    runs.save(dataclasses.replace(before, checkpoint=Checkpoint(revision=9), vars={"n": 2}))
    runs.save(taken.to_run())
    loaded = runs.load("r")
    assert loaded is not None
    assert loaded.vars == {"n": 1}


def test_a_run_that_json_cannot_hold_has_no_snapshot() -> None:
    with pytest.raises(NotJson):
        Snapshot.from_run(run=run(vars={"when": object()}), name="n")


# ---- every store


def test_an_unknown_snapshot_is_none_and_cannot_be_deleted(store: SnapshotStore) -> None:
    assert store.load("nobody") is None
    assert store.delete("nobody") is False
    assert store.list() == []


def test_a_snapshot_comes_back_equal(store: SnapshotStore) -> None:
    state = run(vars={"text": "é\u0000", "n": 2**70}, checkpoint=Checkpoint(revision=2))
    taken = Snapshot.from_run(run=state, name="Zoë", description="d", tags=["a", "b"])
    store.save(taken)
    assert store.load(taken.snapshot_id) == taken
    assert store.list() == [taken]


def test_saving_refreshes_updated_at_and_leaves_created_at(store: SnapshotStore) -> None:
    taken = snapshot("s", updated_at="long ago")
    store.save(taken)
    assert taken.updated_at == at(0)
    store.save(taken)
    loaded = store.load("s")
    assert loaded is not None
    assert (loaded.created_at, loaded.updated_at) == (at(0), at(1))


def test_saving_again_replaces_the_snapshot(store: SnapshotStore) -> None:
    store.save(snapshot("s", name="old"))
    store.save(snapshot("s", name="new"))
    assert [each.name for each in store.list()] == ["new"]


def test_a_store_shares_nothing_with_its_callers(store: SnapshotStore) -> None:
    given = snapshot("s", tags=["t"], run_state={"vars": {"items": [1]}})
    store.save(given)
    given.tags.append("u")
    given.run_state["vars"]["items"].append(2)
    first = store.load("s")
    assert first is not None
    first.tags.append("v")
    second = store.load("s")
    assert second is not None
    assert (second.tags, second.run_state) == (["t"], {"vars": {"items": [1]}})


def test_a_deleted_snapshot_is_gone(store: SnapshotStore) -> None:
    store.save(snapshot("s"))
    assert store.delete("s") is True
    assert store.load("s") is None
    assert store.delete("s") is False


def test_the_newest_are_listed_first_and_of_equally_old_ones_the_later_stored(
    store: SnapshotStore,
) -> None:
    for name, minute in (("b", 5), ("z", 1), ("a", 1), ("c", 9)):
        store.save(snapshot(name, created_at=at(minute)))
    assert ids(store.list()) == ["c", "b", "a", "z"]
    store.save(snapshot("z", created_at=at(1)))
    assert ids(store.list()) == ["c", "b", "a", "z"]
    assert ids(store.list(limit=2)) == ["c", "b"]
    assert store.list(limit=0) == []


def test_at_most_a_hundred_are_listed_unless_more_are_asked_for(store: SnapshotStore) -> None:
    for number in range(101):
        store.save(snapshot(str(number)))
    assert len(store.list()) == 100
    assert len(store.list(limit=1000)) == 101


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["c", "b", "a"]),
        ({"run_id": "r"}, ["b", "a"]),
        ({"run_id": "nobody"}, []),
        ({"tag": "Release"}, ["c", "a"]),
        ({"tag": "RELEASE"}, ["c", "a"]),
        ({"tag": "rel"}, []),
        ({"query": "FRIDAY"}, ["b", "a"]),
        ({"query": "payment zoë"}, ["b"]),
        ({"query": "Straße"}, ["c"]),
        ({"query": "no such thing"}, []),
        ({"run_id": "r", "tag": "release", "query": "friday"}, ["a"]),
        ({"tag": "release", "limit": 1}, ["c"]),
    ],
)
def test_a_list_holds_what_matches_all_that_is_asked_whatever_the_case(
    store: SnapshotStore, asked: dict[str, Any], expected: list[str]
) -> None:
    store.save(snapshot("a", created_at=at(1), name="Friday build", tags=["release", "x"]))
    store.save(
        snapshot("b", created_at=at(2), name="Payment ZOË", description="of last friday", tags=[])
    )
    store.save(snapshot("c", created_at=at(3), run_id="s", description="STRASSE", tags=["Release"]))
    assert ids(store.list(**asked)) == expected


# ---- databases


def test_snapshots_and_runs_share_a_database_that_either_may_close(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/runs.db") as runs:
        snapshots = SqliteSnapshotStore(tmp_path / "runs.db")
        snapshots.save(snapshot("s", name="kept"))
        snapshots.close()
        assert runs.list_runs() == []
    again = SqliteSnapshotStore(str(tmp_path / "runs.db"))
    assert ids(again.list()) == ["s"]
    again.close()


def test_closing_leaves_rows_that_were_given_to_their_owner() -> None:
    store = SqliteSnapshotStore(Rows())
    store.close()
    store.save(snapshot("s"))
    assert ids(store.list()) == ["s"]


# ---- files


def test_a_snapshot_is_one_readable_file(tmp_path: Path) -> None:
    JsonSnapshotStore(tmp_path).save(snapshot("s-1", name="Zoë"))
    path = tmp_path / "snapshot_s-1.json"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    text = path.read_bytes().decode()
    assert '\n  "name": "Zoë",\n' in text
    assert list(json.loads(text))[:9] == [each.name for each in dataclasses.fields(Snapshot)][:9]


def test_a_file_of_another_implementation_is_read_and_its_unknown_keys_are_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "snapshot_s.json"
    path.write_text(
        json.dumps({"snapshot_id": "s", "run_id": "r", "created_at": at(1), "colour": "red"})
    )
    store = JsonSnapshotStore(tmp_path)
    loaded = store.load("s")
    assert loaded is not None
    assert (loaded.name, loaded.tags) == ("", [])
    store.save(loaded)
    assert json.loads(path.read_text())["colour"] == "red"
    assert ids(store.list()) == ["s"]


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "n"}'])
def test_a_file_that_holds_no_snapshot_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "snapshot_s.json").write_text(text)
    store = JsonSnapshotStore(tmp_path)
    for call in (lambda: store.load("s"), store.list):
        with pytest.raises(StoreCorrupt, match=r"snapshot_s\.json"):
            call()


@pytest.mark.parametrize("snapshot_id", ["", "../x", "a/b", ".x", "a\x00"])
def test_an_id_that_could_leave_the_folder_is_refused(tmp_path: Path, snapshot_id: str) -> None:
    store = JsonSnapshotStore(tmp_path)
    for call in (
        lambda: store.save(snapshot(snapshot_id)),
        lambda: store.load(snapshot_id),
        lambda: store.delete(snapshot_id),
    ):
        with pytest.raises(InvalidIdentifier):
            call()
    assert list(tmp_path.iterdir()) == []
