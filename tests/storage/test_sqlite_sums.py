"""Checksums of rows: kept right by each way to write, and nothing is built on a row that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.core.commit import Evidence
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import StoreCorrupt
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.relational.sums import log_sums, run_sum
from abstractruntime.storage.sqlite_file import SqliteFile
from abstractruntime.testing.commits import Script, time_at, waiting_for
from tests.storage.sqlite_ground import rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[RelationalStore]:
    with opened(path) as store:
        yield store


def opened(path: Path) -> RelationalStore:
    """As a new process opens it."""
    return RelationalStore(SqliteFile(str(path), durability="process"))


def sound(store: RelationalStore, run_id: str) -> bool:
    found = store.check_rows(run_id)
    return found.faults == () and found.without_sum == 0


@pytest.mark.parametrize("size", [10, 5_000, 100_000])
def test_each_way_to_write_a_run_keeps_its_sums(path: Path, size: int) -> None:
    script = Script("r", vars={"text": "x" * size})
    wait = waiting_for("k", until=time_at(9))
    moves = (
        script.commit,
        script.begin,
        script.finish,
        lambda: script.commit(status=RunStatus.WAITING, waiting=wait),
        lambda: script.commit(status=RunStatus.RUNNING, waiting=None),
        lambda: script.begin({"large": "y" * size}),
        lambda: script.finish({"large": "z" * size}),
        lambda: script.finish_with({"report": "w" * size}),
    )
    for move in moves:
        with opened(path) as store:
            store.commit(move())  # type: ignore[no-untyped-call]
            assert sound(store, "r")
            assert store.load("r") is not None


def test_a_host_that_edits_what_is_otherwise_fixed_keeps_the_sums(store: RelationalStore) -> None:
    store.commit(Script("r").commit())
    for name in ("other", "third"):
        run = store.run_store.load("r")
        assert run is not None
        run.workflow_id, run.actor_id, run.created_at = name, None, time_at(50)
        store.run_store.save(run)
        assert sound(store, "r")
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.run.workflow_id == "third"


def test_evidence_is_counted_without_the_sum_and_found_when_it_does_not_fit(
    store: RelationalStore, path: Path
) -> None:
    store.commit(Script("r").commit())
    store.keep_evidence(Evidence("e", "r", "step", "digest", {"n": 1}, time_at(1)))
    assert sound(store, "r")
    rows(path, "UPDATE runs SET evidence = 2")
    assert "1 pieces of evidence are kept, its row counts 2" in verify_run(store, "r").faults


def test_nothing_is_built_on_a_row_that_is_not_as_it_was_written(path: Path) -> None:
    bad, good = Script("bad"), Script("good")
    with opened(path) as store:
        store.commit(bad.commit())
        store.commit(good.commit())
    rows(path, "UPDATE runs SET current_node = 'elsewhere' WHERE run_id = 'bad'")
    with opened(path) as store:
        handles = [store.submit(script.begin()) for script in (bad, good)]
        with pytest.raises(StoreCorrupt) as caught:
            handles[0].result()
        handles[1].result()
        said = caught.value
        assert (said.where["run_id"], said.where["revision"]) == ("bad", 1)
        assert said.where["recorded"] != said.where["found"]
        assert "verify" in said.explain()
        assert sound(store, "good")
    assert rows(path, "SELECT revision FROM runs ORDER BY run_id") == [(1,), (2,)]


def test_an_effect_is_not_performed_with_a_payload_that_was_damaged(path: Path) -> None:
    """It stands in the log only, and is read for the open step when the run is loaded."""
    script = Script("r")
    with opened(path) as store:
        store.commit(script.commit())
        store.commit(script.begin({"amount": 100}))
    rows(path, "UPDATE commits SET records = replace(records, '100', '900')")
    with opened(path) as store, pytest.raises(StoreCorrupt, match="records of revision 2"):
        store.load("r")


def test_no_two_rows_have_the_same_text_to_sum() -> None:
    one = log_sums("r", 1, b"ab", b"c", None, b"[]")
    others = [
        log_sums("r", 1, b"a", b"bc", None, b"[]"),
        log_sums("r", 1, b"ab", None, b"c", b"[]"),
        log_sums("r", 2, b"ab", b"c", None, b"[]"),
        log_sums("s", 1, b"ab", b"c", None, b"[]"),
    ]
    assert one[0] not in {state for state, _ in others}
    assert one[1] not in {log_sums("r", 2, b"", None, None, b"[]")[1], others[3][1]}
    assert run_sum(1, (), b"a", b"b") != run_sum(1, (), b"ab", None) != run_sum(1, (), None, b"ab")
