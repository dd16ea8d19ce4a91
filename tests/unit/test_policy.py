"""Attempts, backoffs and the keys that name steps outside."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.canonical import key_form
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus
from abstractruntime.core.policy import (
    DefaultEffectPolicy,
    EffectPolicy,
    NoRetryPolicy,
    RetryPolicy,
    compute_idempotency_key,
    makes_own_keys,
    step_key,
    visit_of,
)

LLM = Effect(EffectType.LLM_CALL, {"prompt": "é"})
TOOLS = Effect(EffectType.TOOL_CALLS, {"tool_calls": []})
CUSTOM = Effect("send_mail", {"to": "a@b"})


def stdlib_key(**identity: Any) -> str:
    """The api's rule, spelled with the standard library."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run_at(node: str, checkpoint: Checkpoint | None = None) -> RunState:
    return RunState("run-1", "wf", RunStatus.RUNNING, node, checkpoint=checkpoint)


# ---- attempts and backoffs


def test_the_default_policy_tries_once_and_doubles_from_one_second_to_a_minute() -> None:
    policy = DefaultEffectPolicy()
    assert policy.max_attempts(LLM) == policy.max_attempts(CUSTOM) == 1
    waits = [policy.backoff_seconds(effect=LLM, attempt=n) for n in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_attempts_are_looked_up_by_the_effect_types_value() -> None:
    policy = DefaultEffectPolicy(
        default_max_attempts=2, effect_max_attempts={"llm_call": 5, "send_mail": 4}
    )
    assert policy.max_attempts(LLM) == 5
    assert policy.max_attempts(CUSTOM) == 4
    assert policy.max_attempts(TOOLS) == 2


def test_the_arguments_of_the_default_policy_keep_their_order() -> None:
    policy = DefaultEffectPolicy(3, 0.5, 4.0, {"llm_call": 9})
    assert policy.max_attempts(TOOLS) == 3
    assert policy.backoff_seconds(effect=TOOLS, attempt=1) == 0.5
    assert policy.backoff_seconds(effect=TOOLS, attempt=20) == 4.0
    assert policy.max_attempts(LLM) == 9


def test_a_backoff_never_overflows_however_many_attempts_there_were() -> None:
    assert DefaultEffectPolicy().backoff_seconds(effect=LLM, attempt=100_000) == 60.0


def test_a_base_of_zero_means_no_wait() -> None:
    policy = DefaultEffectPolicy(default_backoff_base=0.0)
    assert policy.backoff_seconds(effect=LLM, attempt=5_000) == 0.0


def test_the_retry_policy_tries_models_three_times_tools_twice_and_others_once() -> None:
    policy = RetryPolicy()
    assert [policy.max_attempts(each) for each in (LLM, TOOLS, CUSTOM)] == [3, 2, 1]
    assert policy.backoff_seconds(effect=LLM, attempt=1) == 1.0
    assert policy.backoff_seconds(effect=LLM, attempt=10) == 30.0


def test_the_retry_policy_takes_its_numbers_by_name() -> None:
    policy = RetryPolicy(
        llm_max_attempts=7, tool_max_attempts=6, backoff_base=0.25, backoff_max=0.5
    )
    assert [policy.max_attempts(each) for each in (LLM, TOOLS)] == [7, 6]
    assert [policy.backoff_seconds(effect=LLM, attempt=n) for n in (1, 2, 3)] == [0.25, 0.5, 0.5]


def test_the_no_retry_policy_tries_everything_once() -> None:
    policy = NoRetryPolicy()
    assert [policy.max_attempts(each) for each in (LLM, TOOLS, CUSTOM)] == [1, 1, 1]


@pytest.mark.parametrize("policy", [DefaultEffectPolicy(), RetryPolicy(), NoRetryPolicy()])
def test_every_policy_of_ours_is_an_effect_policy_that_leaves_keys_to_the_rule(
    policy: EffectPolicy,
) -> None:
    assert isinstance(policy, EffectPolicy)
    assert not makes_own_keys(policy)


# ---- keys


def test_the_golden_key() -> None:
    key = compute_idempotency_key(run_id="run-1", node_id="node-1", effect=LLM)
    assert key == "7a506b882e8a02019c0ab509b8711778"


def test_the_first_visits_key_is_the_apis_hash_of_four_fields() -> None:
    key = step_key(run_id="run-1", node_id="n", effect=CUSTOM, visit=1)
    assert key == compute_idempotency_key(run_id="run-1", node_id="n", effect=CUSTOM)
    assert key == stdlib_key(
        run_id="run-1", node_id="n", effect_type="send_mail", effect_payload={"to": "a@b"}
    )


@pytest.mark.parametrize(
    ("identity", "added"),
    [
        ({"visit": 2}, {"visit": 2}),
        ({"visit": 1, "branch": "left"}, {"visit": 1, "branch": "left"}),
        ({"visit": 3, "branch": "left"}, {"visit": 3, "branch": "left"}),
        ({"visit": 1, "generation": 2}, {"visit": 1, "generation": 2}),
        (
            {"visit": 4, "branch": 'é"', "generation": 3},
            {"visit": 4, "branch": 'é"', "generation": 3},
        ),
    ],
)
def test_later_visits_branches_and_generations_are_added_to_what_is_hashed(
    identity: dict[str, Any], added: dict[str, Any]
) -> None:
    expected = stdlib_key(
        run_id="r", node_id="n", effect_type="llm_call", effect_payload={"prompt": "é"}, **added
    )
    assert step_key(run_id="r", node_id="n", effect=LLM, **identity) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    payload=st.dictionaries(st.text(), json_values, max_size=4),
    run_id=st.text(min_size=1),
    node_id=st.text(min_size=1),
    kind=st.text(min_size=1),
    visit=st.integers(1, 10**6),
    branch=st.text(),
    generation=st.integers(1, 10**6),
)
def test_a_key_equals_the_standard_librarys_rule_for_any_identity(
    payload: dict[str, Any],
    run_id: str,
    node_id: str,
    kind: str,
    visit: int,
    branch: str,
    generation: int,
) -> None:
    identity: dict[str, Any] = {
        "run_id": run_id,
        "node_id": node_id,
        "effect_type": kind,
        "effect_payload": payload,
    }
    if branch != "":
        identity["branch"] = branch
    if generation != 1:
        identity["generation"] = generation
    if visit != 1 or len(identity) > 4:
        identity["visit"] = visit
    effect = Effect(kind, payload)
    asked = {"run_id": run_id, "node_id": node_id, "effect": effect, "visit": visit}
    key = step_key(**asked, branch=branch, generation=generation)
    assert key == stdlib_key(**identity)
    form = key_form(payload)
    assert step_key(**asked, branch=branch, generation=generation, payload_form=form) == key


def test_the_result_key_is_no_part_of_the_key() -> None:
    one = compute_idempotency_key(run_id="r", node_id="n", effect=LLM)
    other = Effect(LLM.type, LLM.payload, result_key="elsewhere")
    assert compute_idempotency_key(run_id="r", node_id="n", effect=other) == one


def test_an_enum_and_its_text_are_the_same_effect_type() -> None:
    by_text = Effect("llm_call", LLM.payload)
    assert compute_idempotency_key(run_id="r", node_id="n", effect=by_text) == (
        compute_idempotency_key(run_id="r", node_id="n", effect=LLM)
    )


def test_a_payload_that_json_cannot_hold_has_no_key() -> None:
    with pytest.raises(TypeError):
        compute_idempotency_key(run_id="r", node_id="n", effect=Effect("x", {"when": {1}}))


def test_the_default_policys_key_of_a_run_without_checkpoint_is_the_first_visits() -> None:
    key = DefaultEffectPolicy().idempotency_key(run=run_at("n"), node_id="n", effect=LLM)
    assert key == compute_idempotency_key(run_id="run-1", node_id="n", effect=LLM)


def test_the_default_policys_key_follows_the_runs_visits_and_generation() -> None:
    run = run_at("n", Checkpoint(revision=9, generation=2, visits={"n": 3}, entered=True))
    key = DefaultEffectPolicy().idempotency_key(run=run, node_id="n", effect=LLM)
    assert key == step_key(run_id="run-1", node_id="n", effect=LLM, visit=3, generation=2)


@pytest.mark.parametrize(
    ("node", "checkpoint", "visit"),
    [
        ("n", None, 1),
        ("n", Checkpoint(), 1),
        ("n", Checkpoint(visits={"n": 1}, entered=True), 1),
        ("n", Checkpoint(visits={"n": 4}, entered=True), 4),
        ("n", Checkpoint(visits={"n": 4}, entered=False), 5),
        ("elsewhere", Checkpoint(visits={"n": 4}, entered=False), 4),
        ("elsewhere", Checkpoint(visits={"elsewhere": 2}, entered=True), 1),
    ],
)
def test_a_step_belongs_to_the_visit_counted_or_about_to_be(
    node: str, checkpoint: Checkpoint | None, visit: int
) -> None:
    assert visit_of(run_at(node, checkpoint), "n") == visit


class OrderKeys(DefaultEffectPolicy):
    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        return f"order-{effect.payload['order']}"


class Bare:
    def max_attempts(self, effect: Effect) -> int:
        return 1

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        return 0.0

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        return "mine"


def test_a_policy_with_a_key_of_its_own_is_recognised() -> None:
    patched = DefaultEffectPolicy()
    patched.idempotency_key = lambda **_: "mine"  # type: ignore[method-assign]
    assert makes_own_keys(OrderKeys())
    assert makes_own_keys(Bare())
    assert makes_own_keys(patched)
    assert isinstance(Bare(), EffectPolicy)
