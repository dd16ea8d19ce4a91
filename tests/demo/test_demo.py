"""The demo pays 200 invoices over two real kills and proves it; an interrupted one can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

# Six processes pay into a file that is synced for each payment: a busy disk makes that long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def command(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "abstractruntime", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if "ABSTRACTRUNTIME" not in name},
        **options,
    )


def told(folder: Path, *words: str, code: int = 0) -> str:
    with command(folder, *words) as process:
        out, errors = process.communicate()
    assert process.returncode == code, out + errors
    return out


def payments(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "abstractruntime-demo" / "payments.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_demo_is_killed_twice_goes_on_and_proves_that_all_was_paid_once(
    tmp_path: Path,
) -> None:
    document = json.loads(told(tmp_path, "demo", "--json", "--seed", "5"))
    assert document["ok"]
    assert document["status"] == "completed"
    proof = document["proof"]
    assert proof["holds"]
    assert (proof["invoices"], proof["to_pay"], proof["payments"]) == (200, 189, 189)
    assert proof["ledger"]["effects"] == {"call": 191}
    assert proof["ledger"]["recoveries"] == len(document["kills"]) == 2
    first, second = document["kills"]
    # The first kill: the line is on the disk, the ledger does not know of it.
    assert first["payments_written"] == first["payments_committed"] + 1
    assert first["standing"] == second["standing"] == "recoverable"
    assert "was written and before its commit" in first["moment"]
    assert "at a random moment" in second["moment"]
    receipt = f"P-{first['payments_written']:04d}"
    assert receipt in [refused["receipt"] for refused in proof["refused"]]
    made = payments(tmp_path)
    assert len(made) == len({payment["key"] for payment in made}) == 189
    assert max(Counter((p["vendor"], p["number"]) for p in made).values()) == 1
    ElementTree.parse(document["files"]["path.svg"])
    assert "189 payments" in Path(document["files"]["report.md"]).read_text(encoding="utf-8")
    assert document["seconds"] < 60


def test_the_demo_tells_its_story_in_plain_lines_and_can_be_repeated(tmp_path: Path) -> None:
    out = told(tmp_path, "demo", "--answer", "reject")
    for said in (
        "SIGKILL hit process",
        "after payment",
        "at a random moment",
        "recoverable",
        "was tried again and refused: its idempotency key is known",
        "Pay these 6 invoices (possible duplicates)",
        "Pay these 9 invoices (over the limit)",
        "answered for the person: reject",
        "none was missed: 174 of 174 were paid",
        "none was paid twice: 0 were",
        "records verifies",
        "path.svg",
    ):
        assert said in out
    assert "\x1b" not in out
    assert "BROKEN" not in out
    again = json.loads(told(tmp_path, "demo", "--json"))
    assert again["went_on"] is False
    assert again["ok"]


def interrupted(folder: Path) -> str:
    """Begin the demo, interrupt it between payments, and give back what it said."""
    with command(folder, "demo", "--seed", "5", start_new_session=True) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "SIGKILL" in line:
                process.send_signal(signal.SIGINT)
                break
        out, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "next: abstractruntime demo --folder" in out
    return said + out


def test_an_interrupted_demo_goes_on_when_it_is_called_again(tmp_path: Path) -> None:
    interrupted(tmp_path)
    made = len(payments(tmp_path))
    document = json.loads(told(tmp_path, "demo", "--json", "--seed", "5"))
    assert document["went_on"]
    assert document["ok"]
    assert 0 < made < document["proof"]["payments"] == 189
    assert [kill["moment"][:2] for kill in document["kills"]] == ["at"]


def test_an_interrupted_demo_can_be_finished_by_the_command_line(tmp_path: Path) -> None:
    out = interrupted(tmp_path)
    line = next(line for line in out.splitlines() if line.startswith("  or: abstractruntime"))
    _, _, *words = line.split()
    after = told(tmp_path, *words, code=6)
    for code in (6, 0):
        answer = next(line for line in after.splitlines() if line.startswith("next: "))
        after = told(tmp_path, *answer.split()[2:], code=code)
    assert len(payments(tmp_path)) == 189
    store = f"sqlite:///{tmp_path}/abstractruntime-demo/demo.db"
    assert "verified" in told(tmp_path, "verify", "--store", store)


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "payments.jsonl").write_text("mine")
    error = json.loads(told(tmp_path, "demo", "--folder", "mine", "--json", code=1))["error"]
    assert "is not the demo's folder" in error["message"]
    assert [path.name for path in folder.iterdir()] == ["payments.jsonl"]
    (folder / "demo.json").write_text('{"kind": "another"}')
    told(tmp_path, "demo", "--folder", "mine", code=1)
    assert (folder / "payments.jsonl").read_text() == "mine"
    told(tmp_path, "demo", "--folder", "mine/payments.jsonl", code=1)


def test_a_folder_with_a_name_that_urls_would_read_otherwise_works(tmp_path: Path) -> None:
    document = json.loads(told(tmp_path, "demo", "--folder", "a b%20?#ü", "--json"))
    assert document["ok"]
    assert (tmp_path / "a b%20?#ü" / "demo.db").exists()


def test_the_example_pays_each_invoice_once(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "invoice_approval.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 120
    with subprocess.Popen(
        [sys.executable, str(example)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        out, _ = process.communicate("perhaps\napprove\n")
    assert "completed {'payments': 190, 'left_out': 10}" in out
    lines = (tmp_path / "payments.jsonl").read_text(encoding="utf-8").splitlines()
    made = [json.loads(line) for line in lines]
    assert len({(row["vendor"], row["number"]) for row in made}) == len(made) == 190
