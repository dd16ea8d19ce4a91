"""The behaviour every `Store` proves: subclass `StoreContract` in a test module and run pytest.

    class TestMyStore(StoreContract):
        def make_store(self, tmp_path):
            return MyStore(tmp_path / "runs")

        def reopen(self, store):          # where what is stored outlives the store
            return MyStore(store.path)

Which tests apply follows from the capabilities the store promises; the others are skipped by name.
"""

from __future__ import annotations

from abstractruntime.testing.contract_counters import CountersContract
from abstractruntime.testing.contract_history import HistoryContract
from abstractruntime.testing.contract_listing import ListingContract
from abstractruntime.testing.contract_mailbox import MailboxContract
from abstractruntime.testing.contract_messages import MessagesContract
from abstractruntime.testing.contract_records import RecordsContract
from abstractruntime.testing.contract_runs import RunsContract
from abstractruntime.testing.contract_threads import ThreadsContract
from abstractruntime.testing.contract_views import ViewsContract


class StoreContract(
    RunsContract,
    RecordsContract,
    HistoryContract,
    MessagesContract,
    MailboxContract,
    CountersContract,
    ListingContract,
    ThreadsContract,
    ViewsContract,
):
    """Give `make_store(self, tmp_path) -> Store`, and `reopen(self, store)` for a durable one."""
