"""The ground of the store contract: how tests get their store, and which of them a store need pass.

A test that asks for a capability the store does not promise is skipped with a reason that names
it, so that what was not proved stands in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunState
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, as_seen

Test = TypeVar("Test", bound=Callable[..., None])

API_FIELDS = (
    "run_id",
    "step_id",
    "node_id",
    "status",
    "effect",
    "result",
    "error",
    "started_at",
    "ended_at",
    "actor_id",
    "session_id",
    "attempt",
    "idempotency_key",
)
"""What every ledger keeps of a record; the fields of chains are the sealer's."""


def needs(*capabilities: Capability) -> Callable[[Test], Test]:
    """The test is for stores that promise these."""

    def mark(test: Test) -> Test:
        test.__dict__["needs"] = capabilities
        return test

    return mark


class ContractBase:
    """Subclasses give `make_store`, and `reopen` where what is stored outlives the store."""

    def make_store(self, tmp_path: Path) -> Store:
        """A new, empty store."""
        raise NotImplementedError

    def reopen(self, store: Store) -> Store:
        """The same store, opened again after it was closed."""
        pytest.skip(f"{store.url} gives no `reopen`")

    @pytest.fixture
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        store = self.make_store(tmp_path)
        try:
            for capability in getattr(request.function, "needs", ()):
                require(store, capability)
            yield store
        finally:
            store.close()


def require(store: Store, capability: Capability) -> None:
    """Go on only with a store that promises `capability`."""
    if capability not in store.capabilities:
        pytest.skip(f"{store.url} does not promise '{capability.value}'")


# ---- what the tests say


def loaded(store: Store, run_id: str) -> RunState:
    """The run, which is there."""
    found = store.load(run_id)
    assert found is not None, f"run {run_id} is not there"
    return found.run


def assert_stands(store: Store, script: Script) -> None:
    """The store has the run just as the script tells it, and its records."""
    assert as_seen(loaded(store, script.run_id)) == as_seen(script.state)
    assert_records(store.list_records(script.run_id), script.records)


def assert_records(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same records, in order, whole, and with their revisions."""
    assert [_kept(record) for record in found] == [_kept(record) for record in expected]


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in (*API_FIELDS, "revision")}


def assert_refused(store: Store, commit: Commit, *, found: int) -> None:
    """The commit is refused, naming the revision it expected and the one that stands."""
    with pytest.raises(RevisionConflict) as caught:
        store.commit(commit)
    assert caught.value.where["expected"] == commit.expected
    assert caught.value.where["found"] == found


def created(store: Store, run_id: str, **given: Any) -> Script:
    """A run in the store, at revision 1."""
    fields = {
        name: given.pop(name) for name in ("status", "waiting", "kernel", "sent") if name in given
    }
    script = Script(run_id, **given)
    store.commit(script.commit(**fields))
    return script
