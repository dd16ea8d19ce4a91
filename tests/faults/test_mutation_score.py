"""Does a test of `tests/unit` fail when a line of the kernel is changed? mutmut changes them all.

It works in a copy of the repository, one mutant at a time, on one processor and in minutes a group:
each has its own choice of tests, and time limits are in `[tool.mutmut]`. By hand, in a clone with
nothing else to do (results stay in ./mutants, and only what changed since is run again):

    .venv/bin/mutmut run --max-children 1 'abstractruntime.core.machine.*'
    .venv/bin/mutmut results          # who survived
    .venv/bin/mutmut show <name>      # as what
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5400)]

SCORE = 0.85
COPIED = ("src", "tests", "docs", "pyproject.toml", "README.md")
# The files of each group, and the tests that are to notice what changes in them. Others would too,
# but a mutant that hundreds of tests pass through takes as long as all of them.
GROUPS = {
    "machine": (("machine/*.py",), ("machine", "test_*.py")),
    "json": (("canonical.py", "exact.py"), ("test_canonical*.py",)),
    "delta": (("delta.py", "pieces.py", "splice.py"), ("test_delta*.py", "test_splice.py")),
    "chain": (("chain.py",), ("test_chain*.py",)),
}
# What mutmut notes of a mutant that no test noticed: all passed, or none ever ran the line.
SURVIVED = {0, 5, 33}
INTERRUPTED = {None, 2}
# From here on (seconds) it was a limit of time that noticed, and not what a test expects.
LATE = 10
# A mutant that fills the memory is to fail by itself, before the machine notices.
IN_BOUNDS = ("sh", "-c", 'ulimit -v 3000000; exec "$0" "$@"')

pytest.importorskip("mutmut", reason="mutmut needs fork")


@pytest.fixture
def copy(group: str, tmp_path: Path) -> Path:
    """The repository as far as the unit tests need it, set up for one group."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    files, tests = GROUPS[group]
    project = tmp_path / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    unit = tmp_path / "tests" / "unit"
    for name, found in (
        ("only_mutate", [f"src/abstractruntime/core/{pattern}" for pattern in files]),
        (
            "pytest_add_cli_args_test_selection",
            [each.relative_to(tmp_path).as_posix() for glob in tests for each in unit.glob(glob)],
        ),
    ):
        text, replaced = re.subn(rf"(?m)^{name} = \[[^]]*\]", f"{name} = {sorted(found)}", text)
        assert replaced == 1, f"pyproject.toml has no {name}"
    project.write_text(text, encoding="utf-8")
    return tmp_path


def mutants(copy: Path) -> dict[str, tuple[dict[str, int | None], dict[str, float]]]:
    """The exit code and the seconds that each mutant took, by file of the kernel."""
    core = copy / "mutants" / "src" / "abstractruntime" / "core"
    found = {}
    for path in sorted(core.rglob("*.meta")):
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted["exit_code_by_key"]:
            name = path.relative_to(core).as_posix().removesuffix(".meta")
            found[name] = noted["exit_code_by_key"], noted["durations_by_key"]
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_most_changes_of_the_kernel_are_noticed(group: str, copy: Path) -> None:
    done = subprocess.run(
        [*IN_BOUNDS, sys.executable, "-m", "mutmut", "run", "--max-children", "1"],
        cwd=copy,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).replace("\r", "\n")[-4000:]
    total = survivors = 0
    for file, (codes, took) in mutants(copy).items():
        assert not INTERRUPTED & set(codes.values()), f"{file}: not every mutant was tried"
        alive = [name for name, code in codes.items() if code in SURVIVED]
        late = [name for name in codes if name not in alive and took.get(name, 0) >= LATE]
        print(f"{file}: {len(alive)} of {len(codes)} survived, {len(late)} took too long")
        print("".join(f"    survived: {name}\n" for name in alive), end="")
        print("".join(f"    took too long: {name}\n" for name in late), end="")
        total, survivors = total + len(codes), survivors + len(alive)
    assert total, "nothing was mutated: the test would check nothing"
    score = 1 - survivors / total
    print(f"{group}: {score:.1%} of {total} mutants were noticed")
    assert score >= SCORE
