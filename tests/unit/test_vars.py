"""Names shared inside a run's vars."""

from typing import Any

import pytest

from abstractruntime.core import vars as names
from abstractruntime.core.config import RuntimeConfig

NAMESPACES = ("context", "scratchpad", "_runtime", "_temp")


def test_the_names_are_those_that_programs_use() -> None:
    assert (names.CONTEXT, names.SCRATCHPAD, names.RUNTIME, names.TEMP) == NAMESPACES
    assert names.LIMITS == "_limits"


def test_ensure_namespaces_makes_the_four_dicts_and_returns_the_same_vars() -> None:
    vars: dict[str, Any] = {"mine": 1}
    assert names.ensure_namespaces(vars) is vars
    assert vars == {"mine": 1, "context": {}, "scratchpad": {}, "_runtime": {}, "_temp": {}}


@pytest.mark.parametrize("other", [None, "text", 3, ["a list"]])
def test_ensure_namespaces_replaces_what_is_no_dict_and_keeps_what_is(other: object) -> None:
    vars: dict[str, Any] = {"context": other, "scratchpad": {"kept": True}}
    names.ensure_namespaces(vars)
    assert vars["context"] == {}
    assert vars["scratchpad"] == {"kept": True}


def test_ensure_namespaces_leaves_limits_alone() -> None:
    assert "_limits" not in names.ensure_namespaces({})


@pytest.mark.parametrize(
    ("get", "name"),
    [
        (names.get_context, "context"),
        (names.get_scratchpad, "scratchpad"),
        (names.get_runtime, "_runtime"),
        (names.get_temp, "_temp"),
    ],
)
def test_a_getter_gives_the_live_dict_and_makes_it_when_missing(get: Any, name: str) -> None:
    vars: dict[str, Any] = {}
    get(vars)["noted"] = 1
    assert vars == {name: {"noted": 1}}
    assert get(vars) is vars[name] is names.get_namespace(vars, name)


def test_clear_temp_empties_the_same_dict() -> None:
    temp = {"thrown": "away"}
    vars: dict[str, Any] = {"_temp": temp, "context": {"kept": 1}}
    names.clear_temp(vars)
    assert vars == {"_temp": {}, "context": {"kept": 1}}
    assert vars["_temp"] is temp


def test_limits_are_the_defaults_when_missing_and_live_once_they_are_there() -> None:
    vars: dict[str, Any] = {}
    limits = names.ensure_limits(vars)
    assert limits == RuntimeConfig().to_limits_dict()
    names.get_limits(vars)["current_iteration"] = 7
    assert vars["_limits"]["current_iteration"] == 7
    assert names.ensure_limits(vars) is limits is names.get_limits(vars)


def test_limits_that_a_program_set_are_kept_as_they_are() -> None:
    vars: dict[str, Any] = {"_limits": {"max_iterations": 3}}
    assert names.ensure_limits(vars) == {"max_iterations": 3}


def test_limits_that_are_no_dict_are_made_anew() -> None:
    assert names.get_limits({"_limits": None}) == RuntimeConfig().to_limits_dict()
