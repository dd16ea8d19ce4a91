"""How long it takes to seal and to verify one ledger record; prints the best of several rounds.

python -m bench.micro_chain
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from typing import Any

from abstractruntime.core.canonical import chain_form, encode, key_form
from abstractruntime.core.chain import seal, verify_ledger_chain

HEAD: dict[str, Any] = {
    "run_id": "5f0c0a4e-0000-4000-8000-000000000001",
    "step_id": "5f0c0a4e-0000-4000-8000-000000000002",
    "node_id": "think",
    "status": "completed",
    "effect": {"type": "llm_call", "result_key": "answer"},
    "started_at": "2026-01-01T00:00:00.000000+00:00",
    "ended_at": "2026-01-01T00:00:01.000000+00:00",
    "actor_id": None,
    "session_id": None,
    "attempt": 1,
    "idempotency_key": "7a506b882e8a02019c0ab509b8711778",
    "visit": 3,
    "revision": 12,
    "chain": 2,
}
PAYLOAD: dict[str, Any] = {"prompt": "What is the capital of France?", "params": {"t": 0.5}}
RESULT: dict[str, Any] = {"content": "Paris", "usage": {"in": 12, "out": 3}, "tool_calls": None}


def row(name: str, call: Callable[[], object], target: float | None = None) -> None:
    count = 20000
    best = min(timeit.repeat(call, repeat=7, number=count)) / count
    print(f"{name:46} {best * 1e6:7.2f} µs" + (f"  (target {target:.0f})" if target else ""))


def main() -> None:
    """Print one line a case."""
    salt = lambda: os.urandom(16)  # noqa: E731
    prev = "ab" * 32
    payload, result = chain_form(PAYLOAD), chain_form(RESULT)
    digest, made = seal(HEAD, prev_hash=prev, salt=salt, payload=payload, result=result)
    ready = made["payload"]
    row("encode a payload", lambda: encode(PAYLOAD), 3)
    row("chain_form of a payload", lambda: chain_form(PAYLOAD), 3)
    row("key_form of a payload", lambda: key_form(PAYLOAD), 3)
    row(
        "seal a record, payload and result",
        lambda: seal(HEAD, prev_hash=prev, salt=salt, payload=payload, result=result),
        8,
    )
    row(
        "seal a record, payload committed before",
        lambda: seal(HEAD, prev_hash=prev, salt=salt, payload=ready, result=result),
        8,
    )
    record = {**HEAD, "result": RESULT, "error": None, "prev_hash": prev, "record_hash": digest}
    record["effect"] = {**HEAD["effect"], "payload": PAYLOAD}
    record["salts"] = {field: one.salt for field, one in made.items()}
    report = verify_ledger_chain([record])
    assert [error["type"] for error in report["errors"]] == ["prev_hash_mismatch"]
    row("verify a record", lambda: verify_ledger_chain([record]))


if __name__ == "__main__":
    main()
