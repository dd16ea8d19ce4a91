"""Single bits that flip on the medium: found by verification or refused, never another value.

Flipped are bits of ledger lines and run files, of the texts in SQLite's rows, and of the SQLite
file wherever they fall.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
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
from abstractruntime.storage.relational import sums
from tests.faults.aftermath import Untyped
from tests.faults.ten_steps import Place, finish_all, host_on

SEED = 20264
PARTS = ("the run", "its ledger", "its past")
UNTYPED = (ValueError, LookupError, TypeError, AttributeError, AssertionError, apsw.Error)
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
            changed = [
                part
                for part, now, then in zip(PARTS, seen(store, run_id), before, strict=True)
                if now != then
            ]
            if not changed:
                return "harmless"
            loaded = store.load(run_id)
            assert loaded is not None
            # A run's file is the host's to edit: another value there counts as an edit of theirs.
            edited = getattr(store, "edited", None)
            return (
                "noticed"
                if edited is not None and edited(run_id, loaded)
                else f"silent in {changed[0]}"
            )
    except RuntimeFault:
        return "refused"
    except UNTYPED as error:
        return f"untyped {type(error).__name__}"


def flip_all(place: Place, run_id: str, before: Look, flips: Iterator[Flip]) -> Counter[str]:
    """The verdicts of many flips, each on its own; the medium is as it was after each.

    None may be silent.
    """
    verdicts, silent = Counter[str](), []
    files = {path: path.read_bytes() for path in place.disk.iterdir() if path.is_file()}
    for flip in flips:
        hit = flip()
        verdicts[found := verdict(place, run_id, before)] += 1
        if found.startswith(("silent", "untyped")):
            silent.append(f"{found}: {hit}")
        for path in place.disk.iterdir():
            if path not in files and path.is_file():
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


def test_a_flipped_bit_in_any_column_is_found_or_refused(quick_path: Path) -> None:
    flip_rows(quick_path, 2)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_all_columns_are_found_or_refused(quick_path: Path) -> None:
    flip_rows(quick_path, 80)


def flip_rows(folder: Path, each: int) -> None:
    """So many bits of each text, and each number one higher: not one is harmless."""
    place, run_id, before = finished(folder, "sqlite")
    database, dice = place.store / "runs.db", random.Random(SEED)
    cells = list(texts_in(database))
    assert {(table, column) for table, column, *_ in cells} >= BOUND
    flips = [flip_in_cell(place, dice, *cell) for cell in cells for _ in range(each)]
    flips += [one_more(place, *cell) for cell in numbers_in(database)]
    verdicts = flip_all(place, run_id, before, iter(flips))
    assert verdicts["found"] + verdicts["refused"] == len(flips)


def test_without_checksums_some_flips_pass(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_compare", lambda *_: None)
    with pytest.raises(AssertionError, match="silent in the run"):
        flip_rows(quick_path, 2)


def test_a_flipped_bit_anywhere_in_a_sqlite_file_is_never_another_ledger(quick_path: Path) -> None:
    flip_database(quick_path, 100)


@pytest.mark.faults
def test_thousands_of_flipped_bits_in_a_sqlite_file_are_never_another_ledger(
    quick_path: Path,
) -> None:
    flip_database(quick_path, 3_000)


def flip_database(folder: Path, many: int) -> None:
    place, run_id, before = finished(folder, "sqlite")
    database = place.store / "runs.db"
    flip_all(place, run_id, before, flipped(database, some_bits(database, many)))


BOUND = {
    *(("commits", column) for column in ("head", "delta", "vars", "records")),
    *(("runs", column) for column in ("run_id", "workflow_id", "created_at", "updated_at")),
    *(("runs", column) for column in ("changed_at", "status", "current_node")),
}
LETTER = [
    ("commits", "delta", b"deg"),
    ("runs", "workflow_id", b"ten"),
    ("commits", "head", b"updated_at"),
]


@pytest.mark.parametrize(("table", "column", "letters"), LETTER)
def test_another_letter_in_a_row_is_found_or_refused(
    table: str, column: str, letters: bytes, quick_path: Path
) -> None:
    found = change_letter(quick_path, table, column, letters, bytes([letters[0] ^ 1]))
    assert found in ("found", "refused")


@pytest.mark.parametrize("instead", [b"\x01", b"\xff"], ids=["no JSON", "no UTF-8"])
def test_a_row_that_cannot_be_decoded_is_refused_by_name(instead: bytes, quick_path: Path) -> None:
    found = change_letter(quick_path, "commits", "records", b"step_id", instead)
    if found.startswith("untyped"):
        raise Untyped(found)
    assert found in ("found", "refused")


def change_letter(folder: Path, table: str, column: str, letters: bytes, instead: bytes) -> str:
    """The verdict when in the last row that has them the first of some letters is another one."""
    place, run_id, before = finished(folder, "sqlite")
    cells = texts_in(place.store / "runs.db")
    *_, (rowid, text) = [
        (rowid, text)
        for in_table, name, rowid, text in cells
        if (in_table, name) == (table, column) and letters in text
    ]
    write_cell(place, table, column, rowid, text.replace(letters, instead + letters[1:], 1))
    return verdict(place, run_id, before)


def texts_in(database: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """Each text of the rows of a run: table, column, rowid, its bytes."""
    with closing(apsw.Connection(str(database))) as connection:
        for table in ("runs", "commits"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for name in names:
                rows = connection.execute(
                    f"SELECT rowid, CAST({name} AS BLOB) FROM {table} WHERE typeof({name})='text'"
                )
                yield from ((table, name, rowid, text) for rowid, text in rows if text)


def numbers_in(database: Path) -> Iterator[tuple[str, str, int, int]]:
    """Each number of the rows of a run, but for those that are keys."""
    with closing(apsw.Connection(str(database))) as connection:
        for table in ("runs", "commits"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for name in set(names) - {"number", "place"}:
                rows = connection.execute(
                    f"SELECT rowid, {name} FROM {table} WHERE typeof({name}) = 'integer'"
                )
                yield from ((table, name, rowid, number) for rowid, number in rows)


def one_more(place: Place, table: str, column: str, rowid: int, number: int) -> Flip:
    def flip() -> str:
        with closing(apsw.Connection(str(place.store / "runs.db"))) as connection:
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (number + 1, rowid)
            )
        return f"{table}.{column} of row {rowid}: {number} became {number + 1}"

    return flip


def write_cell(place: Place, table: str, column: str, rowid: int, text: bytes) -> None:
    with closing(apsw.Connection(str(place.store / "runs.db"))) as connection:
        connection.execute(
            f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE rowid = ?", (text, rowid)
        )


def flip_in_cell(
    place: Place, dice: random.Random, table: str, column: str, rowid: int, text: bytes
) -> Flip:
    bit = dice.randrange(8 * len(text))

    def flip() -> str:
        content = bytearray(text)
        content[bit // 8] ^= 1 << bit % 8
        write_cell(place, table, column, rowid, bytes(content))
        return f"{table}.{column} of row {rowid}, byte {bit // 8}: {bytes(content)[:60]!r}"

    return flip


# ---- the command


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_the_command_that_verifies_tells_of_a_changed_letter(kind: str, quick_path: Path) -> None:
    place, run_id, _ = finished(quick_path, kind)
    url = f"files:///{place.store}" if kind == "files" else f"sqlite:///{place.store}/runs.db"
    path = named(place, "ledger_*.jsonl" if kind == "files" else "runs.db")
    words = ["verify", run_id, "--store", url]
    assert CliRunner().invoke(root, words).exit_code == Exit.OK
    path.write_bytes(path.read_bytes().replace("Ödegård".encode(), "Üdegård".encode()))
    told = CliRunner().invoke(root, words)
    assert told.exit_code == Exit.INTEGRITY
