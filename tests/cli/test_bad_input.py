"""What is wrong is said by name, with an exit code and a way to mend it, never a traceback."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import FLOWS, Shell


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("show",),
        ("list", "--limit", "many"),
        ("list", "--status", "tired"),
        ("run", "no-colon"),
        ("run", "a:b:c:d"),
        ("run", f"{FLOWS}:greet", "--vars", "[1]"),
        ("run", f"{FLOWS}:greet", "--vars", "{"),
        ("run", f"{FLOWS}:greet", "--vars", '{"a": NaN}'),
        ("run", f"{FLOWS}:greet", "--vars", "@gone.json"),
        ("snapshot", "save", "x"),
        (),
    ],
)
def test_a_command_that_is_not_understood_exits_with_2(
    shell: Shell, words: tuple[str, ...]
) -> None:
    result = shell.run(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (f"{FLOWS}:gone", "it has: adder"),
        (f"{FLOWS}:nothing", "is int, which is no program"),
        (f"{FLOWS}:programs", "has 10 workflows"),
        (f"{FLOWS}:programs:gone", "has no workflow 'gone'"),
        ("gone.py:wf", "There is no file gone.py"),
        ("gone.module:wf", "ModuleNotFoundError"),
        ("broken.py:wf", "ZeroDivisionError: division by zero"),
        ("exits.py:wf", "SystemExit: 3"),
        ("syntax.py:wf", "SyntaxError"),
        ("calls.py:make", "KeyError: 'x'"),
    ],
)
def test_a_program_that_cannot_be_used_is_an_error_that_says_why(
    shell: Shell, app: str, said: str
) -> None:
    (shell.folder / "broken.py").write_text("x = 1\n1 / 0\n")
    (shell.folder / "exits.py").write_text("raise SystemExit(3)\n")
    (shell.folder / "syntax.py").write_text("def (\n")
    (shell.folder / "calls.py").write_text("def make():\n    return {}['x']\n")
    result = shell.run("run", app)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not list(shell.folder.glob("*.db"))


def test_a_program_that_fails_to_load_says_on_which_line(shell: Shell) -> None:
    (shell.folder / "broken.py").write_text("x = 1\n1 / 0\n")
    assert "broken.py:2" in shell.run("run", "broken.py:wf").stderr


@pytest.mark.parametrize("name", ["greet", "programs:greet", "make:greet", "greet.spec"])
def test_a_program_may_be_a_workflow_a_registry_a_spec_or_a_function(
    shell: Shell, name: str
) -> None:
    assert shell.json("run", f"{FLOWS}:{name}", code=6)["workflow_id"] == "greet"


def test_a_module_of_the_current_folder_is_a_program(shell: Shell) -> None:
    shutil.copy(FLOWS, shell.folder / "own_flows.py")
    with shell.program("run", "own_flows:greet", "--json") as process:
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 6, errors
    assert '"greet"' in out


def test_a_runtime_brings_its_store_and_the_next_line_names_it(shell: Shell) -> None:
    run = shell.json("run", f"{FLOWS}:with_store:greet", code=6)
    assert (shell.folder / "own.db").exists()
    assert not (shell.folder / "abstractruntime.db").exists()
    assert "--store" in run["next"][0]
    own = f"{FLOWS}:with_store"
    assert shell.json("list", "--app", own)["runs"][0]["run_id"] == run["run_id"]
    assert shell.json("answer", run["run_id"], "x", "--app", own)["status"] == "completed"


def test_a_runtime_with_a_store_of_its_own_refuses_another(shell: Shell) -> None:
    result = shell.run("run", f"{FLOWS}:with_store:greet", "--store", "sqlite:///x.db")
    assert result.exit_code == 2
    assert "brings its own store" in result.stderr


@pytest.mark.parametrize("command", [("continue",), ("answer", "x", "y")])
def test_a_command_that_moves_runs_asks_for_the_program(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("ABSTRACTRUNTIME_APP")
    result = shell.run(*command)
    assert result.exit_code == 2
    assert "--app" in result.stderr


def test_options_may_stand_before_and_after_the_command_and_the_later_one_counts(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run("--store", "sqlite:///a.db", "run", f"{FLOWS}:greet")
    shell.run("run", f"{FLOWS}:greet", "--store", "sqlite:///b.db")
    monkeypatch.setenv("ABSTRACTRUNTIME_STORE", "sqlite:///gone.db")
    a, b = "sqlite:///a.db", "sqlite:///b.db"
    first = shell.run("--json", "--store", a, "list").stdout
    assert str(shell.folder / "a.db") in first
    later = shell.run("--store", a, "list", "--store", b, "--json").stdout
    assert str(shell.folder / "b.db") in later
    assert shell.run("list").exit_code == 1  # the environment's is not there


@pytest.mark.parametrize("url", ["foo://x", "sqlite://[x", "sqlite:///", "x.db", "sqlite:///a?b=c"])
def test_a_url_that_names_no_store_is_refused_with_those_that_would(shell: Shell, url: str) -> None:
    for words in (("list",), ("run", f"{FLOWS}:greet")):
        error = shell.json(*words, "--store", url, code=1)["error"]
        assert error["error"] in ("InvalidStoreUrl", "StoreUnavailable")


def test_a_file_that_is_no_database_exits_with_5_and_is_left_alone(shell: Shell) -> None:
    path = shell.folder / "x.db"
    path.write_bytes(b"not a database" * 500)
    error = shell.json("list", "--store", "sqlite:///x.db", code=5)["error"]
    assert error["error"] == "StoreCorrupt"
    assert path.read_bytes() == b"not a database" * 500


def test_a_newer_database_is_refused(shell: Shell) -> None:
    shell.begin("greet")
    with sqlite3.connect(shell.folder / "abstractruntime.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert shell.json("list", code=1)["error"]["error"] == "StoreTooNew"


def test_a_path_that_cannot_hold_a_store_is_an_error(shell: Shell) -> None:
    (shell.folder / "file").write_text("x")
    url = "sqlite:///file/x.db"
    error = shell.json("run", f"{FLOWS}:greet", "--store", url, code=1)["error"]
    assert error["error"] in ("StoreReadOnly", "StoreUnavailable")


def test_a_pipe_that_closes_early_is_no_traceback(shell: Shell) -> None:
    shell.begin("adder", "--vars", '{"times": 300}', code=0)
    done = subprocess.run(
        f"{sys.executable} -m abstractruntime ledger --last 0 --json "
        f"$({sys.executable} -m abstractruntime list | sed -n 2p | cut -c1-8) | head -c 10",
        shell=True,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_without_the_extra_one_line_names_it_and_the_code_is_2(tmp_path: Path) -> None:
    for missing in ("click", "rich"):
        script = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from abstractruntime.cli.main import entry_point\n"
            "entry_point()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "list"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert 'pip install "abstractruntime[cli]"' in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_another_module_that_is_missing_is_not_blamed_on_the_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['rich.console'] = None\n"
        "from abstractruntime.cli.main import entry_point\n"
        "entry_point()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "rich.console" in done.stderr
    assert "pip install" not in done.stderr


def test_the_version_is_told(shell: Shell) -> None:
    assert shell.ok("--version").startswith("abstractruntime ")


COMMANDS = [
    "demo",
    "run",
    "continue",
    "list",
    "show",
    "ledger",
    "why",
    "answer",
    "approve",
    "reject",
    "send",
    "emit",
    "messages",
    "budget",
    "cancel",
    "pause",
    "unpause",
    "resolve",
    "reopen",
    "verify",
    "graph",
    "snapshot",
    "doctor",
]


def test_the_commands_are_listed_in_the_order_one_meets_them(shell: Shell) -> None:
    shown = shell.ok("--help").partition("Commands:\n")[2]
    assert sorted(COMMANDS) == sorted(line.split()[0] for line in shown.splitlines())
    assert shown.split()[0] == "demo"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    out = shell.ok(command, "--help")
    assert "Usage: abstractruntime" in out or "Usage: root" in out
    if command != "snapshot":
        assert all(option in out for option in ("--store", "--app", "--json"))
