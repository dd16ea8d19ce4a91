"""Processes of a ten-step run under strace: every system call on their store, faults at any."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.campaign import PATIENCE_S, context
from tests.faults.ten_steps import Place, work

CHANGING = (
    "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat"
)
"""The system calls by which a store changes what a medium holds."""

CALL = re.compile(rb"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
QUOTED = re.compile(rb'"([^"]*)"')
DESCRIPTOR = re.compile(rb"(\d+)<([^>]*)>")

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None and "CI" not in os.environ, reason="apt install strace"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: `path` is the file it is about, `place` its number among its name's."""

    name: str
    path: str
    arguments: bytes
    result: int
    place: int
    injected: bool

    @property
    def strings(self) -> list[bytes]:
        """The quoted arguments."""
        return [_plain(found) for found in QUOTED.findall(self.arguments)]

    @property
    def last_number(self) -> int:
        return int(self.arguments.rpartition(b",")[2])


@dataclass
class Ended:
    """How a traced process ended, what it said and, where they were logged, its calls."""

    exitcode: int | None
    said: list[str]
    calls: list[Call] = field(default_factory=list)

    @property
    def acknowledged(self) -> dict[str, int]:
        """The highest revision it was told is durable, by run."""
        acks = (line.split()[1:] for line in self.said if line.startswith("ack "))
        return {run_id: int(revision) for run_id, revision in acks}  # they only grow

    @property
    def faults(self) -> list[str]:
        return [line.split()[1] for line in self.said if line.startswith("fault ")]


def traced(place: Place, log: Path, *options: str, names: str = CHANGING) -> Ended:
    """Let one process move a ten-step run to its end, traced from before its first call."""
    processes = context()
    hear_go, go = processes.Pipe(duplex=False)
    heard, said = processes.Pipe(duplex=False)
    process = processes.Process(target=work, args=(place, hear_go, said), daemon=True)
    process.start()
    for end in (hear_go, said):
        end.close()
    assert heard.poll(PATIENCE_S)
    assert os.read(heard.fileno(), 100) == b"ready\n"
    how = ["-f", "-y", "-xx", "-s", "10000000", "-o", str(log), "-e", f"trace={names}", *options]
    strace = subprocess.Popen(["strace", *how, "-p", str(process.pid)], stderr=subprocess.PIPE)
    try:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        assert b"attached" in attached, attached.decode()
        os.write(go.fileno(), b"!")
        process.join(PATIENCE_S)
        strace.communicate(timeout=PATIENCE_S)
    finally:
        for each in (process, strace):
            with suppress(ProcessLookupError):
                each.kill()
    assert process.exitcode is not None, "the traced process hangs"
    lines = list(_rest_of(heard.fileno()))
    return Ended(process.exitcode, lines, list(_calls(log)))


def _rest_of(descriptor: int) -> Iterator[str]:
    whole = b""
    while part := os.read(descriptor, 1 << 16):
        whole += part
    yield from whole.decode().splitlines()


def _calls(log: Path) -> Iterator[Call]:
    """The calls in a log, each with its number among those of its name in its thread."""
    places: dict[tuple[bytes, bytes], int] = {}
    for line in log.read_bytes().splitlines():
        found = CALL.match(line)
        if found is None:
            assert b"unfinished" not in line, "two threads write at once"
            continue
        thread, name, arguments, result, rest = found.groups()
        place = places[thread, name] = places.get((thread, name), 0) + 1
        yield Call(
            name.decode(),
            _path_of(name, arguments),
            arguments,
            -1 if result == b"?" else int(result),
            place,
            b"INJECTED" in rest,
        )


def _path_of(name: bytes, arguments: bytes) -> str:
    by_name = name.startswith((b"open", b"rename", b"unlink", b"mkdir", b"new"))
    found = QUOTED.search(arguments) if by_name else None
    if found is None:
        found = DESCRIPTOR.match(arguments)
        return "" if found is None else _plain(found[2]).decode()
    return _plain(found[1]).decode()


def _plain(text: bytes) -> bytes:
    """Bytes that strace wrote as \\x.. each, or as they are."""
    return bytes.fromhex(text.decode().replace("\\x", "")) if b"\\x" in text else text
