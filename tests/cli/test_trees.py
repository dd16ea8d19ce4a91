"""cancel --tree, pause and unpause: what is done to a run and all below it."""

from __future__ import annotations

from tests.cli.conftest import Shell


def child_of(shell: Shell, run: str) -> str:
    details = shell.json("show", run)["waiting"]["details"]
    return str(details["sub_run_id"])


def test_cancelling_a_tree_ends_the_runs_below_too(shell: Shell) -> None:
    parent = shell.begin("parent")
    child = child_of(shell, parent)
    assert "cancelled 2 of the tree" in shell.ok("cancel", parent, "--tree", "--reason", "over")
    assert shell.json("show", child)["error"] == "over"
    assert "had ended already" in shell.ok("cancel", parent, "--tree")
    other = shell.begin("parent")
    below = child_of(shell, other)
    said = shell.json("cancel", other, "--tree")
    assert (said["status"], said["tree"]) == ("cancelled", [other, below])


def test_a_run_is_cancelled_alone_without_tree(shell: Shell) -> None:
    parent = shell.begin("parent")
    child = child_of(shell, parent)
    shell.ok("cancel", parent)
    assert shell.json("show", child)["status"] == "waiting"


def test_a_paused_run_is_held_until_it_is_unpaused(shell: Shell) -> None:
    run = shell.begin("greet")
    assert f"paused {run}" in shell.ok("pause", run, "--reason", "not now")
    assert shell.json("pause", run)["phase"] == "paused"
    refused = shell.run("answer", run, "ann")
    assert refused.exit_code == 1
    assert "is paused" in refused.stderr
    assert f"unpaused {run}" in shell.ok("unpause", run)
    assert shell.json("answer", run, "ann")["output"] == {"said": "ANN"}


def test_pausing_a_tree_holds_the_runs_below_too(shell: Shell) -> None:
    parent = shell.begin("parent")
    child = child_of(shell, parent)
    assert "and the runs below it" in shell.ok("pause", parent, "--tree")
    assert shell.run("answer", child, "ann").exit_code == 1
    shell.ok("unpause", parent, "--tree")
    assert shell.run("answer", child, "ann").exit_code == 0
