"""A power cut leaves out sectors of a ledger's last write: what nobody was told of is set aside."""

import json
from pathlib import Path

import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.errors import StoreCorrupt
from abstractruntime.inspect.verify import verify_run
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import evidence_of
from abstractruntime.testing.witness import Witness
from tests.faults.ten_steps import OUTPUT, finish_all, host_on
from tests.storage.test_files_processes import kinds, opened

CHAINED = pytest.mark.parametrize("chained", [True, False], ids=["chained", "plain"])
GAPS = {
    "in the first line": (0, 40, 90),
    "in the last line": (1, 40, 90),
    "at the start of the last line": (1, 0, 70),
    "all of the first line": (0, 0, None),
    "the first line break": (0, -20, None),
    "all but the last line break": (1, 0, -1),
}
"""Which of two lines lacks bytes, and which bytes; None: its line break too."""


NOW = 4


class Scene:
    """A run as it was after each of its commits; the last one it shows, `NOW`, has two lines."""

    def __init__(self, folder: Path, *, chained: bool) -> None:
        self.folder, self.chained = folder, chained
        self.runs: dict[int, bytes] = {}
        self.ledgers: dict[int, bytes] = {}
        store = self.open()
        host = host_on(store, Witness())
        host.runtime.hooks.add(self._note)
        (self.run_id,) = finish_all(store, host)
        self.path, self.run = self._paths(self.run_id)
        self.put_back(NOW)

    def open(self) -> PairedStore:
        store = opened(self.folder)
        return store if self.chained else PairedStore(store.run_store, store.ledger_store)

    def put_back(self, ledger: int, run: int | None = None) -> None:
        """Ledger and run as they were at these revisions."""
        self.path.write_bytes(self.ledgers[ledger])
        self.run.write_bytes(self.runs[ledger if run is None else run])

    def lose(self, line: int, start: int, end: int | None, *, of: int = NOW) -> None:
        """Bytes of one of the lines of this commit never reached the medium."""
        before = len(self.ledgers[of - 1])
        content = self.path.read_bytes()
        size = len(self.ledgers[of])
        lines = content[before:size].splitlines(keepends=True)
        text = lines[line]
        place = range(len(text))[start:end]
        lines[line] = text[: place[0]] + bytes(len(place)) + text[place[-1] + 1 :]
        self.path.write_bytes(content[:before] + b"".join(lines) + content[size:])

    def refused(self) -> bool:
        """Whether the ledger is refused, and nothing was written."""
        before = self._contents()
        store = self.open()
        with pytest.raises(StoreCorrupt, match="ledger_"):
            assert store.load(self.run_id) is None or store.list_records(self.run_id)
        return before == self._contents()

    def goes_on(self) -> None:
        """The run is said to be torn once, and goes on to its end."""
        store = self.open()
        finish_all(store, host_on(store, Witness()))
        loaded = self.open().load(self.run_id)
        assert loaded is not None
        assert loaded.run.output == OUTPUT
        assert kinds(store, self.run_id).count("torn") == 1
        assert verify_run(store, self.run_id).ok

    def _note(self, commit: Commit) -> None:
        path, run = self._paths(commit.run_id)
        revision = commit.checkpoint.revision
        self.runs[revision] = run.read_bytes()
        self.ledgers[revision] = path.read_bytes() if path.exists() else b""

    def _paths(self, run_id: str) -> tuple[Path, Path]:
        return self.folder / f"ledger_{run_id}.jsonl", self.folder / f"run_{run_id}.json"

    def _contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}


@CHAINED
@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_a_line_nobody_was_told_of_that_lacks_a_sector_is_set_aside_and_the_ledger_says_so(
    tmp_path: Path, gap: tuple[int, int, int | None], chained: bool
) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.put_back(NOW, run=NOW - 1)
    scene.lose(*gap)
    damaged = scene.path.read_bytes()
    store = scene.open()
    assert store.load(scene.run_id) is not None

    torn = Path(f"{scene.path}.torn").read_bytes()
    kept = damaged.removesuffix(torn)
    assert b"\0" in torn
    assert (kept + torn, b"\0" in kept) == (damaged, False)
    after = scene.path.read_bytes()
    assert after.startswith(kept)
    said = json.loads(after.splitlines()[-1])["result"]
    assert said == {"kind": "torn", "file": f"{scene.path.name}.torn", "bytes": len(torn)}
    scene.goes_on()


@CHAINED
@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_a_damaged_line_that_the_run_shows_is_bit_rot_and_refused(
    tmp_path: Path, gap: tuple[int, int, int | None], chained: bool
) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.lose(*gap)
    assert scene.refused()


@CHAINED
@pytest.mark.parametrize("run", [NOW - 1, NOW, NOW + 1])
def test_a_damaged_line_that_a_later_commit_follows_is_refused(
    tmp_path: Path, run: int, chained: bool
) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.put_back(NOW + 1, run=run)
    scene.lose(*GAPS["in the last line"])
    assert scene.refused()
    scene.lose(*GAPS["in the first line"])
    assert scene.refused()


@CHAINED
def test_a_damaged_last_line_above_an_old_run_file_that_was_put_back_is_refused(
    tmp_path: Path, chained: bool
) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.put_back(NOW + 3, run=NOW)
    scene.lose(*GAPS["in the last line"], of=NOW + 3)
    assert scene.refused()


@CHAINED
def test_a_damaged_line_before_evidence_is_refused(tmp_path: Path, chained: bool) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.open().keep_evidence(evidence_of(scene.run_id, 1))
    scene.lose(*GAPS["in the last line"])
    assert scene.refused()


def test_a_damaged_line_of_a_run_whose_file_is_gone_is_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, chained=True)
    scene.lose(*GAPS["in the last line"])
    scene.run.unlink()
    assert scene.refused()


@CHAINED
def test_a_first_line_that_lacks_a_sector_is_set_aside(tmp_path: Path, chained: bool) -> None:
    scene = Scene(tmp_path, chained=chained)
    scene.put_back(2, run=1)
    scene.lose(0, 30, 90, of=2)
    damaged = scene.path.read_bytes()
    scene.goes_on()
    assert Path(f"{scene.path}.torn").read_bytes() == damaged
