"""A folder, an environment without our variables, and the command line in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abstractruntime.cli.root import root

FLOWS = str(Path(__file__).with_name("flows.py"))


@dataclass
class Shell:
    """Runs commands in this process, or as programs of their own."""

    folder: Path

    def run(self, *words: str, input: str | None = None) -> Result:
        result = CliRunner().invoke(root, list(words), input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def begin(self, workflow: str, *words: str, code: int = 6) -> str:
        """Run a workflow of flows.py; the run's id."""
        return str(self.json("run", f"{FLOWS}:programs:{workflow}", *words, code=code)["run_id"])

    def program(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """The command as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "abstractruntime", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL, **options},
        )


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ABSTRACTRUNTIME_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)
    return Shell(tmp_path)


@pytest.fixture
def with_app(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Name the program by the environment."""
    return lambda name: monkeypatch.setenv("ABSTRACTRUNTIME_APP", f"{FLOWS}:{name}")


@pytest.fixture(autouse=True)
def programs(with_app: Callable[[str], None]) -> None:
    with_app("programs")
