"""A store and the fork of its process: the child may not use it, and may open its own."""

import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from abstractruntime.errors import StoreClosed, StoreUnavailable
from abstractruntime.storage.relational import shared
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script
from tests.storage.sqlite_ground import rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], None]) -> int:
    """Start `work` in a forked process; its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_may_not_use_what_it_inherited(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "runs.db") as store:
        store.commit(Script("r").commit())
        parent = os.getpid()

        def work() -> None:
            for use in (
                lambda: store.load("r"),
                lambda: store.commit(Script("x").commit()),
                lambda: store.submit(Script("x").commit()),
                store.changes,
            ):
                with pytest.raises(StoreClosed, match=f"opened by process {parent}"):
                    use()
            store.close()

        assert ended_well(in_child(work))
        store.commit(Script("after").commit())
        assert {run.run_id for run in store.list_runs()} == {"after", "r"}


def test_a_child_that_opens_its_own_loses_nothing_when_the_parent_goes(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = open_sqlite(path)
    store.commit(Script("parent").commit())
    store.load("parent")
    opened, opened_write = os.pipe()
    gone, gone_write = os.pipe()

    def work() -> None:
        with open_sqlite(path) as own:
            assert own is not store
            own.commit(Script("first").commit())
            os.write(opened_write, b"x")
            os.read(gone, 1)
            # Had it no lock of its own, the parent would have removed the log it writes to.
            own.commit(Script("second").commit())

    pid = in_child(work)
    os.read(opened, 1)
    store.commit(Script("meanwhile").commit())
    store.close()
    os.write(gone_write, b"x")
    assert ended_well(pid)
    assert {row[0] for row in rows(path, "SELECT run_id FROM runs")} == {
        "parent",
        "first",
        "meanwhile",
        "second",
    }


def test_a_child_holds_locks_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        store.commit(Script("r").commit())

        def work() -> None:
            with open_sqlite(path) as own:
                own.commit(Script("x").commit())
                held = Path("/proc/locks")
                if held.exists():
                    mine = [
                        line for line in held.read_text().splitlines() if f" {os.getpid()} " in line
                    ]
                    assert mine

        assert ended_well(in_child(work))


def test_forks_amid_traffic_neither_block_nor_break_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    errors: list[BaseException] = []
    stop = threading.Event()
    with open_sqlite(path, durability="process") as store:

        def traffic(name: str) -> None:
            script = Script(name)
            try:
                while not stop.is_set():
                    store.commit(script.commit(records=[script.note("hello")]))
                    loaded = store.load(name)
                    assert loaded is not None
                    assert loaded.run.checkpoint.revision == script.revision  # type: ignore[union-attr]
            except BaseException as error:
                errors.append(error)

        def work(n: int) -> None:
            with open_sqlite(path) as own:
                own.commit(Script(f"child-{n}").commit())

        threads = [threading.Thread(target=traffic, args=(f"r{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        pids = [in_child(lambda n=n: work(n)) for n in range(6)]  # type: ignore[misc]
        ended = [ended_well(pid) for pid in pids]
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert ended == [True] * 6
        assert {f"child-{n}" for n in range(6)} <= {run.run_id for run in store.list_runs()}


def test_what_is_in_use_during_the_fork_cannot_be_opened_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    path = tmp_path / "runs.db"
    with open_sqlite(path) as store:
        store.commit(Script("r").commit())

        def work() -> None:
            with pytest.raises(StoreUnavailable, match="its file locks are not ours"):
                open_sqlite(path)
            with pytest.raises(StoreClosed):
                store.load("r")

        readers = store._database._readers  # type: ignore[attr-defined]
        assert readers.use(lambda connection: ended_well(in_child(work)))
        store.commit(Script("after").commit())
        assert store.load("after") is not None
