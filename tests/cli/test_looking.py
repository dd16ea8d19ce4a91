"""list, show, ledger, verify, doctor, graph and snapshot look at stores and say what is there."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import FLOWS, Shell


def test_an_empty_store_has_no_runs(shell: Shell) -> None:
    run = shell.begin("greet")
    assert "no runs that match" in shell.ok("list", "--status", "failed")
    assert shell.json("list", "--workflow", "deploy")["runs"] == []
    assert shell.json("list")["runs"][0]["run_id"] == run


def test_looking_at_a_store_that_is_not_there_is_an_error_and_makes_none(shell: Shell) -> None:
    error = shell.json("list", code=1)["error"]
    assert error["error"] == "StoreUnavailable"
    assert list(shell.folder.iterdir()) == []


def test_rows_show_where_runs_stand_newest_first(shell: Shell) -> None:
    failed, waiting = shell.begin("broken", code=3), shell.begin("greet")
    document = shell.json("list")
    assert [row["run_id"] for row in document["runs"]] == [waiting, failed]
    first = document["runs"][0]
    assert first["status"] == "waiting"
    assert first["node"] == "ask"
    assert first["waits_for"] == "person: Who are you?"
    assert first["age_s"] >= 0
    assert not document["more"]


def test_a_limited_list_says_that_there_are_more(shell: Shell) -> None:
    for _ in range(3):
        shell.begin("greet")
    document = shell.json("list", "--limit", "2")
    assert len(document["runs"]) == 2
    assert document["more"]
    assert "more with --limit" in shell.ok("list", "--limit", "2")
    assert "3 runs" in shell.ok("list", "--limit", "0")


@pytest.mark.parametrize("width", [48, 60, 80, 200])
def test_a_table_fits_the_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    run = shell.begin("broken", code=3)
    shell.begin("deploy")
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (("list",), ("ledger", run), ("snapshot", "list")):
        lines = shell.ok(*words).splitlines()
        assert max(map(len, lines)) <= width, words
        assert [line for line in lines if line != line.rstrip()] == []


def test_what_a_run_holds_cannot_move_the_cursor_or_be_read_as_markup(shell: Shell) -> None:
    evil = json.dumps({"x\x1b[2J": "\x1b]0;title\x07 [red]no[/red] \u202e \x9b31m a\nb"})
    run = shell.begin("broken", "--vars", evil, code=3)
    for words in (("list",), ("show", run), ("ledger", run), ("show", run, "--json")):
        out = shell.ok(*words)
        assert not set(out) & set("\x1b\x07\u202e\x9b"), words
    out = shell.ok("show", run)
    assert "[red]no[/red]" in out
    assert "[bold]luck[/bold]" in out
    assert "a⏎b" in out
    assert "\\x1b[2J" in out


def test_show_tells_all_there_is_to_know_as_json(shell: Shell) -> None:
    run = shell.begin("deploy", "--vars", '{"big": 123456789012345678901234567890}')
    document = shell.json("show", run)
    assert document["vars"]["big"] == 123456789012345678901234567890
    assert document["waiting"]["choices"] == ["yes", "no, wait"]
    assert document["wait_id"]
    assert document["visits"] == {"confirm": 1}
    assert document["next"]


def test_a_prefix_names_a_run_when_no_other_begins_so(shell: Shell) -> None:
    run = shell.begin("greet")
    assert shell.json("show", run[:8])["run_id"] == run
    assert shell.json("show", run[:1])["run_id"] == run


def test_a_prefix_of_several_runs_is_refused_with_the_candidates(shell: Shell) -> None:
    runs = [shell.begin("greet") for _ in range(17)]  # 16 first letters
    first = [run[0] for run in runs]
    letter = next(letter for letter in first if first.count(letter) > 1)
    error = shell.json("show", letter, code=1)["error"]
    assert error["error"] == "InvalidIdentifier"
    several = [run for run in runs if run.startswith(letter)]
    assert any(run in error["message"] for run in several)


@pytest.mark.parametrize("text", ["", "zz", "../../x", "%", "_", "a" * 300, "\udcff", "a\x00"])
def test_what_names_no_run_is_refused_by_name(shell: Shell, text: str) -> None:
    shell.begin("greet")
    assert shell.json("show", text, code=1)["error"]["code"] in ("AR1109", "AR1104")


def test_the_ledger_is_shown_as_steps_and_given_as_records(shell: Shell) -> None:
    run = shell.begin("greet")
    shell.ok("answer", run, "ann")
    out = shell.ok("ledger", run)
    assert 'louder(text="ann")' in out
    assert "by answer" in out
    records = shell.json("ledger", run)["records"]
    assert [record["status"] for record in records if record["node_id"] == "shout"] == [
        "started",
        "completed",
    ]
    assert all(record["record_hash"] for record in records)


def test_the_end_of_a_long_ledger_is_shown_unless_all_is_asked_for(shell: Shell) -> None:
    run = shell.begin("adder", "--vars", '{"times": 30}', code=0)
    out = shell.ok("ledger", run, "--last", "5")
    assert out.startswith("from revision ")
    assert len(out.splitlines()) < 15
    assert len(shell.ok("ledger", run, "--last", "0").splitlines()) > 30
    assert len(shell.json("ledger", run, "--last", "5")["records"]) == 61


def test_verified_ledgers_exit_with_0_and_changed_ones_with_5(shell: Shell) -> None:
    run, other = shell.begin("broken", code=3), shell.begin("adder", code=0)
    assert "2 runs" in shell.ok("verify")
    assert shell.json("verify", run)["ok"] is True
    _falsify(shell.folder / "abstractruntime.db")
    document = shell.json("verify", code=5)
    assert not document["ok"]
    verdicts = {verdict["run_id"]: verdict for verdict in document["verdicts"]}
    assert not verdicts[other]["ok"]
    assert verdicts[run]["ok"]
    assert "was changed" in verdicts[other]["faults"][0]
    result = shell.run("verify", other)
    assert result.exit_code == 5
    assert "broken" in result.stdout


def _falsify(path: Path) -> None:
    """Change a node's name in a ledger and take away all checksums, as somebody could."""
    with sqlite3.connect(path) as database:
        changed = database.execute(
            "UPDATE commits SET records = replace(records, 'sum_', 'sums') "
            "WHERE records LIKE '%sum_%'"
        ).rowcount
        database.execute("UPDATE commits SET state_sum = NULL, records_sum = NULL")
        database.execute("UPDATE runs SET sum = NULL")
    database.close()
    assert changed


def test_a_ledger_without_a_chain_is_not_called_verified(shell: Shell) -> None:
    store = ("--store", "sqlite:///plain.db?hash_chain=false")
    shell.json("run", f"{FLOWS}:adder", *store)
    result = shell.run("verify", *store)
    assert result.exit_code == 1
    assert "without a hash chain" in result.stdout


def test_the_doctor_says_what_the_store_promises_and_how_runs_stand(shell: Shell) -> None:
    shell.begin("greet")
    shell.begin("broken", code=3)
    document = shell.json("doctor")
    assert document["ok"]
    assert document["capabilities"]["exclusive"]
    assert document["facts"]["durability"] == "power"
    assert "SQLite 3." in document["facts"]["library"]
    assert document["statuses"]["failed"] == 1
    assert document["standings"]["waiting"] == 1
    assert document["waits"] == {"user": 1}
    assert document["facts"]["synchronous"] == 2
    assert document["verified"] == 2
    assert "no run contradicts itself, every ledger verified" in shell.ok("doctor")
    assert "ledgers not looked at" in shell.ok("doctor", "--quick")


def test_the_doctor_removes_what_may_go_only_when_told_twice(shell: Shell) -> None:
    shell.begin("greet")
    litter = shell.folder / "artifacts" / "lonely.bin"
    litter.parent.mkdir(exist_ok=True)
    litter.write_bytes(b"x")
    os.utime(litter, (1_000_000_000, 1_000_000_000))
    assert "1 file may go: see --repair" in shell.ok("doctor")
    assert "1 file may go: --repair --yes removes" in shell.ok("doctor", "--repair")
    assert litter.exists()
    assert "removed 1 file" in shell.ok("doctor", "--repair", "--yes")
    assert not litter.exists()
    assert shell.json("doctor")["leftovers"] == []
    assert shell.run("doctor", "--yes").exit_code == 2


def test_the_doctor_ends_with_the_code_of_broken_ledgers(shell: Shell) -> None:
    shell.begin("adder", code=0)
    _falsify(shell.folder / "abstractruntime.db")
    assert "ledger broken" in shell.run("doctor").stdout
    assert shell.json("doctor", code=5)["broken"]


def test_the_doctor_ends_with_the_same_code_for_a_ledger_whose_run_is_gone(shell: Shell) -> None:
    store = f"files:///{shell.folder}/runs"
    run_id = shell.begin("greet", "--store", store)
    (shell.folder / "runs" / f"run_{run_id}.json").unlink()
    assert f"lost: ledger_{run_id}.jsonl" in shell.run("doctor", "--store", store).stdout
    assert shell.json("doctor", "--store", store, code=5)["leftovers"][0]["lost"]


def test_a_workflow_is_drawn_without_a_store(shell: Shell) -> None:
    out = shell.ok("graph", f"{FLOWS}:deploy")
    assert out.startswith("flowchart TD")
    assert 'n0 -->|"ask_user"| n1' in out
    assert list(shell.folder.iterdir()) == []


def test_the_path_of_a_run_is_drawn_into_a_file(shell: Shell) -> None:
    run = shell.begin("deploy")
    assert "wrote path.svg" in shell.ok("graph", run, "--output", "path.svg")
    text = (shell.folder / "path.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg ")
    assert "waits for a person" in text
    document = shell.json("graph", run, "--format", "svg")
    assert document["text"] == text
    assert [node["visits"] for node in document["nodes"]] == [1, 0, 0]


def test_a_drawing_that_cannot_be_written_is_an_error(shell: Shell) -> None:
    target = str(shell.folder / "no" / "x.svg")
    error = shell.json("graph", f"{FLOWS}:deploy", "-o", target, code=1)["error"]
    assert "cannot write" in error["message"]


def test_a_snapshot_is_saved_listed_and_restored(shell: Shell) -> None:
    run = shell.begin("greet")
    saved = shell.json("snapshot", "save", run, "--name", "asked", "--tag", "t", "--tag", "u")
    assert saved["node"] == "ask"
    shell.ok("answer", run, "ann")
    assert shell.json("snapshot", "list", "--query", "ASK")["snapshots"] == [saved]
    assert shell.json("snapshot", "list", run, "--tag", "none")["snapshots"] == []
    assert "asked" in shell.ok("snapshot", "list")
    assert shell.ok("snapshot", "--json", "list").startswith("{")
    restored = shell.json("snapshot", "restore", saved["snapshot_id"][:8])
    assert restored["status"] == "waiting"
    assert restored["node"] == "ask"
    again = shell.json("answer", run, "bob")
    assert again["status"] == "completed"


def test_an_unknown_snapshot_is_refused_by_name(shell: Shell) -> None:
    shell.begin("greet")
    error = shell.json("snapshot", "restore", "zz", code=1)["error"]
    assert error["error"] == "UnknownSnapshot"
