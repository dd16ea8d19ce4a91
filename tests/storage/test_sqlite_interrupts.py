"""A writer that is cut short, between any two lines: all or nothing, and the store goes on."""

import linecache
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.errors import StoreUnavailable
from abstractruntime.storage.relational import desk, group, works
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite_file import SqliteFile
from abstractruntime.testing.commits import Script
from tests.storage.sqlite_ground import Once, Wiretap, outcome, python, queued, revision, said

WATCHED = {module.__file__ for module in (group, desk, works)}


class Interrupt:
    """Raises KeyboardInterrupt before the n-th line of the watched modules, in this thread.

    Not where a `with` block ends: the tracer sees that line again, the interpreter does not look
    for signals there before it has left the block.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.fired = False
        self.reached: dict[FrameType, int] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line" and not self.fired:
            line, last = frame.f_lineno, self.reached.get(frame, 0)
            self.reached[frame] = line
            source = linecache.getline(frame.f_code.co_filename, line)
            if last > line and source.lstrip().startswith("with "):
                return self
            self.left -= 1
            if self.left < 0:
                self.fired = True
                raise KeyboardInterrupt
        return self

    def during(self, call: Callable[[], None]) -> bool:
        """Whether `call` was interrupted; False when it has no so many lines."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        return self.fired


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with RelationalStore(SqliteFile(str(tmp_path / "runs.db"), durability="process")) as store:
        yield store


def test_a_lone_commit(store: RelationalStore) -> None:
    script = Script("r")
    store.commit(script.commit())
    line = 0
    while True:
        expected = script.revision
        twin = script.fork()
        commit = script.begin({"line": line})
        interrupted = Interrupt(line).during(lambda commit=commit: store.commit(commit))
        assert revision(store, "r") in (expected, expected + 1), line
        if revision(store, "r") == expected:
            script = twin
        store.commit(Script(f"other-{line}").commit())  # nobody was left leading
        if not interrupted:
            break
        line += 1
    assert line > 60  # as many lines as were interrupted
    assert store.list_records("r") == script.records


class Leader(threading.Thread):
    """Commits, and is interrupted at a line; first of a queue, it leads when the quiet ends."""

    def __init__(self, store: RelationalStore, commit: Commit, line: int) -> None:
        super().__init__()
        self.store, self.commit, self.interrupt = store, commit, Interrupt(line)
        self.interrupted = False

    def run(self) -> None:
        self.interrupted = self.interrupt.during(lambda: self.store.commit(self.commit))

    def queue_up(self) -> None:
        """Go on when it waits in the queue, or was interrupted on the way."""
        self.start()
        while self.is_alive() and not any(m.gate for m in list(self.store._group._queue)):
            self.join(0.001)


def test_a_leader_with_companions(store: RelationalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_LOOK", 0.01)
    monkeypatch.setattr(group, "_IDLE", 0.01)
    line = 0
    while True:
        scripts = [Script(f"r{line}-{n}") for n in range(3)]
        commits = [script.commit(records=[script.note("hello")]) for script in scripts]
        assert store._group.quiet(timeout=5)
        leader = Leader(store, commits[0], line)
        leader.queue_up()
        blocked = threading.Thread(target=store.commit, args=(commits[1],))
        blocked.start()
        submitted = store.submit(commits[2])
        store._group.resume()
        submitted.result()
        blocked.join()
        leader.join()
        for n, script in enumerate(scripts[1:], 1):
            assert store.list_records(f"r{line}-{n}") == script.records, line
        found = store.list_records(f"r{line}-0")
        assert found == scripts[0].records or (leader.interrupted and found == [])
        if not leader.interrupted:
            break
        line += 1
    assert line > 60


def test_submitting(store: RelationalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_LOOK", 0.01)
    monkeypatch.setattr(group, "_IDLE", 0.01)
    line = 0
    while True:
        commit = Script(f"r{line}").commit()
        interrupted = Interrupt(line).during(lambda commit=commit: store.submit(commit).result())
        store.submit(Script(f"other-{line}").commit()).result()
        store.commit(Script(f"more-{line}").commit())
        if not interrupted:
            break
        line += 1
    assert line > 10


# ---- a writer that is cut short

CUTS = [
    ("begin", "", 1),
    ("run", "create_run", 1),
    ("run", "add_log", 1),
    ("commit", "", 1),
    ("committed", "", 2),
    ("rows", "run", 1),
]


@pytest.mark.parametrize(("verb", "query", "stands_at"), CUTS)
def test_an_interrupt_at_any_statement_leaves_all_or_nothing(
    store: RelationalStore, verb: str, query: str, stands_at: int
) -> None:
    script = Script("r")
    store.commit(script.commit())
    store._group._writer._trails.put("r", None)  # type: ignore[attr-defined]
    commit = script.begin(creates=[Script("child").commit()]) if query == "create_run" else None
    commit = script.commit(creates=[Script("child").commit()]) if commit is None else commit
    Wiretap(store, Once(verb, query, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.commit(commit)
    assert revision(store, "r") == stands_at
    assert (store.load("child") is not None) == (stands_at == 2)
    if stands_at == 1:
        store.commit(commit)  # the store goes on, and nothing of it was left behind
    store.commit(Script("other").commit())
    assert revision(store, "r") == 2


@pytest.mark.parametrize(("verb", "query"), [(verb, query) for verb, query, _ in CUTS[:-1]])
def test_an_interrupted_leader_s_companions_are_written_once(
    store: RelationalStore, verb: str, query: str
) -> None:
    companions = [Script(f"r{n}") for n in range(3)]
    commits = [script.commit(records=[script.note("hello")]) for script in companions]
    handles = queued(store, commits)
    Wiretap(store, Once(verb, query, KeyboardInterrupt()))
    waiting = [threading.Thread(target=handle.result) for handle in handles[1:]]
    for thread in waiting:
        thread.start()
    interrupted: list[type[BaseException] | None] = []
    first = threading.Thread(target=lambda: interrupted.append(outcome(handles[0].result)))
    first.start()
    store._group.resume()
    for thread in (first, *waiting):
        thread.join()
    for n, script in enumerate(companions[1:], 1):
        assert store.list_records(f"r{n}") == script.records
    if interrupted == [None]:
        assert store.list_records("r0") == companions[0].records


def test_the_thread_s_members_survive_its_death(store: RelationalStore) -> None:
    died = threading.Event()
    hook, threading.excepthook = threading.excepthook, lambda _: died.set()
    try:
        Wiretap(store, Once("commit", "", SystemExit("gone")))
        scripts = [Script(f"r{n}") for n in range(3)]
        handles = queued(store, [script.commit() for script in scripts])
        store._group.resume()
        for handle in handles:
            handle.result()
    finally:
        threading.excepthook = hook
    assert [revision(store, f"r{n}") for n in range(3)] == [1, 1, 1]


def test_a_member_whose_fate_is_not_known_says_so(store: RelationalStore) -> None:
    def die(verb: str, query: str) -> None:
        if verb in ("committed", "rollback"):
            raise KeyboardInterrupt

    Wiretap(store, die)
    (handle,) = queued(store, [Script("r").commit()])
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        store._group.resume()
        with pytest.raises(StoreUnavailable, match="is not known"):
            handle.result()
    finally:
        threading.excepthook = hook


UNDER_FIRE = """
import signal, sys, threading
from abstractruntime.storage.sqlite import open_sqlite
from abstractruntime.testing.commits import Script

store = open_sqlite(sys.argv[1], durability="process")
stop = threading.Event()
failed = []

def companion(name, write):
    script = Script(name)
    try:
        while not stop.is_set():
            write(script.commit(records=[script.note("hello")]))
    except BaseException as error:
        failed.append(repr(error))

threads = [
    threading.Thread(target=companion, args=("blocking", store.commit)),
    threading.Thread(target=companion, args=("submitting", lambda c: store.submit(c).result())),
]
for thread in threads:
    thread.start()
armed = False

def interrupt(*_):
    if armed:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0021, 0.0021)
script = Script("r")
hits = 0
while hits < 100:
    twin = script.fork()
    commit = script.commit(records=[script.note("hello")])
    try:
        armed = True
        store.commit(commit)
        armed = False
    except KeyboardInterrupt:
        armed = False
        hits += 1
        loaded = store.load("r")
        if loaded is None or loaded.run.checkpoint.revision == twin.revision:
            script = twin
signal.setitimer(signal.ITIMER_REAL, 0)
stop.set()
for thread in threads:
    thread.join()
assert not failed, failed
assert store.list_records("r") == script.records
store.close()
print("well", flush=True)
"""


def test_real_interrupts_of_a_program_that_commits_from_three_threads(tmp_path: Path) -> None:
    assert said(python(UNDER_FIRE, str(tmp_path / "runs.db"))) == "well\n"
