"""The mailboxes of a pair of our own stores: what was sent in one place, what was used in another.

Theory of operation. A message is a line beside the runs, written once and never changed. That it
was consumed stands in the run's ledger, in the record of the move it caused: so it is used up just
when that commit stands, whatever a crash leaves of it. What this process has read of both is kept
in memory, by marks that tell when another has written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Commit, Message
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.durable_files import (
    appending,
    check_identifier,
    file_name,
    make_folder,
    read_at,
    translated,
    write_all,
)
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.json_lines import without_torn_line
from abstractruntime.storage.memory_mail import Letter, Mail
from abstractruntime.storage.paired_files import innermost
from abstractruntime.storage.paired_journal import Record, kind_of, not_voided


class MailLines(Protocol):
    """Where the lines of messages are, by run."""

    def append(self, run_id: str, line: bytes) -> None:
        """Add a line; durable on return where anything is."""

    def after(self, run_id: str, position: int) -> tuple[list[bytes], int]:
        """The lines from a position on, and the position behind them."""

    def run_ids(self) -> list[str]:
        """Runs with lines."""


class MailFiles:
    """Lines in `mail/mail_{run_id}.jsonl` below a folder of runs."""

    def __init__(self, folder: Path) -> None:
        self._runs = folder
        self._folder = folder / "mail"
        self._ids: dict[str, str] = {}

    def append(self, run_id: str, line: bytes) -> None:
        make_folder(self._folder)
        path = self._path(run_id)
        with appending(path) as descriptor, translated(path):
            size = without_torn_line(descriptor, path)
            try:
                write_all(descriptor, line + b"\n")
                os.fsync(descriptor)
            except OSError:
                # What the sender is told was refused must not appear later.
                os.ftruncate(descriptor, size)
                raise
        with translated(self._runs):
            os.utime(self._runs)  # schedulers of other processes look at the folder's time

    def after(self, run_id: str, position: int) -> tuple[list[bytes], int]:
        path = self._path(run_id)
        with translated(path):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return [], 0
            try:
                size = os.fstat(descriptor).st_size
                text = read_at(descriptor, position, size - position) if size > position else b""
            finally:
                os.close(descriptor)
        whole = text[: text.rfind(b"\n") + 1]
        return [line for line in whole.split(b"\n") if line], position + len(whole)

    def run_ids(self) -> list[str]:
        found: list[str] = []
        with translated(self._folder):
            try:
                names = sorted(os.listdir(self._folder))
            except FileNotFoundError:
                return found
        for name in names:
            if name.endswith(".jsonl"):
                run_id = self._ids.get(name) or self._id_in(name)
                if run_id is not None:
                    found.append(run_id)
        return found

    def _id_in(self, name: str) -> str | None:
        """The run a file is of, which stands in its first line: long ids have other file names."""
        path = self._folder / name
        with translated(path), path.open("rb") as file:
            line = file.readline()
        if not line.endswith(b"\n"):
            return None
        with suppress(ValueError, LookupError, TypeError):  # whoever asks for its run is told
            self._ids[name] = decode(line)["run_id"]
        return self._ids.get(name)

    def _path(self, run_id: str) -> Path:
        check_identifier(run_id)
        return self._folder / file_name("mail_", run_id, ".jsonl")


def lines_of(runs: RunStore, ledger: LedgerStore) -> MailLines | None:
    """Where a pair may keep messages; None where one of the two is not ours."""
    inner = innermost(ledger)
    if isinstance(runs, InMemoryRunStore) and isinstance(inner, InMemoryLedgerStore):
        return runs.mail
    if isinstance(runs, JsonFileRunStore) and isinstance(inner, JsonlLedgerStore):
        return MailFiles(runs.folder)
    return None


class PairedMail:
    """The messages of one pair. Whoever calls holds the run's lock, and has looked at the run."""

    def __init__(self, lines: MailLines, ledger: LedgerStore) -> None:
        self._lines = lines
        self._ledger = ledger
        self._inner: Any = innermost(ledger)
        self._mail = Mail()
        self._read: dict[str, int] = {}
        self._marks: dict[str, Any] = {}

    def run_ids(self) -> list[str]:
        """Runs that were ever sent a message."""
        return self._lines.run_ids()

    def unread(self, run_id: str) -> bool:
        """Whether anything may be unread, without reading the ledger."""
        self._catch_up(run_id)
        return bool(self._mail.any_of(run_id))

    def stale(self, run_id: str) -> bool:
        """Whether the run's ledger has grown since it was read."""
        return bool(self._marks.get(run_id) != self._inner.mark(run_id))

    def refresh(self, run_id: str) -> Mail:
        """All mailboxes, that of the run as it is now."""
        self._catch_up(run_id)
        if self._mail.any_of(run_id) and self.stale(run_id):
            mark = self._inner.mark(run_id)
            self._mail.consume(run_id, _consumed(self._ledger.list(run_id)))
            self._marks[run_id] = mark
        return self._mail

    def deliver(self, letter: Letter) -> None:
        """Write a message down; the mailbox is fresh."""
        self._lines.append(letter.run_id, letter.text)
        self._catch_up(letter.run_id)

    @contextmanager
    def written(self, commit: Commit) -> Iterator[None]:
        """While entered, the commit is written: what it consumes is known to be, afterwards."""
        run_id = commit.run_id
        known = run_id in self._marks and not self.stale(run_id)
        self._marks.pop(run_id, None)
        yield
        if known:
            self._mail.consume(run_id, commit.consumed)
            self._marks[run_id] = self._inner.mark(run_id)

    def _catch_up(self, run_id: str) -> None:
        # What is new here is unused as of the ledger's mark: its use would have moved that on.
        position = self._read.get(run_id, 0)
        lines, end = self._lines.after(run_id, position)
        for line in lines:
            self._mail.deliver(Mail.sealed(_message_in(run_id, line)))
        self._read[run_id] = end


def _message_in(run_id: str, line: bytes) -> Message:
    try:
        return Message(**decode(line))
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(
            f"A line in the mailbox of run '{run_id}' is no message: {error}",
            fix="mend the line in its file of messages, or move it away",
            run_id=run_id,
        ) from error


def _consumed(records: Sequence[Record]) -> list[str]:
    return [
        record["result"]["message_id"]
        for record in not_voided(records)
        if kind_of(record) == "resumed" and record["result"].get("message_id")
    ]
