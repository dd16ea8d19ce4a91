"""What a call used and cost."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.integrations.abstractcore import LIST_PRICES, RemoteAbstractCoreLLMClient
from abstractruntime.integrations.abstractcore.usage import call_facts, summed
from tests.integrations.test_remote_client import Sender

PRICES = {"big": (2.0, 8.0), "big-mini": (0.5, 1.0)}


def facts(usage: Any, model: str = "big", **more: Any) -> dict[str, Any]:
    return call_facts(usage, model=model, latency_ms=12.345, **more)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 1000, "completion_tokens": 500},
        {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500},
    ],
)
def test_tokens_are_counted_and_priced_by_either_name(usage: dict[str, int]) -> None:
    assert facts(usage, prices=PRICES) == {
        "model": "big",
        "input_tokens": 1000,
        "output_tokens": 500,
        "latency_ms": 12.3,
        "cost": 0.006,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("big", 10.0),
        ("big-mini", 1.5),
        ("vendor/big-mini", 1.5),
        ("big-2026-01-31", 10.0),
        ("big-20260131", 10.0),
        ("vendor/big-latest", 10.0),
        ("big-other", None),
        ("bigger", None),
    ],
)
def test_a_price_is_that_of_the_model_and_of_no_other(model: str, cost: float | None) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    assert facts(usage, model, prices=PRICES)["cost"] == cost


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 1}, {"prompt_tokens": "1"}, "x"])
def test_what_is_not_known_is_none_and_not_nothing(usage: Any) -> None:
    found = facts(usage, prices=PRICES)
    assert (found["output_tokens"], found["cost"]) == (None, None)


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    known = facts({"prompt_tokens": 1, "completion_tokens": 2}, prices=PRICES)
    assert summed([known, known])["input_tokens"] == 2
    assert summed([known, facts(None)])["cost"] is None


def test_prices_of_ones_own_replace_the_list() -> None:
    body = Sender().body | {"model": "gpt-4o"}
    body["usage"] = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    for prices, cost in (
        (None, LIST_PRICES["gpt-4o"][0]),
        ({"gpt-4o": (1.0, 1.0)}, 1.0),
        ({}, None),
    ):
        client = RemoteAbstractCoreLLMClient(
            server_base_url="http://x", model="gpt-4o", request_sender=Sender(body), prices=prices
        )
        assert client.generate(prompt="x")["metadata"]["call"]["cost"] == cost
