"""The front doors of the package: what they publish, and that it is loaded when asked for."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import abstractruntime

DOORS = ["abstractruntime", "abstractruntime.core", "abstractruntime.core.runtime"]
DOORS += ["abstractruntime.storage", "abstractruntime.scheduler", "abstractruntime.identity"]
DOORS += ["abstractruntime.authoring"]


@pytest.mark.parametrize("door", DOORS)
def test_every_name_that_is_published_is_there(door: str) -> None:
    module = importlib.import_module(door)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(module.__all__) == len(set(module.__all__))


@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_is_not_published_is_an_attribute_error(door: str) -> None:
    module = importlib.import_module(door)
    with pytest.raises(AttributeError, match="Runtimes"):
        module.Runtimes  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(), flags=re.MULTILINE)
    assert found
    assert abstractruntime.__version__ == found[1]


def test_people_see_the_published_names_before_they_are_loaded() -> None:
    assert set(abstractruntime.__all__) <= set(dir(abstractruntime))


@pytest.mark.parametrize("door", ["abstractruntime", "abstractruntime.core"])
def test_importing_a_front_door_loads_no_engine_and_no_store(door: str) -> None:
    code = f"import sys, {door}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rooms = {
        name.split(".")[1] for name in done.stdout.split() if name.startswith("abstractruntime.")
    }
    assert rooms <= {"core", "errors"}
