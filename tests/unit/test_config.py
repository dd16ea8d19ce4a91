"""The limits runs start with."""

import dataclasses

import pytest

from abstractruntime.core.config import RuntimeConfig


def test_the_defaults_are_those_of_the_api() -> None:
    assert dataclasses.asdict(RuntimeConfig()) == {
        "max_iterations": 25,
        "warn_iterations_pct": 80,
        "max_tokens": None,
        "max_output_tokens": None,
        "warn_tokens_pct": 80,
        "max_history_messages": -1,
        "model_capabilities": {},
    }


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RuntimeConfig().max_iterations = 3  # type: ignore[misc]


def test_limits_have_the_eight_keys_with_counters_at_zero() -> None:
    assert RuntimeConfig().to_limits_dict() == {
        "max_iterations": 25,
        "current_iteration": 0,
        "max_tokens": 32768,
        "max_output_tokens": None,
        "estimated_tokens_used": 0,
        "max_history_messages": -1,
        "warn_iterations_pct": 80,
        "warn_tokens_pct": 80,
    }


@pytest.mark.parametrize(
    ("own", "capabilities", "expected"),
    [
        (None, {}, 32768),
        (None, {"max_tokens": 8192}, 8192),
        (None, {"max_tokens": None}, 32768),
        (100, {"max_tokens": 8192}, 100),
    ],
)
def test_max_tokens_is_the_configured_else_the_models_else_the_default(
    own: int | None, capabilities: dict[str, int | None], expected: int
) -> None:
    config = RuntimeConfig(max_tokens=own, model_capabilities=capabilities)
    assert config.to_limits_dict()["max_tokens"] == expected


def test_what_is_configured_reaches_the_limits() -> None:
    limits = RuntimeConfig(
        max_iterations=3,
        warn_iterations_pct=50,
        max_output_tokens=9,
        warn_tokens_pct=60,
        max_history_messages=4,
    ).to_limits_dict()
    assert limits["max_iterations"] == 3
    assert limits["warn_iterations_pct"] == 50
    assert limits["max_output_tokens"] == 9
    assert limits["warn_tokens_pct"] == 60
    assert limits["max_history_messages"] == 4


def test_two_runs_never_share_their_limits() -> None:
    config = RuntimeConfig()
    assert config.to_limits_dict() is not config.to_limits_dict()


def test_with_capabilities_keeps_everything_else_and_copies_what_it_is_given() -> None:
    capabilities = {"max_tokens": 8192}
    config = RuntimeConfig(max_iterations=3, warn_tokens_pct=60)
    informed = config.with_capabilities(capabilities)
    capabilities["max_tokens"] = 1
    assert informed == RuntimeConfig(
        max_iterations=3, warn_tokens_pct=60, model_capabilities={"max_tokens": 8192}
    )
    assert config.model_capabilities == {}
