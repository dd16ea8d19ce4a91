"""On a terminal the command line asks, shows progress and obeys the keyboard."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Shell


def on_terminal(folder: Path, *words: str, typed: str = "") -> tuple[int, str]:
    """Run the command with a terminal on all three streams; its exit code and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "abstractruntime", *words],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer has gone
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), shown.decode()


def test_an_answer_is_asked_for_until_it_fits_the_choices(shell: Shell) -> None:
    run = shell.begin("deploy")
    code, shown = on_terminal(shell.folder, "answer", run[:8], typed="maybe\n2\n")
    assert code == 6
    assert "Deploy?" in shown
    assert "1) yes" in shown
    assert "one of: yes, no, wait" in shown
    assert shell.json("show", run)["vars"]["ok"] == "no, wait"


def test_free_text_is_asked_for(shell: Shell) -> None:
    run = shell.begin("greet")
    code, shown = on_terminal(shell.folder, "answer", run, typed="ann\n")
    assert code == 0
    assert "ANN" in shown


def test_the_end_of_input_interrupts_the_question_and_changes_nothing(shell: Shell) -> None:
    run = shell.begin("greet")
    code, _ = on_terminal(shell.folder, "answer", run, typed="\x04")
    assert code == 130
    assert shell.json("show", run)["status"] == "waiting"


def test_colours_are_used_and_can_be_turned_off(shell: Shell, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    shell.begin("broken", code=3)
    _, shown = on_terminal(shell.folder, "list")
    assert "\x1b[31mfailed" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    _, shown = on_terminal(shell.folder, "list")
    assert "\x1b[31m" not in shown
