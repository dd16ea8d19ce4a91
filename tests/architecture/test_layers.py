"""The rooms know each other only downwards. The contracts stand in pyproject.toml."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.architecture.tree import BIN, PACKAGE, ROOT, parse, python_files, qualified


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks the contracts of the tree in folder, with the package below its src."""
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(60)
def test_every_import_contract_is_kept() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout
    analyzed = re.search(r"Analyzed (\d+) files", done.stdout)
    assert analyzed
    assert int(analyzed[1]) >= 20, "too few files: it did not look at the whole package"


LAYERS = "Each room imports only what is below it"
KERNEL = "The kernel has no clock, randomness, files, databases, threads or logs"

# What somebody might do one day: the file, its one line, and the contract that refuses it.
INTRUDERS = {
    "a kernel that reads the clock": ("core/intruder.py", "import time", KERNEL),
    "a kernel that opens files": ("core/machine/intruder.py", "import pathlib", KERNEL),
    "a kernel that knows a store": ("core/intruder.py", "import abstractruntime.storage", LAYERS),
    "a store that knows the engine": (
        "storage/intruder.py",
        "import abstractruntime.engine",
        LAYERS,
    ),
    "a store that reaches the engine through core.runtime": (
        "storage/intruder.py",
        "from abstractruntime.core.runtime import Runtime",
        "Only the package's front doors import core.runtime",
    ),
    "an engine that knows the scheduler": (
        "engine/intruder.py",
        "def late():\n    import abstractruntime.scheduler",
        LAYERS,
    ),
    "an engine that imports the test tools": (
        "engine/intruder.py",
        "import abstractruntime.testing",
        "No room imports testing",
    ),
    "a scheduler that calls a vendor": (
        "scheduler/intruder.py",
        "import abstractcore",
        "Only integrations.abstractcore imports abstractcore",
    ),
    "a room that has no place in the list": ("intruder/__init__.py", "", LAYERS),
}


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_the_contracts_refuse(intruder: str, tmp_path: Path) -> None:
    where, line, contract = INTRUDERS[intruder]
    package = tmp_path / "src" / "abstractruntime"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in {"testing", Path(where).parent.as_posix()}:  # a room that is not built yet too
        (package / room).mkdir(parents=True, exist_ok=True)
        (package / room / "__init__.py").touch()
    (package / where).write_text(f'"""It should not be here."""\n\n{line}\n')
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout
    assert "intruder" in done.stdout


CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4"}


def clock_reads(tree: ast.Module) -> list[str]:
    """Calls that ask the machine for the time or for randomness by modules a kernel may import."""
    return [
        f"line {node.lineno}: {node.func.attr if isinstance(node.func, ast.Attribute) else '?'}"
        for _, node in qualified(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and ast.unparse(node.func.value).split(".")[-1] in {"datetime", "date", "uuid"}
    ]


def test_only_the_default_fields_of_the_kernel_ask_for_the_time_or_a_new_id() -> None:
    reads = {
        path.relative_to(PACKAGE).as_posix(): clock_reads(parse(path))
        for path in python_files(PACKAGE / "core")
    }
    assert reads.pop("core/_defaults.py"), "the one place that may read the clock does not"
    assert {name: found for name, found in reads.items() if found} == {}


def test_kernel_modules_import_clocks_and_ids_as_modules_or_types_only() -> None:
    """`from uuid import uuid4` would hide a random id from the test above."""
    hidden = [
        f"{path.name}: {alias.name}"
        for path in python_files(PACKAGE / "core")
        if path.name != "_defaults.py"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in CLOCKS
    ]
    assert hidden == []
