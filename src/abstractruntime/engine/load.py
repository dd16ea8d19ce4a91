"""From the store to a draft, noticing what a host changed directly in its own store.

Our own stores journal a save at once; a plain store's is found here, at the next load, and
journaled by the run's next commit.
"""

from __future__ import annotations

from abstractruntime.core.commit import Loaded
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import public_digest, take_host_edit
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import UnknownRun


def load_draft(settings: Settings, run_id: str) -> Flow[Draft]:
    """The run as last committed, with its host's edits. Raises UnknownRun."""
    loaded: Loaded | None = yield Read(lambda store: store.load(run_id))
    if loaded is None:
        raise UnknownRun(f"Unknown run_id: {run_id}", run_id=run_id)
    draft = Draft(loaded)
    if draft.digest is not None and draft.digest != public_digest(draft.run):
        records = yield Read(lambda store: store.list_records(run_id))
        take_host_edit(draft, records, now=settings.now(), line_id=settings.new_id())
    return draft
