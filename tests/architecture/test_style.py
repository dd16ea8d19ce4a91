"""Style and types, by the tools themselves, so that `make test` says what `make check` says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

# The first mypy run on a cold cache takes most of a minute on a slow machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_ruff_finds_nothing_to_complain_about() -> None:
    done = run("ruff", "check", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_formatted() -> None:
    done = run("ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed_strictly() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found in" in done.stdout


def test_a_field_of_a_value_is_not_to_be_set(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from abstractruntime.core.checkpoint import Checkpoint\nCheckpoint().revision = 3\n"
    )
    done = run("mypy", str(wrong))
    assert 'Property "revision" defined in "Checkpoint" is read-only' in done.stdout
