"""What a process knows of the run files of a folder without reading them all: rows in memory.

Theory of operation. Writers append a row to the journal (`json_rows`) before the run file gets its
name; whoever asks reads on where it stopped, and compares each row with the stamp of its file. A
row that does not match is of a writer that is about to rename, or died before it: the file is read
and the name stays in doubt until the run's lock is free. What others write without a row is found
by comparing the whole folder: at first, then always in a small folder, and at most a twentieth of
the time in a large one. Whatever is given out was compared with its file in the same call.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from abstractruntime.core.models import run_from_dict
from abstractruntime.errors import StoreBusy, StoreCorrupt, StoreFault, StoreReadOnly
from abstractruntime.storage.durable_files import file_name, translated
from abstractruntime.storage.folder_locks import FolderLocks
from abstractruntime.storage.json_rows import LIVE, NOTHING, IndexRow, Journal, Position, stamp_of

FEW = 1000
"""Files that are compared at each question: that takes some milliseconds."""

SHARE = 20.0
"""A larger folder is compared again when so many times the time that took has passed."""

Stamp = tuple[int, int, int]
Data = dict[str, Any]


class FolderIndex:
    """The run files of a folder, to be asked about. Any thread may ask.

    `read` gives the object in a file and its stat; None when it is gone, StoreCorrupt when no run.
    """

    def __init__(
        self,
        folder: Path,
        locks: FolderLocks,
        read: Callable[[Path], tuple[Data, os.stat_result] | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._locks = locks
        self._read_file = read
        self._monotonic = monotonic
        self._mutex = threading.RLock()
        self.journal = Journal(folder, used=locks.between_processes)
        self._rows: dict[str, IndexRow] = {}
        self._wakes: list[tuple[str, str, str]] = []
        self._children: dict[str, set[str]] = {}
        self._driven: set[str] = set()
        self._parents: set[str] = set()
        self._broken: dict[str, StoreFault] = {}
        self._doubtful: dict[str, str] = {}
        self._learned: dict[str, IndexRow] = {}
        self._state = NOTHING
        self._position = Position()
        self._compare_at = 0.0
        self._compared = False

    # -- questions about time and drivers: a file that holds no run answers none of them

    def due(self, now: str, limit: int) -> list[str]:
        """Ids of live runs whose wake time is there, earliest first."""
        with self._mutex:
            self._refresh()
            place = 0
            found: dict[str, None] = {}
            while place < len(self._wakes) and len(found) < limit and self._wakes[place][0] <= now:
                wake = self._wakes[place]
                if self._is_true(wake[2]):
                    found[wake[1]] = None
                    place += 1
                else:
                    place = bisect_left(self._wakes, wake)
            return list(found)

    def next_wake(self) -> str | None:
        """The earliest wake time of a live run."""
        with self._mutex:
            self._refresh()
            while self._wakes:
                wake = self._wakes[0]
                if self._is_true(wake[2]):
                    return wake[0]
            return None

    def driven(self, limit: int) -> list[Data]:
        """Live runs whose checkpoint names a driver."""
        return self._read_all(lambda: [self._rows[name] for name in sorted(self._driven)][:limit])

    def answered(self) -> list[str]:
        """Ids of runs that wait for a child which has ended, as far as the index knows."""
        with self._mutex:
            self._refresh()
            found = []
            for name in sorted(self._parents):
                row = self._rows[name]
                child = self._rows.get(file_name("run_", row.child or "", ".json"))
                if child is not None and child.status not in LIVE:
                    found.append(row.run_id)
            return found

    # -- questions whose answers are runs: a file that holds none is named

    def select(
        self, choose: Callable[[Iterable[IndexRow]], list[IndexRow]], *, parent: str | None = None
    ) -> list[Data]:
        """The runs whose rows `choose` chooses, of all or of a parent's. StoreCorrupt."""

        def chosen() -> list[IndexRow]:
            if parent is None:
                return choose(self._rows.values())
            return choose([self._rows[name] for name in sorted(self._children.get(parent, ()))])

        return self._read_all(chosen, refuse=True)

    def broken(self) -> list[StoreFault]:
        """Each file that is named as a run and holds none, as the error that it is."""
        with self._mutex:
            self._refresh()
            return [self._broken[name] for name in sorted(self._broken)]

    def _read_all(
        self, choose: Callable[[], Sequence[IndexRow]], *, refuse: bool = False
    ) -> list[Data]:
        read: dict[str, tuple[IndexRow, Data]] = {}
        with self._mutex:
            self._refresh()
            while True:
                if refuse and self._broken:
                    raise self._broken[min(self._broken)]
                rows = choose()
                # What was read in this call is not read again, however often it is written.
                missing = [row for row in rows if read.get(row.name, (None,))[0] != row]
                for row in missing:
                    data = self._reread(row.name)
                    if data is not None:
                        read[row.name] = (self._rows[row.name], data)
                if not missing:
                    return [read[row.name][1] for row in rows]

    # -- how rows are kept true

    def _refresh(self) -> None:
        self._catch_up()
        if not self._compared or self._monotonic() >= self._compare_at:
            self._compare()
        for name in list(self._broken):
            self._reread(name)
        self._settle()
        self._publish()

    def _catch_up(self) -> None:
        """Read what was appended to the journal since the last time."""
        state = self.journal.state()
        if state == self._state:
            return
        rows, self._position, broken = self.journal.read(self._position)
        self._state = state
        if broken:
            self._compared = False
        if not self._rows:
            self._put_all({row.name: row for row in rows})
            return  # compared with the files at once
        for name, row in {row.name: row for row in rows}.items():
            if not self._compared:
                self._learned.pop(name, None)
                self._put(row)
            elif self._rows.get(name) != row:
                self._take(row)

    def _take(self, row: IndexRow) -> None:
        """A row that somebody wrote: true when the file is what it says."""
        stamp = self._stamp(row.name)
        if stamp == row.stamp:
            self._put(row)
            self._learned.pop(row.name, None)
            return
        known = self._rows.get(row.name)
        if stamp is None or known is None or known.stamp != stamp:
            self._reread(row.name)
        self._doubtful[row.name] = row.run_id

    def _compare(self) -> None:
        """Compare the whole folder with the rows: names, and the stamp of each file."""
        begun = self._monotonic()
        missing = set(self._rows) | set(self._broken)
        with translated(self._folder), os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name
                if not (name.startswith("run_") and name.endswith(".json")):
                    continue
                missing.discard(name)
                row = self._rows.get(name)
                if row is None:
                    self._reread(name)
                elif row.stamp != self._stamp(name):
                    self._reread(name)
                    self._doubtful[name] = row.run_id
        for name in missing:
            row = self._rows.get(name)
            # A folder that changes while it is listed may leave out a name that is there.
            if self._reread(name) is None and row is not None:
                self._doubtful[name] = row.run_id
        self._compared = True
        ended = self._monotonic()
        few = len(self._rows) <= FEW or not self.journal.used
        self._compare_at = ended if few else ended + SHARE * (ended - begun)

    def _settle(self) -> None:
        """Whoever holds a run's lock is not being written by anybody of ours: its file is true."""
        for name, run_id in list(self._doubtful.items()):
            with suppress(StoreFault, StoreBusy), self._locks.tried(run_id) as held:
                row = self._rows.get(name)
                if row is None or row.stamp != self._stamp(name):
                    self._reread(name)
                if held:
                    del self._doubtful[name]
                    if name in self._rows:
                        self._learned[name] = self._rows[name]

    def _publish(self) -> None:
        """Write down what was read from files, so that nobody has to read them again."""
        if self._learned:
            rows, self._learned = list(self._learned.values()), {}
            with suppress(StoreFault, StoreBusy):  # a folder that is to be read only
                self.journal.add(rows)

    def _is_true(self, name: str) -> bool:
        """Whether the row is as its file; when not it is now."""
        row = self._rows[name]
        if row.stamp == self._stamp(name):
            return True
        self._reread(name)
        return False

    def _stamp(self, name: str) -> Stamp | None:
        try:
            return stamp_of(os.stat(f"{self._folder}/{name}"))
        except OSError:
            return None

    def _reread(self, name: str) -> Data | None:
        """Take the row from the file itself; the run, None when there is none."""
        path = self._folder / name
        try:
            found = self._read_file(path)
            if found is None:
                self._drop(name)
                return None
            data, stat = found
            run_from_dict(data)
            row = IndexRow.of(data, name, stat)
        except (StoreCorrupt, StoreReadOnly) as error:
            self._drop(name)
            self._broken[name] = error
            return None
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._drop(name)
            self._broken[name] = StoreCorrupt(f"{path} holds no run: {error}", path=str(path))
            return None
        if self._rows.get(name) != row:
            self._put(row)
            self._learned[name] = row
        return data

    def _put_all(self, rows: dict[str, IndexRow]) -> None:
        """The same as one after the other, in a tenth of the time."""
        self._compared = False
        self._rows = rows
        for row in rows.values():
            self._place(row)
        self._wakes = sorted((r.wake, r.run_id, r.name) for r in rows.values() if r.wake)

    def _put(self, row: IndexRow) -> None:
        self._drop(row.name)
        self._rows[row.name] = row
        if row.wake is not None:
            insort(self._wakes, (row.wake, row.run_id, row.name))
        self._place(row)

    def _place(self, row: IndexRow) -> None:
        if row.parent_run_id is not None:
            self._children.setdefault(row.parent_run_id, set()).add(row.name)
        if row.driven:
            self._driven.add(row.name)
        if row.child is not None:
            self._parents.add(row.name)

    def _drop(self, name: str) -> None:
        self._broken.pop(name, None)
        row = self._rows.pop(name, None)
        if row is None:
            return
        if row.wake is not None:
            del self._wakes[bisect_left(self._wakes, (row.wake, row.run_id, row.name))]
        if row.parent_run_id is not None:
            siblings = self._children[row.parent_run_id]
            siblings.discard(name)
            if not siblings:
                del self._children[row.parent_run_id]
        self._driven.discard(name)
        self._parents.discard(name)
