"""run, continue, answer, send and cancel move runs and say by their exit code how runs stand."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import FLOWS, Shell


def test_a_run_that_completes_exits_with_0_and_shows_its_output(shell: Shell) -> None:
    out = shell.ok("run", f"{FLOWS}:adder", "--vars", '{"times": 2}')
    first, _, rest = out.partition("\n")
    assert first.startswith("run ")
    assert rest.startswith("completed\n")
    assert json.loads(rest.partition("\n")[2]) == {"n": 2}


def test_a_run_that_fails_exits_with_3_and_names_the_ledger(shell: Shell) -> None:
    result = shell.run("run", f"{FLOWS}:broken")
    assert result.exit_code == 3
    assert "failed at boom" in result.stdout
    assert "Node 'boom' raised ValueError" in result.stdout
    assert "next: abstractruntime ledger " in result.stdout


def test_a_run_that_waits_exits_with_6_and_gives_the_line_that_answers_it(shell: Shell) -> None:
    result = shell.run("run", f"{FLOWS}:greet", "--app", "elsewhere.py:x")
    assert result.exit_code == 6
    assert "Who are you?" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("next: "))
    assert line.startswith("next: abstractruntime answer ")
    assert f"--app {FLOWS}:greet" in line


def test_the_line_that_is_shown_next_works_as_it_stands(shell: Shell) -> None:
    waiting = shell.json("run", f"{FLOWS}:deploy", "--store", "sqlite:///a b.db", code=6)
    import shlex

    name, *words = shlex.split(waiting["next"][0])
    assert name == "abstractruntime"
    after = shell.json(*words, code=6)
    assert after["waiting"]["wait_key"] == "ci:done"
    _, *words = shlex.split(after["next"][0])
    assert shell.json(*words)["status"] == "completed"


def test_a_word_reaches_the_workflow_as_text(shell: Shell) -> None:
    deploy = shell.begin("deploy")
    shell.run("answer", deploy, "no, wait")
    assert shell.json("show", deploy)["vars"]["ok"] == "no, wait"
    greet = shell.begin("greet")
    assert shell.json("answer", greet, "ann")["output"] == {"said": "ANN"}


def test_an_answer_may_be_text_a_choice_or_a_payload_from_a_file(shell: Shell) -> None:
    assert shell.json("answer", shell.begin("greet"), "--text", "x")["output"] == {"said": "X"}
    (shell.folder / "a.json").write_text('"from a file"')
    answered = shell.json("answer", shell.begin("greet"), "--payload", "@a.json")
    assert answered["output"] == {"said": "FROM A FILE"}
    chosen = shell.begin("deploy")
    assert shell.json("answer", chosen, "--choice", "yes", code=6)["node"] == "built"


def test_null_is_an_answer(shell: Shell) -> None:
    run = shell.begin("greet")
    shell.run("answer", run, "--payload", "null")
    assert shell.json("show", run)["status"] == "failed"  # it is no text, but it was taken


def test_two_ways_to_answer_at_once_are_a_usage_error(shell: Shell) -> None:
    run = shell.begin("greet")
    assert shell.run("answer", run, "x", "--text", "y").exit_code == 2


@pytest.mark.parametrize("words", [("maybe",), ("--choice", "maybe"), ("--payload", '{"a": 1}')])
def test_an_answer_outside_the_choices_is_refused_and_changes_nothing(
    shell: Shell, words: tuple[str, ...]
) -> None:
    run = shell.begin("deploy")
    before = shell.json("show", run)["revision"]
    error = shell.json("answer", run, *words, code=1)["error"]
    assert error["error"] == "ChoiceRefused"
    assert shell.json("show", run)["revision"] == before


def test_an_answer_without_a_terminal_and_without_words_is_a_usage_error(shell: Shell) -> None:
    result = shell.run("answer", shell.begin("greet"))
    assert result.exit_code == 2
    assert "no terminal to ask on" in result.stderr


def test_an_answer_to_a_run_that_does_not_wait_for_a_person_says_what_to_do(shell: Shell) -> None:
    done = shell.begin("adder", code=0)
    refused = shell.json("answer", done, "x", code=1)["error"]
    assert refused["error"] == "NotWaiting"
    event = shell.begin("deploy")
    shell.run("answer", event, "yes")
    refused = shell.json("answer", event, "yes", code=1)["error"]
    assert refused["fix"].startswith("send it: abstractruntime send ")


def test_an_event_reaches_the_run_that_waits_for_it(shell: Shell) -> None:
    run = shell.begin("deploy")
    shell.run("answer", run, "yes")
    sent = shell.json("send", run, "ci:done", "--payload", '{"build": 7}')
    assert sent["output"]["ci"] == {"build": 7}


def test_a_timed_run_is_continued_when_it_is_due_and_waited_for_with_wait(shell: Shell) -> None:
    run = shell.begin("nap")
    assert shell.run("continue", run).exit_code in (0, 6)
    assert shell.json("continue", run, "--wait")["status"] == "completed"


def test_continue_without_a_run_moves_what_is_due(shell: Shell) -> None:
    run = shell.begin("nap", "--vars", '{"seconds": 0}', code=0)
    assert shell.json("show", run)["status"] == "completed"
    due = shell.begin("nap", "--vars", '{"seconds": 0.05}')
    waits = shell.begin("greet")
    document = shell.json("continue", "--wait")
    assert [moved["run_id"] for moved in document["moved"]] == [due]
    assert shell.json("show", waits)["status"] == "waiting"
    assert "nothing to continue" in shell.ok("continue")


def test_a_child_is_answered_and_its_parent_continued(shell: Shell) -> None:
    waiting = shell.json("run", f"{FLOWS}:programs:parent", code=6)
    child = waiting["waiting"]["details"]["sub_run_id"]
    assert waiting["next"][0].startswith(f"abstractruntime answer {child[:8]}")
    refused = shell.json("answer", waiting["run_id"], "x", code=1)["error"]
    assert child in refused["fix"]
    answered = shell.json("answer", child, "ann")
    assert answered["next"][0].startswith(f"abstractruntime continue {waiting['run_id'][:8]}")
    assert shell.json("continue", waiting["run_id"])["output"] == {"said": "ANN"}


def test_cancelling_ends_a_run_and_is_told_apart_by_exit_codes(shell: Shell) -> None:
    run = shell.begin("greet")
    assert "cancelled" in shell.ok("cancel", run, "--reason", "not needed")
    assert shell.json("show", run)["error"] == "not needed"
    assert shell.run("continue", run).exit_code == 4
    assert "had ended already" in shell.ok("cancel", run)
    failed = shell.begin("broken", code=3)
    assert shell.run("cancel", failed).exit_code == 3


def test_cancelling_needs_no_program(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shell.begin("greet")
    monkeypatch.setenv("ABSTRACTRUNTIME_APP", "gone.py:wf")
    assert shell.json("cancel", run)["cancelled"] is True


def test_what_a_program_prints_does_not_spoil_the_document(shell: Shell) -> None:
    result = shell.run("answer", shell.begin("greet"), "ann", "--json")
    assert json.loads(result.stdout)["status"] == "completed"
    assert "a program may print" in result.stderr


def test_interrupting_exits_with_130_and_continue_goes_on_with_the_run(shell: Shell) -> None:
    words = ("run", f"{FLOWS}:programs:adder", "--vars", '{"times": 40, "seconds": 0.05}')
    with shell.program(*words, start_new_session=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().split()[1]
        _until(lambda: shell.json("show", run_id)["revision"] > 4)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors.strip() == "interrupted"
    assert "next: abstractruntime continue " in out
    shown = shell.json("show", run_id)
    assert shown["status"] == "running"
    assert shown["standing"] in ("recoverable", "parked")
    assert shell.json("continue", run_id)["output"] == {"n": 40}


def test_waiting_for_timers_can_be_interrupted(shell: Shell) -> None:
    run = shell.begin("nap", "--vars", '{"seconds": 600}')
    for words in (("continue", "--wait"), ("continue", run, "--wait")):
        with shell.program(*words, start_new_session=True) as process:
            # It waits from its first look on: when it writes nothing, it is at it.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
    assert shell.json("show", run)["standing"] == "timed"


def test_a_killed_run_is_recovered_by_continue_without_a_name(shell: Shell) -> None:
    words = ("run", f"{FLOWS}:programs:adder", "--vars", '{"times": 40, "seconds": 0.05}')
    with shell.program(*words) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().split()[1]
        _until(lambda: shell.json("show", run_id)["revision"] > 4)
        busy = shell.json("continue", run_id, code=1)["error"]
        assert busy["error"] == "RunBusy"
        process.kill()
    assert shell.json("show", run_id)["standing"] == "recoverable"
    document = shell.json("continue")
    assert [moved["output"] for moved in document["moved"]] == [{"n": 40}]


def _until(holds: object, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
