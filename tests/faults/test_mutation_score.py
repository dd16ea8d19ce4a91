"""Does a test of `tests/unit` fail when a line of the kernel is changed? mutmut changes them all.

It works in a copy of the repository, one mutant at a time. By hand, in a clone with nothing else to
do (results stay in ./mutants, and only what changed since is run again):

    .venv/bin/mutmut run --max-children 1 'abstractruntime.core.machine.*'
    .venv/bin/mutmut results          # who survived
    .venv/bin/mutmut show <name>      # as what
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5400)]

SCORE = 0.85
COPIED = ("src", "tests", "docs", "pyproject.toml", "README.md")
GROUPS = {
    "machine": ("machine/*",),
    "json": ("canonical.py", "exact.py"),
    "delta": ("delta.py", "pieces.py", "splice.py"),
    "chain": ("chain.py",),
}
# What mutmut notes of a mutant that no test noticed: all passed, or none ever ran the line.
SURVIVED = {0, 5, 33}
INTERRUPTED = {None, 2}
# A mutant that fills the memory is to fail by itself, before the machine notices.
IN_BOUNDS = ("sh", "-c", 'ulimit -v 3000000; exec "$0" "$@"')

pytest.importorskip("mutmut", reason="mutmut needs fork")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as far as the unit tests need it."""
    folder = tmp_path_factory.mktemp("mutation")
    for name in COPIED:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def mutants(copy: Path, patterns: tuple[str, ...]) -> dict[str, dict[str, int | None]]:
    """The mutants of the files that match, each with its exit code, by file of the kernel."""
    core = copy / "mutants" / "src" / "abstractruntime" / "core"
    found = {}
    for pattern in patterns:
        for path in sorted(core.glob(f"{pattern}.meta")):
            codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
            found[path.relative_to(core).as_posix().removesuffix(".meta")] = codes
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_most_changes_of_the_kernel_are_noticed(group: str, copy: Path) -> None:
    patterns = GROUPS[group]
    modules = [each.removesuffix(".py").replace("/", ".") for each in patterns]
    names = [
        f"abstractruntime.core.{each}" if each.endswith("*") else f"abstractruntime.core.{each}.*"
        for each in modules
    ]
    done = subprocess.run(
        [*IN_BOUNDS, sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names],
        cwd=copy,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).replace("\r", "\n")[-4000:]
    total = survivors = 0
    for file, codes in mutants(copy, patterns).items():
        counts = Counter(codes.values())
        assert not INTERRUPTED & counts.keys(), f"{file}: not every mutant was tried"
        alive = [name for name, code in codes.items() if code in SURVIVED]
        print(f"{file}: {len(alive)} of {len(codes)} survived")
        print("".join(f"    {name}\n" for name in alive), end="")
        total, survivors = total + len(codes), survivors + len(alive)
    assert total, "nothing was mutated: the test would check nothing"
    score = 1 - survivors / total
    print(f"{group}: {score:.1%} of {total} mutants were noticed")
    assert score >= SCORE
