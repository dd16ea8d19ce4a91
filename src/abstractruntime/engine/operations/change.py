"""What the verbs share: load a run, draft one move, commit it, and again when it missed."""

from __future__ import annotations

from collections.abc import Callable

from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.engine.load import load_draft
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import RevisionConflict


def change(
    settings: Settings,
    run_id: str,
    edit: Callable[[Draft], bool] | Callable[[Draft], Flow[bool]],
    *,
    again: bool = True,
) -> Flow[Draft]:
    """Load, `edit` the draft, commit; the draft as committed. `edit` returning False: no change.

    A commit that missed is made again on the fresh state, unless not `again`: RevisionConflict.
    """
    while True:
        draft = yield from load_draft(settings, run_id)
        said = edit(draft)
        wanted = said if isinstance(said, bool) else (yield from said)
        if not wanted:
            return draft
        commit = assemble(draft, settings.sealer, now=settings.now())
        try:
            yield commit
        except RevisionConflict:
            if again:
                continue
            raise
        settings.hooks.committed(commit)
        return draft
