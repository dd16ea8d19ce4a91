"""why, pause, unpause, resolve, reopen, and answers to one of several open waits."""

from __future__ import annotations

import shlex

import pytest

from tests.cli.conftest import FLOWS, Shell


def test_why_says_it_in_one_paragraph_with_the_line_to_type_next(shell: Shell) -> None:
    run = shell.begin("greet")
    said = shell.ok("why", run)
    assert "waits for a person" in said
    assert "“Who are you?”" in said
    assert f"next: abstractruntime answer {run[:8]} 'your answer'" in said
    document = shell.json("why", run)
    assert document["waits"][0]["prompt"] == "Who are you?"
    assert document["said"] in said.replace("\n", " ")


def test_why_names_a_message_that_was_sent_under_another_name(shell: Shell) -> None:
    run = shell.begin("deploy")
    shell.run("answer", run, "yes")
    shell.ok("send", run, "ci-done", "--payload", '{"build": 7}')
    said = shell.ok("why", run)
    assert "is 'ci:done' meant?" in said
    line = next(line for line in said.splitlines() if line.startswith("next: "))
    _, *words = shlex.split(line.removeprefix("next: "))
    assert shell.json(*words)["output"]["ci"] == {"build": 7}


def test_why_needs_no_program(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell.begin("greet")
    monkeypatch.setenv("ABSTRACTRUNTIME_APP", "gone.py:wf")
    assert "waits for a person" in shell.ok("why", run)


def test_a_missing_handler_is_named_and_the_run_reopened(shell: Shell) -> None:
    run = shell.begin("doomed", code=3)
    assert "no handler for the effect 'fax'" in shell.ok("why", run)
    assert "reopened" in shell.ok("reopen", run, "--reason", "there is one now", "--actor", "ann")
    assert shell.json("show", run)["status"] == "running"
    refused = shell.json("reopen", run, code=1)["error"]
    assert refused["error"] == "NotReopenable"


def test_a_paused_run_is_left_alone_until_it_is_unpaused(shell: Shell) -> None:
    run = shell.begin("greet")
    assert "next: abstractruntime unpause " in shell.ok(
        "pause", run, "--reason", "audit", "--actor", "ann"
    )
    assert "paused" in shell.ok("list")
    shown = shell.ok("show", run)
    assert "by ann: audit" in shown
    assert "paused by ann" in shell.ok("why", run)
    assert shell.json("show", run)["paused"] is True
    assert shell.json("answer", run, "bob", code=1)["error"]["error"] == "RunPaused"
    shell.ok("unpause", run, "--actor", "ann")
    assert shell.json("answer", run, "bob")["output"] == {"said": "BOB"}
    assert shell.json("pause", run, code=1)["error"]["error"] == "RunEnded"


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("--completed", '{"receipt": 5}'), 0, "completed"),
        (("--retry",), 6, "waiting"),
        (("--fail",), 3, "failed"),
    ],
)
def test_an_unknown_outcome_is_shown_and_resolved(
    shell: Shell, words: tuple[str, ...], code: int, status: str
) -> None:
    run = shell.begin("doubtful")
    assert "unknown outcome" in shell.ok("list")
    assert "outcome unknown" in shell.ok("show", run)
    assert "nobody knows whether that was done" in shell.ok("why", run)
    refused = shell.json("answer", run, "x", code=1)["error"]
    assert "resolve" in refused["fix"]
    shell.ok("resolve", run, *words, "--reason", "the bank says so", "--actor", "ann")
    assert shell.json("continue", run, code=code)["status"] == status


def test_resolve_takes_one_word_and_only_when_it_is_needed(shell: Shell) -> None:
    run = shell.begin("doubtful")
    assert shell.run("resolve", run).exit_code == 2
    assert shell.run("resolve", run, "--retry", "--fail").exit_code == 2
    other = shell.begin("greet")
    assert shell.json("resolve", other, "--retry", code=1)["error"]["error"] == "NotWaiting"


def test_of_several_open_waits_one_is_named_by_key_or_number(shell: Shell) -> None:
    run = shell.begin("crowd")
    assert "3 of 3 branches" in shell.ok("list")
    several = shell.run("answer", run, "x")
    assert several.exit_code == 2
    for number in range(3):
        assert f"branch {number} waits for a person: {number}?" in several.stderr
    wrong = shell.run("answer", run, "x", "--to", "q7")
    assert wrong.exit_code == 2
    assert "no open wait is 'q7'" in wrong.stderr
    assert shell.run("answer", run, "a", "--to", "q1").exit_code == 6
    assert shell.run("answer", run, "b", "--to", "2").exit_code == 6
    last = shell.json("answer", run, "c")
    assert last["output"] == {"said": ["c", "a", "b"]}


def test_the_lines_shown_for_branches_work_as_they_stand(shell: Shell) -> None:
    run = shell.begin("crowd")
    _, *words = shlex.split(shell.json("why", run)["next"][0])
    assert words[-2:] == ["--to", "0"]
    assert shell.run(*words).exit_code == 6
    assert shell.json("show", run)["branches"] == 2


def test_many_open_branches_are_shown_up_to_ten(shell: Shell) -> None:
    run = shell.begin("crowd", "--vars", '{"many": true}')
    shown = shell.ok("show", run)
    assert "branch 9 waits for a person: 9?" in shown
    assert "branch 10 " not in shown
    assert "and 2 more branches" in shown
    assert "12 of 12 branches" in shell.ok("list")


def test_a_wait_that_is_alone_may_be_named_too(shell: Shell) -> None:
    run = shell.begin("greet")
    assert shell.json("answer", run, "x", "--to", "other", code=1)["error"]["error"] == (
        "WaitKeyMismatch"
    )
    key = shell.json("show", run)["waiting"]["wait_key"]
    assert shell.json("answer", run, "ann", "--to", key)["status"] == "completed"


def test_a_run_fails_by_its_deadline(shell: Shell) -> None:
    late = shell.json("run", "--deadline", "2020-01-01T00:00:00Z", f"{FLOWS}:greet", code=3)
    assert late["error"].startswith("The run's deadline passed")
    wrong = shell.json("run", "--deadline", "soon", f"{FLOWS}:greet", code=1)
    assert wrong["error"]["error"] == "InvalidTime"
    due = shell.begin("greet", "--deadline", "2999-01-01T00:00:00Z")
    assert "Its deadline is 2999-01-01 00:00 UTC, in " in shell.ok("why", due)
