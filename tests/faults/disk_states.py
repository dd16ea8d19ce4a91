"""What a disk may hold after a power cut, rebuilt from the system calls that came before it.

The model promises no more than POSIX does: fsync of a file keeps its bytes, fsync of a folder its
names; of all else any part may be there, in any order.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from tests.faults.traced import Call

SECTOR = 512

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class File:
    """A file beneath its names: bytes that are on the medium, and changes that may not be."""

    durable: bytearray = field(default_factory=bytearray)
    now: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, bytes written there), or (size, None): cut or stretched to it."""

    def change(self, at: int, data: bytes | None) -> None:
        _apply(self.now, at, data)
        self.pending.append((at, data))

    def sync(self) -> None:
        self.durable = bytearray(self.now)
        self.pending.clear()


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    end = at if data is None else at + len(data)
    content.extend(bytes(max(end - len(content), 0)))
    if data is None:
        del content[at:]
    else:
        content[at:end] = data


@dataclass(frozen=True, slots=True)
class Cut:
    """The power fails: what was acknowledged and performed before, and what the disk then holds."""

    call: int
    acknowledged: dict[str, int]
    performed: bytes
    files: dict[str, bytes]

    def lay_out(self, folder: Path) -> None:
        """Write the files below `folder`; names of folders end with a slash."""
        for name, content in sorted(self.files.items()):
            path = folder / name
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_bytes(content)


class Disk:
    """What a process did to the files below `root`, call by call."""

    def __init__(self, root: Path, witness: Path) -> None:
        self._root = str(root)
        self._witness = str(witness)
        self._durable: dict[str, File | None] = {}  # None: a folder
        self._now: dict[str, File | None] = {}
        self._pending: list[tuple[str, str | None, File | None]] = []  # name, name before, file
        self._offsets: dict[str, int | None] = {}  # None: appended to
        self.acknowledged: dict[str, int] = {}
        self.performed = b""

    # -- before the cut

    def feel(self, call: Call) -> bool:
        """Take in one call; whether it changed anything."""
        if call.result < 0:
            return False
        if call.name == "write" and self._heard(call):
            return True
        name = self._below(call.path)
        if name is None or name.endswith("-shm"):  # SQLite makes its -shm anew
            return False
        match call.name:
            case "openat":
                return self._opened(name, call.arguments)
            case "write" | "pwrite64":
                self._written(name, call)
            case "ftruncate":
                self._file(name).change(call.last_number, None)
            case "fsync" | "fdatasync":
                self._synced(name)
            case "mkdir" | "mkdirat":
                self._now[name] = None
                self._pending.append((name, None, None))
            case "unlink" | "unlinkat":
                del self._now[name]
                self._pending.append(("", name, None))
            case _:
                after = self._below(call.strings[-1].decode())
                assert after is not None
                file = self._now[after] = self._now.pop(name)
                self._pending.append((after, name, file))
        return True

    def _heard(self, call: Call) -> bool:
        (text,) = call.strings
        if call.path == self._witness:
            self.performed += text[: call.result]
            return True
        if not call.path.startswith("pipe:") or not text.startswith(b"ack "):
            return False
        _, run_id, revision = text.decode().split()
        self.acknowledged = {**self.acknowledged, run_id: int(revision)}
        return True

    def _below(self, path: str) -> str | None:
        if path == self._root:
            return ""
        inside = path.startswith(self._root + os.sep)
        return path[len(self._root) + 1 :] if inside else None

    def _file(self, name: str) -> File:
        file = self._now[name]
        assert file is not None
        return file

    def _opened(self, name: str, flags: bytes) -> bool:
        if b"O_DIRECTORY" in flags or self._now.get(name, ...) is None or name == "":
            return False
        made = name not in self._now
        if made:
            if b"O_CREAT" not in flags:
                return False
            file = self._now[name] = File()
            self._pending.append((name, None, file))
        elif b"O_TRUNC" in flags and self._file(name).now:
            self._file(name).change(0, None)
            made = True
        self._offsets[name] = None if b"O_APPEND" in flags else 0
        return made

    def _written(self, name: str, call: Call) -> None:
        (data,) = call.strings
        data = data[: call.result]
        file = self._file(name)
        if call.name == "pwrite64":
            file.change(call.last_number, data)
            return
        offset = self._offsets[name]
        file.change(len(file.now) if offset is None else offset, data)
        if offset is not None:
            self._offsets[name] = offset + len(data)

    def _synced(self, name: str) -> None:
        if name and self._now.get(name) is not None:
            self._file(name).sync()
            return
        kept = [one for one in self._pending if os.path.dirname(one[0] or str(one[1])) != name]
        for one in self._pending:
            if one not in kept:
                _rename(self._durable, *one)
        self._pending = kept

    # -- the cut

    def after_cut(self, dice: random.Random, chance: int, *, scattered: bool) -> dict[str, bytes]:
        """One content of the disk; the first four chances are the extremes, the rest random."""
        names = dict(self._durable)
        if chance < 4:
            survivors = self._pending if chance in (1, 2) else []
        else:
            survivors = _some(dice, self._pending)
        for one in survivors:
            _rename(names, *one)
        found: dict[str, bytes] = {}
        for name, file in sorted(names.items()):
            folder = os.path.dirname(name)
            if folder and folder + "/" not in found:
                continue  # nobody finds what is in a folder that was lost
            if file is None:
                found[name + "/"] = b""
            elif chance < 4:
                found[name] = bytes(file.now if chance in (1, 3) else file.durable)
            else:
                found[name] = _torn(dice, file, scattered)
        return found


def _rename(
    names: dict[str, File | None], name: str, before: str | None, file: File | None
) -> None:
    if before is not None:
        names.pop(before, None)
    if name:
        names[name] = file


def _some(dice: random.Random, changes: Sequence[T]) -> list[T]:
    """The first few of some changes, or any of them."""
    if dice.random() < 0.5:
        return list(changes[: dice.randint(0, len(changes))])
    return [one for one in changes if dice.random() < 0.5]


def _torn(dice: random.Random, file: File, scattered: bool) -> bytes:
    """A file of which some unsynced changes are there, the last write of them perhaps in part."""
    content = bytearray(file.durable)
    survivors = _some(dice, file.pending)
    for at, data in survivors[:-1]:
        _apply(content, at, data)
    for at, data in survivors[-1:]:
        if data is None or dice.random() < 0.3:
            _apply(content, at, data)
        else:
            _tear(dice, content, at, data, scattered)
    return bytes(content)


def _tear(dice: random.Random, content: bytearray, at: int, data: bytes, scattered: bool) -> None:
    """Write the first few sectors of `data`, or any; the new size may be there as well."""
    bounds = [at, *range((at // SECTOR + 1) * SECTOR, at + len(data), SECTOR), at + len(data)]
    sectors = list(pairwise(bounds))
    written = _some(dice, sectors) if scattered else sectors[: dice.randint(0, len(sectors))]
    for start, end in written:
        _apply(content, start, data[start - at : end - at])
    if dice.random() < 0.3:
        content.extend(bytes(max(at + len(data) - len(content), 0)))


def legal_states(
    calls: Sequence[Call], root: Path, witness: Path, *, seed: int, chances: int, scattered: bool
) -> Iterator[Cut]:
    """Distinct states of the disk after a power cut right after each call that changed anything.

    `scattered`: of a write that was cut off any sectors may be there, not only the first few.
    """
    disk = Disk(root, witness)
    dice = random.Random(seed)
    seen: set[int] = set()
    for number, call in enumerate(calls):
        if not disk.feel(call):
            continue
        for chance in range(chances):
            files = disk.after_cut(dice, chance, scattered=scattered)
            cut = Cut(number, disk.acknowledged, disk.performed, files)
            key = hash((repr(cut.acknowledged), cut.performed, tuple(sorted(files.items()))))
            if key not in seen:
                seen.add(key)
                yield cut
