"""budget: what is spent of it, and more."""

from __future__ import annotations

import pytest

from abstractruntime import Budget, Effect, EffectOutcome, Runtime, StepPlan, open_store
from abstractruntime.core.spec import WorkflowSpec
from tests.cli.conftest import Shell


@pytest.fixture
def paused(shell: Shell) -> str:
    """A run that has used 90 of its 100 tokens and needs 30 more."""
    effect = Effect("buy", costs={"tokens": 30})
    spec = WorkflowSpec("buys", "a", {"a": lambda run, ctx: StepPlan("a", effect, "a")})
    handlers = {"buy": lambda run, effect: EffectOutcome.completed({})}
    with open_store("sqlite:///abstractruntime.db") as store:
        runtime = Runtime(store=store, effect_handlers=handlers)
        budget = Budget(tokens=100, effects={"buy": 9}, wall_s=1e6, depth=2)
        run_id = runtime.start(workflow=spec, budget=budget)
        runtime.tick(workflow=spec, run_id=run_id)
    return run_id


def test_a_budget_is_shown_and_raised(shell: Shell, paused: str) -> None:
    said = shell.ok("budget", paused)
    assert "tokens: 90 of 100 used, 0 reserved" in said
    assert "effects.buy: 3 of 9 used" in said
    assert "depth: 2" in said
    more = ("--raise", "tokens=50", "--raise", "effects.buy=3", "--raise", "wall_s=2.5")
    found = shell.json("budget", paused, *more, "--reason", "worth it")
    assert found["limits"] == {"tokens": 150, "effects.buy": 12}
    assert "paused" not in shell.ok("list")


def test_a_run_without_a_budget_says_so(shell: Shell) -> None:
    run = shell.begin("deploy")
    assert "no budget of its own" in shell.ok("budget", run)
    refused = shell.json("budget", run, "--raise", "tokens=1", code=1)
    assert "has no budget of its own" in refused["error"]["message"]


@pytest.mark.parametrize("words", ["tokens", "tokens=-1", "tokens=x", "effects.=1", "money=3"])
def test_what_is_no_limit_is_refused(shell: Shell, paused: str, words: str) -> None:
    result = shell.run("budget", paused, "--raise", words)
    assert result.exit_code == 2
    assert "is not NAME=NUMBER" in result.output
