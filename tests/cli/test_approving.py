"""approve, reject and answer show the exact effect before somebody's word on it is taken."""

from __future__ import annotations

import getpass

import pytest

from tests.cli.conftest import Shell


def test_the_effect_and_its_digest_are_shown_and_it_is_performed(shell: Shell) -> None:
    run = shell.begin("buy")
    digest = shell.json("show", run)["waiting"]["details"]["approval"]["digest"]
    out = shell.ok("approve", run, "--actor", "ann")
    assert '"sum": 7' in out
    assert f"digest {digest}" in out
    assert out.index("digest") < out.index("completed")
    assert shell.json("show", run)["output"] == {"paid": 7}


def test_an_answer_works_as_well(shell: Shell) -> None:
    run = shell.begin("buy")
    out = shell.ok("answer", run, "approve", "--actor", "bob")
    assert "digest " in out
    assert shell.json("show", run)["output"] == {"paid": 7}
    run = shell.begin("buy")
    result = shell.run("answer", run, "reject", "--actor", "bob")
    assert result.exit_code == 3


def test_two_have_to_approve_and_each_sees_how_it_stands(shell: Shell) -> None:
    run = shell.begin("buy", "--vars", '{"quorum": 2}')
    after = shell.json("approve", run, "--actor", "ann", code=6)
    assert [vote["by"] for vote in after["waiting"]["details"]["approval"]["votes"]] == ["ann"]
    assert shell.run("approve", run, "--actor", "ann").exit_code == 1
    assert shell.json("approve", run, "--actor", "bob")["output"] == {"paid": 7}


def test_an_effect_may_be_edited(shell: Shell) -> None:
    run = shell.begin("buy")
    edited = '{"function": "pay", "arguments": {"sum": 5}}'
    assert shell.json("approve", run, "--payload", edited, "--actor", "ann")["output"] == {
        "paid": 5
    }


def test_a_rejection_says_why(shell: Shell) -> None:
    run = shell.begin("buy")
    result = shell.run("reject", run, "--reason", "too much", "--actor", "ann")
    assert result.exit_code == 3
    assert "was rejected by ann: too much" in result.stdout


def test_who_answers_is_who_is_logged_in_unless_said(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shell.begin("buy")
    monkeypatch.setattr(getpass, "getuser", lambda: "eve")
    result = shell.run("approve", run)
    assert result.exit_code == 1
    assert "'eve' may not answer" in result.stderr
    monkeypatch.setenv("ABSTRACTRUNTIME_ACTOR", "ann")
    assert shell.json("approve", run)["output"] == {"paid": 7}


def test_a_run_that_asks_for_nothing_is_not_approved(shell: Shell) -> None:
    for verb in ("approve", "reject"):
        result = shell.run(verb, shell.begin("greet"), "--actor", "ann")
        assert result.exit_code == 1
        assert "asks for no approval" in result.stderr


def test_a_run_that_asks_is_in_good_order(shell: Shell) -> None:
    run = shell.begin("buy", "--vars", '{"quorum": 2}')
    assert "no run contradicts itself" in shell.ok("doctor")
    shell.run("approve", run, "--actor", "ann")
    assert "no run contradicts itself" in shell.ok("doctor")
    shell.ok("approve", run, "--actor", "bob")
    assert "no run contradicts itself" in shell.ok("doctor")
    assert "verified" in shell.ok("verify", run)
    assert "granted" in shell.ok("ledger", run)
