"""Single bits that flip on the medium: found by verification or refused, never another value.

Flipped are bits of ledger lines and run files, of the texts and numbers in SQLite's rows, and of the
SQLite file wherever they fall.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner

from abstractruntime.cli.exits import Exit
from abstractruntime.cli.root import root
from abstractruntime.core.models import run_to_dict
from abstractruntime.errors import RuntimeFault
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.base import Capability, Store
from tests.faults.ten_steps import Place, finish_all, host_on

SEED = 20264
Look = tuple[Any, ...]
Flip = Callable[[], str]
"""Flips one bit on the medium; what it hit, in words."""


def finished(folder: Path, kind: str) -> tuple[Place, str, Look]:
    """A run that has ended, and what readers see of it."""
    place = Place(folder, kind)
    place.disk.mkdir()
    with place.open() as store:
        (run_id,) = finish_all(store, host_on(store, place.witness))
        return place, run_id, seen(store, run_id)


def seen(store: Store, run_id: str) -> Look:
    """All that readers get of a run: the run, its ledger, its history."""
    loaded = store.load(run_id)
    assert loaded is not None, "the run is not found"
    past: list[Any] = []
    if Capability.HISTORY in store.capabilities:
        assert loaded.run.checkpoint is not None
        revisions = range(1, loaded.run.checkpoint.revision + 1)
        past = [run_to_dict(store.load_at(run_id, each).run) for each in revisions]
    return run_to_dict(loaded.run), store.list_records(run_id), past


def verdict(place: Place, run_id: str, before: Look) -> str:
    """What comes of a flip: "found", "refused", "noticed", "harmless", or "silent" when wrong."""
    try:
        with place.open() as store:
            if not verify_run(store, run_id).ok:
                return "found"
            if seen(store, run_id) == before:
                return "harmless"
            loaded = store.load(run_id)
            assert loaded is not None
            # A run's file is the host's to edit: another value there counts as an edit of theirs.
            edited = getattr(store, "edited", None)
            return "noticed" if edited is not None and edited(run_id, loaded) else "silent"
    except RuntimeFault:
        return "refused"


def flip_all(place: Place, run_id: str, before: Look, flips: Iterator[Flip]) -> Counter[str]:
    """The verdicts of many flips, each on its own; the medium is as it was after each."""
    verdicts, silent = Counter[str](), []
    files = {path: path.read_bytes() for path in place.disk.iterdir()}
    for flip in flips:
        hit = flip()
        verdicts[found := verdict(place, run_id, before)] += 1
        if found == "silent":
            silent.append(hit)
        for path in place.disk.iterdir():
            if path not in files:
                path.unlink()
        for path, content in files.items():
            path.write_bytes(content)
    print(f"seed {SEED}, {place.kind}: {sum(verdicts.values())} bits flipped, {dict(verdicts)}")
    assert not silent, silent[:20]
    return verdicts


def flipped(path: Path, bits: list[int]) -> Iterator[Flip]:
    """One flip for each of these bits of a file."""

    def flip(bit: int) -> str:
        content = bytearray(path.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        return f"bit {bit % 8} of byte {bit // 8} of {path.name}"

    return (lambda bit=bit: flip(bit) for bit in bits)


def some_bits(path: Path, many: int) -> list[int]:
    dice = random.Random(SEED)
    return dice.sample(range(8 * path.stat().st_size), many)


def named(place: Place, pattern: str) -> Path:
    (path,) = place.disk.glob(pattern)
    return path


def test_a_flipped_bit_in_a_ledger_line_is_found_or_refused(quick_path: Path) -> None:
    flip_ledger(quick_path, 150)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_ledger_lines_are_found_or_refused(quick_path: Path) -> None:
    flip_ledger(quick_path, 5_000)


def flip_ledger(folder: Path, many: int) -> None:
    place, run_id, before = finished(folder, "files")
    ledger = named(place, "ledger_*.jsonl")
    flips = flipped(ledger, some_bits(ledger, many))
    verdicts = flip_all(place, run_id, before, flips)
    assert verdicts["found"] + verdicts["refused"] >= many * 9 // 10


def test_a_flipped_bit_in_a_runs_file_is_refused_or_noticed_as_an_edit(quick_path: Path) -> None:
    flip_run_file(quick_path, 150)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_a_runs_file_are_refused_or_noticed(quick_path: Path) -> None:
    flip_run_file(quick_path, 5_000)


def flip_run_file(folder: Path, many: int) -> None:
    place, run_id, before = finished(folder, "files")
    path = named(place, "run_*.json")
    flip_all(place, run_id, before, flipped(path, some_bits(path, many)))


# ---- SQLite


def test_a_flipped_bit_in_a_row_is_found_or_refused(quick_path: Path) -> None:
    flip_rows(quick_path, 150)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_rows_are_found_or_refused(quick_path: Path) -> None:
    flip_rows(quick_path, 3_000)


def flip_rows(folder: Path, many: int) -> None:
    place, run_id, before = finished(folder, "sqlite")
    cells = list(texts_in(place.store / "runs.db"))
    dice = random.Random(SEED)
    flips = (flip_in_cell(place, dice, *dice.choice(cells)) for _ in range(many))
    flip_all(place, run_id, before, flips)


def texts_in(database: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """Each text of the rows of a run: table, column, rowid, its bytes."""
    connection = apsw.Connection(str(database))
    try:
        for table in ("runs", "log"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for name in names:
                rows = connection.execute(
                    f"SELECT rowid, CAST({name} AS BLOB) FROM {table} WHERE typeof({name})='text'"
                )
                yield from ((table, name, rowid, text) for rowid, text in rows if text)
    finally:
        connection.close()


def flip_in_cell(
    place: Place, dice: random.Random, table: str, column: str, rowid: int, text: bytes
) -> Flip:
    bit = dice.randrange(8 * len(text))

    def flip() -> str:
        content = bytearray(text)
        content[bit // 8] ^= 1 << bit % 8
        connection = apsw.Connection(str(place.store / "runs.db"))
        try:
            connection.execute(
                f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE rowid = ?",
                (bytes(content), rowid),
            )
        finally:
            connection.close()
        return f"{table}.{column} of row {rowid}, byte {bit // 8}: {bytes(content)[:60]!r}"

    return flip


def test_a_flipped_bit_anywhere_in_a_sqlite_file_is_never_another_value(quick_path: Path) -> None:
    flip_database(quick_path, 150)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_a_sqlite_file_are_never_another_value(
    quick_path: Path,
) -> None:
    flip_database(quick_path, 5_000)


def flip_database(folder: Path, many: int) -> None:
    place, run_id, before = finished(folder, "sqlite")
    database = place.store / "runs.db"
    flip_all(place, run_id, before, flipped(database, some_bits(database, many)))


# ---- the command


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_the_command_that_verifies_tells_of_a_changed_letter(kind: str, quick_path: Path) -> None:
    place, run_id, _ = finished(quick_path, kind)
    url = f"files:///{place.store}" if kind == "files" else f"sqlite:///{place.store}/runs.db"
    path = named(place, "ledger_*.jsonl" if kind == "files" else "runs.db")
    words = ["verify", run_id, "--store", url]
    assert CliRunner().invoke(root, words).exit_code == Exit.OK
    content = path.read_bytes()
    at = content.index("Ödegård".encode())
    path.write_bytes(content[:at] + "Üdegård".encode() + content[at + len("Üdegård".encode()) :])
    told = CliRunner().invoke(root, words)
    print(told.output)
    assert told.exit_code == Exit.INTEGRITY
