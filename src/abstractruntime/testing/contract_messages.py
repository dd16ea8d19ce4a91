"""The store contract, fourth concern: messages that ride in commits wait for their run, in order.

A pair of plain stores takes none of them, so all of it asks for an atomic store.
"""

from __future__ import annotations

from typing import Any

from abstractruntime.core.commit import Message
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, message_to, waiting_for
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_stands,
    created,
    loaded,
    needs,
)
from abstractruntime.testing.contract_runs import HARD_VALUES


class MessagesContract(ContractBase):
    """Mailboxes."""

    @needs(Capability.ATOMIC)
    def test_messages_are_listed_oldest_first(self, store: Store) -> None:
        sender = Sender(store)
        sent = [sender.send("k", {"n": n}) for n in range(12)]
        assert store.list_messages("r") == sent

    @needs(Capability.ATOMIC)
    def test_messages_of_one_commit_keep_their_order(self, store: Store) -> None:
        sender = Sender(store)
        sent = [message_to("r", "k", n, message_id=f"m{9 - n}") for n in range(5)]
        store.commit(sender.script.commit(sent=sent))
        assert store.list_messages("r") == sent

    @needs(Capability.ATOMIC)
    def test_messages_are_listed_by_name(self, store: Store) -> None:
        sender = Sender(store)
        sent = [sender.send(name, n) for n, name in enumerate("abacab")]
        assert store.list_messages("r", name="a") == [sent[0], sent[2], sent[4]]
        assert store.list_messages("r", name="c") == [sent[3]]
        assert store.list_messages("r", name="d") == []
        assert store.list_messages("sender") == []

    @needs(Capability.ATOMIC)
    def test_a_payload_of_any_kind_comes_back_exactly(self, store: Store) -> None:
        sender = Sender(store)
        payloads: list[Any] = [None, 0, False, "", [], {}, "é\x00", 10**40, HARD_VALUES]
        for payload in payloads:
            sender.send("k", payload)
        assert [message.payload for message in store.list_messages("r")] == payloads

    @needs(Capability.ATOMIC)
    def test_a_message_changes_nothing_of_its_run(self, store: Store) -> None:
        sender = Sender(store)
        sender.send("k")
        assert_stands(store, sender.target)
        store.commit(sender.target.begin())
        sender.send("k")
        store.commit(sender.target.finish())
        assert_stands(store, sender.target)

    @needs(Capability.ATOMIC)
    def test_a_consumed_message_is_gone(self, store: Store) -> None:
        sender = Sender(store)
        sent = [sender.send("k", n) for n in range(3)]
        store.commit(sender.target.commit(consumed=[sent[0].message_id]))
        assert store.list_messages("r") == sent[1:]
        rest = [message.message_id for message in sent[1:]]
        store.commit(sender.target.commit(consumed=[*rest, "never there"]))
        assert store.list_messages("r") == []
        assert_stands(store, sender.target)

    @needs(Capability.ATOMIC)
    def test_a_run_consumes_its_own_messages_only(self, store: Store) -> None:
        sender = Sender(store)
        sent = sender.send("k")
        store.commit(sender.script.commit(consumed=[sent.message_id]))
        assert store.list_messages("r") == [sent]

    @needs(Capability.ATOMIC)
    def test_a_message_with_a_known_dedupe_key_is_not_heard_again(self, store: Store) -> None:
        sender = Sender(store)
        first = sender.send("k", 1, dedupe_key="d")
        sender.send("k", 2, dedupe_key="d")
        assert store.list_messages("r") == [first]
        store.commit(sender.target.commit(consumed=[first.message_id]))
        sender.send("k", 3, dedupe_key="d")
        assert store.list_messages("r") == []
        other = sender.send("k", 4, dedupe_key="other")
        assert store.list_messages("r") == [other]

    @needs(Capability.ATOMIC)
    def test_dedupe_keys_of_two_runs_have_nothing_to_do_with_each_other(self, store: Store) -> None:
        sender = Sender(store)
        created(store, "other")
        one = sender.send("k", dedupe_key="d")
        two = message_to("other", "k", message_id="to-other", dedupe_key="d")
        store.commit(sender.script.commit(sent=[two]))
        assert store.list_messages("r") == [one]
        assert store.list_messages("other") == [two]

    @needs(Capability.ATOMIC)
    def test_a_message_that_is_sent_twice_is_one(self, store: Store) -> None:
        sender = Sender(store)
        message = message_to("r", "k", message_id="m")
        for _ in range(2):
            store.commit(sender.script.commit(sent=[message]))
        assert store.list_messages("r") == [message]

    @needs(Capability.ATOMIC)
    def test_a_run_may_send_to_itself_and_to_a_child_it_creates(self, store: Store) -> None:
        script = created(store, "r")
        to_self = message_to("r", "k", message_id="m1")
        to_child = message_to("child", "k", message_id="m2")
        creation = Script("child").commit()
        store.commit(script.commit(sent=[to_self, to_child], creates=[creation]))
        assert store.list_messages("r") == [to_self]
        assert store.list_messages("child") == [to_child]

    @needs(Capability.ATOMIC)
    def test_what_was_sent_and_what_is_listed_may_be_changed(self, store: Store) -> None:
        sender = Sender(store)
        given: dict[str, Any] = {"list": [1]}
        sender.send("k", given)
        given["list"].append(2)
        store.list_messages("r")[0].payload["list"].append(3)
        assert store.list_messages("r")[0].payload == {"list": [1]}

    @needs(Capability.ATOMIC)
    def test_an_end_that_nobody_hears_is_still_an_end(self, store: Store) -> None:
        child = created(store, "child", parent_run_id="gone")
        sent = message_to("gone", "subworkflow:child", message_id="m")
        store.commit(child.commit(status=RunStatus.COMPLETED, output={}, sent=[sent]))
        assert loaded(store, "child").status is RunStatus.COMPLETED

    # -- runs that have an answer

    @needs(Capability.ATOMIC, Capability.QUERYABLE)
    def test_answered_runs_have_a_message_for_their_open_wait(self, store: Store) -> None:
        sender = Sender(store)
        target = sender.target
        message = sender.send("k")
        assert store.list_answered() == []  # it does not wait
        store.commit(target.commit(status=RunStatus.WAITING, waiting=waiting_for("other")))
        assert store.list_answered() == []  # it waits for something else
        store.commit(target.commit(waiting=waiting_for("k")))
        assert store.list_answered() == ["r"]
        store.commit(
            target.commit(status=RunStatus.RUNNING, waiting=None, consumed=[message.message_id])
        )
        assert store.list_answered() == []
        store.commit(target.commit(status=RunStatus.WAITING, waiting=waiting_for("k")))
        assert store.list_answered() == []  # the message is used up
        sender.send("k")
        assert store.list_answered() == ["r"]

    @needs(Capability.ATOMIC, Capability.QUERYABLE)
    def test_answered_runs_are_listed_up_to_a_limit(self, store: Store) -> None:
        sender = Sender(store)
        wait = waiting_for("k")
        for n in range(5):
            created(store, f"w{n}", status=RunStatus.WAITING, waiting=wait)
            message = message_to(f"w{n}", "k", message_id=f"to-w{n}")
            store.commit(
                sender.script.commit(
                    sent=[message, message_to(f"w{n}", "k", message_id=f"again-w{n}")]
                )
            )
        assert sorted(store.list_answered()) == [f"w{n}" for n in range(5)]
        assert len(store.list_answered(limit=2)) == 2


class Sender:
    """A run that sends messages to another, "r"."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.target = created(store, "r")
        self.script = created(store, "sender")
        self._sent = 0

    def send(self, name: str, payload: Any = None, *, dedupe_key: str | None = None) -> Message:
        self._sent += 1
        # Ids that sort against the order of sending: the order is not theirs.
        message_id = f"m{100 - self._sent}"
        message = message_to("r", name, payload, message_id=message_id, dedupe_key=dedupe_key)
        self.store.commit(self.script.commit(sent=[message]))
        return message
