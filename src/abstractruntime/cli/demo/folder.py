"""The demo's folder: what it holds, whether it may be used, and which run it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from abstractruntime.cli.demo.child import DATABASE, store_url
from abstractruntime.cli.demo.workflow import INVOICES, PAYMENTS, REPORT, workflow
from abstractruntime.core.machine.table import ENDED
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import Refused, RunBusy, StoreUnavailable
from abstractruntime.inspect.standing import standing_of
from abstractruntime.storage.durable_files import write_whole
from abstractruntime.storage.open import open_store

MARKER, PICTURE = "demo.json", "path.svg"
KIND = "abstractruntime invoice demo"
# The only files that a fresh demo takes away from a folder.
OWN = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", INVOICES, PAYMENTS, REPORT, PICTURE, MARKER)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder ready for the demo; `goes_on`: its run was begun by an earlier one."""

    folder: Path
    run_id: str
    goes_on: bool

    @property
    def url(self) -> str:
        """The store of the demo."""
        return store_url(self.folder)

    def file(self, name: str) -> Path:
        """A file of the demo."""
        return self.folder / name


def make_ready(folder: Path) -> Place:
    """The folder with the invoices and a run, either begun here or left by an interrupted demo.

    Raises Refused for a folder that holds something else, RunBusy when a demo is running there.
    """
    folder = folder.absolute()
    try:
        run_id = _left_run(folder)
        if run_id is not None:
            return Place(folder, run_id, goes_on=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in OWN:
            (folder / name).unlink(missing_ok=True)
        write_marker(folder, None)
        source = files("abstractruntime.cli.demo").joinpath(INVOICES)
        write_whole(folder / INVOICES, source.read_bytes())
    except OSError as error:
        raise StoreUnavailable(
            f"{folder} cannot be used: {error.strerror or error}",
            path=str(folder),
            fix="name another: --folder DIR",
        ) from error
    with open_store(store_url(folder)) as store:
        run_id = Runtime(store=store).start(workflow=workflow.spec, vars={"folder": str(folder)})
    write_marker(folder, run_id)
    return Place(folder, run_id, goes_on=False)


def write_marker(folder: Path, run_id: str | None) -> None:
    """Say that the folder is the demo's, and which run it is about."""
    text = json.dumps({"kind": KIND, "run_id": run_id}, indent=2)
    write_whole(folder / MARKER, f"{text}\n".encode())


def _left_run(folder: Path) -> str | None:
    """The run an interrupted demo left in the folder. Raises Refused when it is not the demo's."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise _refusal(folder, "it is no folder")
    held = [path.name for path in folder.iterdir()]
    if not held:
        return None
    if MARKER not in held:
        raise _refusal(folder, f"it holds {len(held)} files that are none of the demo's")
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        marker = None
    if not isinstance(marker, dict) or marker.get("kind") != KIND:
        raise _refusal(folder, f"its {MARKER} is not the demo's")
    run_id = marker.get("run_id")
    if not isinstance(run_id, str) or DATABASE not in held:
        return None
    with open_store(store_url(folder)) as store:
        loaded = store.load(run_id)
        if loaded is None or loaded.run.status in ENDED:
            return None
        if standing_of(loaded.run) == "driven":
            raise RunBusy(
                f"The demo in {folder} is running", run_id=run_id, fix="wait for it, or stop it"
            )
    return run_id


def _refusal(folder: Path, reason: str) -> Refused:
    return Refused(
        f"{folder} is not the demo's folder: {reason}; nothing was touched",
        path=str(folder),
        fix="name another: --folder DIR",
    )
