"""What a user installs is what the repository holds, and it runs without the repository."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGE, ROOT

# One worker builds the distributions once; installing reaches the package index.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("packaging"),
]


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with no environment of ours to lean on, and no stdin."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env=keep,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist"),
        *("--outdir", out, ROOT),
        cwd=out,
    )
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(distributions: Path) -> Path:
    (found,) = distributions.glob("*.tar.gz")
    return found


def package_files() -> set[str]:
    """Every file of the package, as paths below src."""
    files = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "abstractruntime/py.typed" in files
    assert any(name.startswith("abstractruntime/storage/sql/sqlite/") for name in files)
    assert any(name.startswith("abstractruntime/cli/demo/") for name in files)
    return files


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == package_files()


def test_the_sdist_holds_every_file_of_the_package_and_the_licence(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    expected = {f"src/{name}" for name in package_files()} | {"LICENSE", "pyproject.toml"}
    assert expected - inside == set()


def test_the_wheel_installs_into_an_empty_environment_and_runs_the_demo(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        f"{wheel}[cli]",
        cwd=tmp_path,
    )
    where = run(
        *(python, "-c", "import abstractruntime; print(abstractruntime.__file__)"), cwd=tmp_path
    )
    assert where.stdout.startswith(str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    demo = run(python.with_name("abstractruntime"), "demo", "--answer", "approve", cwd=empty)
    assert demo.stdout.strip()


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def test_the_extra_all_means_every_extra_but_abstractcore() -> None:
    (reference,) = extras()["all"]
    named = reference.removeprefix("abstractruntime[").removesuffix("]").split(",")
    assert sorted(named) == sorted(set(extras()) - {"all", "dev", "abstractcore"})


def test_every_supported_python_is_named_from_the_lowest_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = project["requires-python"].removeprefix(">=")
    named = [
        line.rpartition(" :: ")[2]
        for line in project["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert named[0] == lowest
