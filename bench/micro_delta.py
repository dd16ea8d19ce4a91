"""How long it takes to find, encode and apply what a step changed; prints medians.

python -m bench.micro_delta
"""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import orjson

from abstractruntime.core.delta import Encoding, apply_delta

WORDS = ["".join(random.Random(n).choices("abcdefghijklmnop", k=2 + n % 8)) for n in range(3000)]
Mutation = Callable[[dict[str, Any], int], None]


def prose(size: int, seed: int) -> str:
    """Text that looks like text: few of its pieces repeat."""
    return " ".join(random.Random(seed).choices(WORDS, k=size // 3))[:size]


def message(seed: int) -> dict[str, Any]:
    stamp = f"2026-01-01T00:00:{seed % 60:02}.000000+00:00"
    return {"role": "user", "n": 0, "at": stamp, "content": prose(940, seed)}


def steps(vars: dict[str, Any], mutate: Mutation, count: int) -> tuple[float, float, list[Any]]:
    """Median seconds of a step, mean bytes of a delta, all deltas; checks what they lead to."""
    encoding, live = Encoding.of(vars)
    first = encoding.text()
    took, deltas = [], []
    for n in range(count):
        mutate(live, n)
        begin = perf_counter()
        encoding, live, delta = encoding.step(live)
        took.append(perf_counter() - begin)
        deltas.append(delta or [])
    assert apply_delta(first, deltas) == encoding.text()
    return median(took), sum(len(orjson.dumps(d)) for d in deltas) / count, deltas


def row(name: str, vars: dict[str, Any], mutate: Mutation, count: int, target: float) -> None:
    seconds, size, _ = steps(vars, mutate, count)
    print(f"{name:46} {seconds * 1e6:9.1f} µs  (target {target:7.0f})  delta {size:8.0f} B")


def count_up(vars: dict[str, Any], n: int) -> None:
    vars["n"] = n


def count_inside(vars: dict[str, Any], n: int) -> None:
    vars["box"]["n"] = n


def append(vars: dict[str, Any], n: int) -> None:
    vars["n"] = n
    vars["messages"].append(message(n))


def grow(vars: dict[str, Any], n: int) -> None:
    box = vars["box"]
    box[0] = box[2] = n
    box[1].append(message(n))
    box[1][0]["n"] = n


def quote(vars: dict[str, Any], n: int) -> None:
    """Something outside holds on to parts of the messages, as a step's payload does."""
    vars["n"] = n
    HELD[:] = vars["messages"][-5:]


HELD: list[Any] = []


def main() -> None:
    """Print one line a case."""
    small = {"n": 0, "name": "a run", "plan": ["a", "b"], "notes": prose(520, 1), "done": None}
    messages = [message(n) for n in range(1000)]
    mib = prose(1 << 20, 2)
    row("600 B, a counter", small, count_up, 20000, 12)
    row("1 MiB string beside a counter", {"n": 0, "big": mib}, count_up, 300, 1500)
    row("1,000 messages beside a counter", {"n": 0, "messages": messages}, count_up, 300, 1500)
    nested = {"box": {"n": 0, "messages": messages}}
    row("1,000 messages beside a nested counter", nested, count_inside, 300, 1500)
    row(
        "1,000 messages, 5 of them held elsewhere", {"n": 0, "messages": messages}, quote, 100, 5000
    )
    row("1,000 messages and one more a step", {"n": 0, "messages": messages}, append, 100, 5000)

    seconds, size, _ = steps({"box": [0, [], 0]}, grow, 1000)
    total = size * 1000 / 1e6
    print(f"a list from 0 to 1,000 messages, counters around: {seconds * 1e6:.0f} µs a step,")
    print(f"    {total:.3f} MB of deltas (target 1.4)")

    big = {"n": 0, "box": {"n": 0, "messages": messages}}
    encoding, live = Encoding.of(big)
    text, made = encoding.text(), []
    for n in range(256):
        live["n"] = live["box"]["n"] = live["box"]["messages"][0]["n"] = n
        live["box"]["messages"][n]["content"] += "!"
        encoding, live, delta = encoding.step(live)
        made.append(delta or [])
    took = []
    for _ in range(20):
        begin = perf_counter()
        assert apply_delta(text, made) == encoding.text()
        took.append(perf_counter() - begin)
    print(f"256 deltas applied to 1 MiB: {median(took) * 1e3:.1f} ms (target 20)")


if __name__ == "__main__":
    main()
