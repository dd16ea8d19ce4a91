"""Locks on the runs of a folder: between threads, between processes, and across a fork."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.errors import StoreBusy
from abstractruntime.storage import folder_locks
from abstractruntime.storage.base import Capability
from abstractruntime.storage.folder_locks import FolderLocks, _slot_of
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.open import open_store
from abstractruntime.storage.paired import PairedStore
from tests.contract.plain_stores import AsdictLedger

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs locks between processes")

RUN = RunState("r", "wf", RunStatus.RUNNING, "n")

HOLD = """
import sys
from pathlib import Path
from abstractruntime.storage.folder_locks import FolderLocks
with FolderLocks.of(Path(sys.argv[1])).held(["r"]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the run "r"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def is_free(locks: FolderLocks) -> bool:
    with locks.tried("r") as held:
        return held


def is_free_elsewhere(folder: Path) -> bool:
    """Whether a new process could have the run."""
    code = HOLD.replace('.held(["r"]):', '.tried("r") as held:').replace('"held"', "held")
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        input="",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout == "True\n"


def test_a_run_that_another_process_holds_is_not_had_until_that_process_dies(
    tmp_path: Path,
) -> None:
    locks = FolderLocks.of(tmp_path)
    with holder(tmp_path) as other:
        assert not is_free(locks)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert is_free(locks)


def test_who_waits_too_long_is_told_which_lock_and_that_somebody_may_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_locks, "PATIENCE_S", 0.01)
    store = open_store(f"files:///{tmp_path}")
    with holder(tmp_path):
        for use in (lambda: store.load("r"), lambda: store.run_store.save(RUN)):
            with pytest.raises(StoreBusy, match=r"lock-\d\d stayed locked") as caught:
                use()
            assert "stopped" in caught.value.how_to_fix
    assert store.load("r") is None


def test_the_same_thread_enters_again_and_another_waits(tmp_path: Path) -> None:
    locks, order = FolderLocks.of(tmp_path), []

    def other() -> None:
        with FolderLocks.of(tmp_path / ".." / tmp_path.name).held(["r"]):
            order.append("other")

    thread = threading.Thread(target=other)
    with locks.held(["r", "s"]):
        with locks.held(["r"]):
            thread.start()
        assert not is_free_elsewhere(tmp_path)
        order.append("mine")
    thread.join()
    assert order == ["mine", "other"]
    assert is_free_elsewhere(tmp_path)


def test_threads_that_want_the_same_runs_in_any_order_do_not_wait_for_each_other_forever(
    tmp_path: Path,
) -> None:
    locks, done = FolderLocks.of(tmp_path), []
    names = [f"r{number}" for number in range(12)]

    def work(turn: int) -> None:
        for number in range(30):
            mine = [names[(turn * 5 + number * k) % 12] for k in (1, 2, 3)]
            with locks.held(mine):
                done.append(turn)

    threads = [threading.Thread(target=work, args=(turn,), daemon=True) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(done) == 180


def test_a_forked_child_holds_nothing_of_its_parent_and_keeps_nothing_from_it(
    tmp_path: Path,
) -> None:
    locks = FolderLocks.of(tmp_path)
    leave, left = os.pipe()
    with locks.held(["r"]):
        pid = os.fork()
        if pid == 0:  # pragma: no cover
            os._exit(_child(locks, leave))
    assert is_free_elsewhere(tmp_path)  # though the child lives
    os.write(left, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(leave)
    os.close(left)


def _child(locks: FolderLocks, leave: int) -> int:
    os.read(leave, 1)
    return 0 if is_free(locks) else 1


def test_a_lock_that_another_thread_held_at_the_fork_can_be_had_in_the_child(
    tmp_path: Path,
) -> None:
    locks, inside, leave = FolderLocks.of(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with locks.held(["r"]):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        held_by_parent = not is_free(locks)
        os._exit(0 if held_by_parent else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not is_free(locks)  # the child's end released nothing
    leave.set()
    thread.join()
    assert is_free(locks)


def test_few_files_lock_any_number_of_runs(tmp_path: Path) -> None:
    locks = FolderLocks.of(tmp_path)
    for number in range(500):
        with locks.held([f"r{number}"]):
            pass
    assert len(os.listdir(tmp_path / ".abstractruntime")) == 64
    assert _slot_of("r") == _slot_of("r") != _slot_of("r1")


# ---- what is promised


def test_only_files_on_a_file_system_with_locks_promise_to_exclude_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pair(folder: Path) -> PairedStore:
        return PairedStore(JsonFileRunStore(folder), JsonlLedgerStore(folder))

    assert Capability.EXCLUSIVE in pair(tmp_path / "a").capabilities
    own = PairedStore(JsonFileRunStore(tmp_path / "b"), AsdictLedger())
    assert Capability.EXCLUSIVE not in own.capabilities

    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_locks.fcntl, "flock", without)
    store = pair(tmp_path / "c")
    assert Capability.EXCLUSIVE not in store.capabilities
    runs = store.run_store
    runs.save(RUN)
    assert isinstance(runs, JsonFileRunStore)
    assert [run.run_id for run in runs.list_runs()] == ["r"]
    assert sorted(os.listdir(tmp_path / "c")) == ["run_r.json"]
