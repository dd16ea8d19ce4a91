"""send, emit and messages: through the mailbox, with or without the program."""

from __future__ import annotations

import pytest

from abstractruntime import open_store
from tests.cli.conftest import Shell


def test_an_early_message_is_read_when_the_run_waits_for_it(shell: Shell) -> None:
    run = shell.begin("deploy")
    assert "read when it waits for ci:done" in shell.ok("send", run, "ci:done", "--payload", "7")
    assert shell.json("answer", run, "yes")["output"] == {"ok": "yes", "ci": 7}


def test_a_message_to_a_run_that_is_not_there_needs_to_be_meant(shell: Shell) -> None:
    shell.begin("adder", code=0)
    assert shell.json("send", "later", "k", code=1)["error"]["error"] == "UnknownRun"
    sent = shell.json("send", "later", "k", "--early", "--payload", '"hello"')
    assert sent["run_id"] == "later"
    assert "is started" in shell.ok("send", "later", "k", "--early")
    with open_store("sqlite:///abstractruntime.db") as store:
        assert [message.payload for message in store.list_messages("later")] == ["hello", {}]


def test_a_dedupe_key_is_sent_once(shell: Shell) -> None:
    run = shell.begin("deploy")
    first = shell.json("send", run, "k", "--dedupe-key", "d")
    assert shell.json("send", run, "k", "--dedupe-key", "d") == first
    assert len(shell.json("messages", run)["messages"]) == 1


def test_an_ended_run_refuses_and_names_what_it_left(shell: Shell) -> None:
    run = shell.begin("deploy")
    shell.ok("send", run, "never", "--ttl", "1000")
    assert "never" in shell.ok("messages", run)
    assert shell.ok("messages", run, "--dead").strip() == "no dead letters"
    shell.run("answer", run, "yes")
    shell.json("send", run, "ci:done")
    assert shell.json("send", run, "ci:done", code=1)["error"]["error"] == "RunEnded"
    (dead,) = shell.json("messages", run, "--dead")["messages"]
    assert (dead["name"], dead["reason"]) == (
        "never",
        "the run ended before it was read: completed",
    )
    assert "completed" in shell.ok("messages", run, "--dead")
    assert shell.ok("messages", run).strip() == "no unread messages"


def test_emit_reaches_those_that_wait_and_continue_moves_them(shell: Shell) -> None:
    runs = [shell.begin("deploy") for _ in range(2)]
    for run in runs:
        shell.run("answer", run, "yes")
    assert "next: abstractruntime continue" in shell.ok("emit", "ci:done", "--payload", "1")
    assert shell.json("emit", "nobody") == {"name": "nobody", "reached": 0}
    shell.run("continue")
    assert [shell.json("show", run)["status"] for run in runs] == ["completed"] * 2


def test_sending_needs_no_program(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell.begin("deploy")
    shell.run("answer", run, "yes")
    monkeypatch.delenv("ABSTRACTRUNTIME_APP")
    assert "next: abstractruntime continue" in shell.ok("send", run, "ci:done")
    assert shell.json("show", run)["status"] == "waiting"
