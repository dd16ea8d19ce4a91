"""The store contract, mailboxes: what anybody sends waits for its run, in order, each used once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from abstractruntime.core.commit import Commit, Message
from abstractruntime.core.models import RunStatus, WaitReason
from abstractruntime.errors import NotJson, RevisionConflict, RunEnded
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, time_at, waiting_for
from abstractruntime.testing.contract_base import ContractBase, assert_stands, created, needs
from abstractruntime.testing.contract_runs import HARD_VALUES


class MailboxContract(ContractBase):
    """What anybody sends by `Store.send`."""

    @needs(Capability.MAILBOX)
    def test_what_was_sent_is_listed_in_its_order_and_under_its_name(self, store: Store) -> None:
        created(store, "r")
        sent = [mail(n, name) for n, name in enumerate("abacab")]
        assert [store.send(message) for message in sent] == [True] * 6
        assert store.list_messages("r") == sent
        assert store.list_messages("r", name="a") == [sent[0], sent[2], sent[4]]

    @needs(Capability.MAILBOX)
    def test_the_next_messages_are_the_oldest_of_some_names(self, store: Store) -> None:
        created(store, "r")
        sent = [mail(n, name) for n, name in enumerate("abacab")]
        for message in sent:
            store.send(message)
        ask = partial(store.next_messages, "r", now_iso=time_at(0))
        assert ask(["b"], limit=1) == [sent[1]]
        assert ask(["c", "a"], limit=3) == [sent[0], sent[2], sent[3]]
        assert ask(["d"], limit=3) == []
        assert ask(["a"], limit=0) == []
        assert ask(["a", "a"], limit=9) == [sent[0], sent[2], sent[4]]

    @needs(Capability.MAILBOX)
    def test_a_message_may_come_before_its_run(self, store: Store) -> None:
        first, second = mail(1), mail(2)
        store.send(first)
        assert store.load("r") is None
        script = created(store, "r")
        store.send(second)
        assert store.list_messages("r") == [first, second]
        assert_stands(store, script)

    @needs(Capability.MAILBOX)
    def test_what_was_sent_changes_nothing_of_the_run(self, store: Store) -> None:
        script = created(store, "r")
        store.send(mail(1))
        assert_stands(store, script)
        store.commit(script.begin())
        store.send(mail(2))
        store.commit(script.finish())
        assert_stands(store, script)

    @needs(Capability.MAILBOX)
    def test_what_a_commit_consumed_is_gone_and_its_key_is_still_known(self, store: Store) -> None:
        script = created(store, "r")
        first, second = mail(1, dedupe_key="d"), mail(2)
        assert store.send(first)
        assert store.send(second)
        assert not store.send(mail(3, dedupe_key="d"))
        store.commit(used(script, first))
        assert store.list_messages("r") == [second]
        assert store.next_messages("r", ["k"], now_iso=time_at(0), limit=9) == [second]
        assert not store.send(mail(4, dedupe_key="d"))
        assert store.send(mail(5, dedupe_key="e"))

    @needs(Capability.MAILBOX)
    def test_a_commit_that_is_refused_consumes_nothing(self, store: Store) -> None:
        script = created(store, "r")
        message = mail(1)
        store.send(message)
        late = script.fork()
        store.commit(script.commit(vars={"n": 1}))
        with pytest.raises(RevisionConflict):
            store.commit(used(late, message))
        assert store.list_messages("r") == [message]

    @needs(Capability.MAILBOX)
    def test_an_ended_run_refuses_but_knows_what_it_was_sent(self, store: Store) -> None:
        script = created(store, "r")
        assert store.send(mail(1, dedupe_key="d"))
        store.commit(script.finish_with({}))
        with pytest.raises(RunEnded) as caught:
            store.send(mail(2))
        assert caught.value.where == {"run_id": "r", "status": "completed"}
        assert not store.send(mail(3, dedupe_key="d"))
        assert store.list_messages("r") == [mail(1, dedupe_key="d")]

    @needs(Capability.MAILBOX)
    def test_what_has_expired_is_listed_but_not_next(self, store: Store) -> None:
        created(store, "r", status=RunStatus.WAITING, waiting=waiting_for("k"))
        brief, lasting = mail(1, expires_at=time_at(5)), mail(2)
        store.send(brief)
        ask = partial(store.next_messages, "r", ["k"], limit=9)
        assert ask(now_iso=time_at(4)) == [brief]
        assert ask(now_iso=time_at(5)) == []
        if Capability.QUERYABLE in store.capabilities:
            assert store.list_answered(now_iso=time_at(4)) == ["r"]
            assert store.list_answered(now_iso=time_at(5)) == []
        store.send(lasting)
        assert ask(now_iso=time_at(5)) == [lasting]
        assert store.list_messages("r") == [brief, lasting]

    @needs(Capability.MAILBOX)
    def test_many_are_sent_at_once_and_those_to_ended_runs_left_out(self, store: Store) -> None:
        created(store, "r")
        ended = created(store, "ended")
        store.commit(ended.finish_with({}))
        wanted = [mail(1), mail(2, dedupe_key="d"), mail(3, dedupe_key="d"), mail(4, to="ended")]
        assert store.send_all(wanted) == 2
        assert store.list_messages("r") == wanted[:2]

    @needs(Capability.MAILBOX)
    def test_a_payload_that_was_sent_comes_back_exactly(self, store: Store) -> None:
        created(store, "r")
        payloads: list[Any] = [None, 0, False, "", [], {}, "é\x00\u2028", 10**40, HARD_VALUES]
        for n, payload in enumerate(payloads):
            store.send(replace(mail(n), payload=payload))
        assert [message.payload for message in store.list_messages("r")] == payloads

    @needs(Capability.MAILBOX)
    def test_a_payload_that_is_no_json_is_refused(self, store: Store) -> None:
        with pytest.raises(NotJson):
            store.send(replace(mail(1), payload={1}))
        assert store.list_messages("r") == []

    @needs(Capability.MAILBOX, Capability.QUERYABLE)
    def test_only_event_waits_are_answered_by_what_is_sent(self, store: Store) -> None:
        waits = {reason: waiting_for("k", reason=reason) for reason in WaitReason}
        waits[WaitReason.UNTIL] = replace(waits[WaitReason.UNTIL], until=time_at(9))
        for reason, wait in waits.items():
            created(store, reason.value, status=RunStatus.WAITING, waiting=wait)
            store.send(mail(reason.value, to=reason.value))
        answered = set(store.list_answered())
        assert answered & {"event", "user", "job", "until"} == {"event"}
        assert store.list_awaiting("k") == ["event"]
        assert store.list_awaiting("other") == []

    @needs(Capability.MAILBOX, Capability.QUERYABLE)
    def test_a_wait_for_several_names_is_answered_by_each(self, store: Store) -> None:
        wait = waiting_for("a", details={"wait_keys": ["a", "b"]})
        script = created(store, "r", status=RunStatus.WAITING, waiting=wait)
        assert [store.list_awaiting(name) for name in "abc"] == [["r"], ["r"], []]
        message = mail(1, "b")
        store.send(message)
        assert store.list_answered() == ["r"]
        store.commit(used(script, message, status=RunStatus.RUNNING, waiting=None))
        assert store.list_answered() == []
        assert store.list_awaiting("b") == []

    @needs(Capability.MAILBOX, Capability.QUERYABLE)
    def test_an_early_message_answers_the_wait_that_comes(self, store: Store) -> None:
        script = created(store, "r")
        store.send(mail(1))
        assert store.list_answered() == []
        store.commit(script.commit(status=RunStatus.WAITING, waiting=waiting_for("k")))
        assert store.list_answered() == ["r"]

    @needs(Capability.MAILBOX, Capability.DURABLE)
    def test_mailboxes_are_as_they_were_when_the_store_is_opened_again(self, store: Store) -> None:
        script = created(store, "r")
        sent = [mail(n, dedupe_key=f"d{n}") for n in range(4)]
        for message in sent:
            store.send(message)
        store.commit(used(script, sent[1]))
        store.close()
        with self.reopen(store) as again:
            assert again.list_messages("r") == [sent[0], *sent[2:]]
            assert not again.send(mail(9, dedupe_key="d1"))

    @needs(Capability.MAILBOX)
    def test_senders_in_threads_lose_nothing_and_keep_their_own_order(self, store: Store) -> None:
        created(store, "r")

        def send(thread: int) -> None:
            for n in range(20):
                store.send(mail(f"{thread}:{n:02}", f"t{thread}"))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(send, range(4)))
        for thread in range(4):
            found = [message.message_id for message in store.list_messages("r", name=f"t{thread}")]
            assert found == [f"{thread}:{n:02}" for n in range(20)]

    @needs(Capability.MAILBOX)
    def test_threads_that_send_one_key_send_one_message(self, store: Store) -> None:
        created(store, "r")
        with ThreadPoolExecutor(4) as threads:
            sent = list(threads.map(lambda n: store.send(mail(n, dedupe_key="d")), range(12)))
        assert sum(sent) == 1
        assert len(store.list_messages("r")) == 1


def mail(
    number: object,
    name: str = "k",
    *,
    to: str = "r",
    dedupe_key: str | None = None,
    expires_at: str | None = None,
) -> Message:
    """A message with this number."""
    return Message(
        str(number), to, name, {"n": str(number)}, time_at(0), "me", dedupe_key, expires_at
    )


def used(script: Script, message: Message, **fields: Any) -> Commit:
    """The commit of a move that the message caused."""
    note = script.note("resumed", cause="message", message_id=message.message_id)
    return script.commit(records=[note], consumed=[message.message_id], **fields)
