"""The scripted model says the same by either way of asking."""

from __future__ import annotations

import json

import httpx

from tests.integrations.stub import MODEL, Stub


def test_it_lists_its_model(stub: Stub) -> None:
    found = httpx.get(f"{stub.url}/models", trust_env=False).json()
    assert [each["id"] for each in found["data"]] == [MODEL]


def test_a_streamed_answer_is_the_whole_one_in_parts(stub: Stub) -> None:
    stub.says("one two  three")
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    url = f"{stub.url}/chat/completions"
    whole = httpx.post(url, json=asked, trust_env=False).json()
    streamed = httpx.post(url, json={**asked, "stream": True}, trust_env=False).text
    lines = [line.removeprefix("data: ") for line in streamed.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
    assert len(deltas) > 2
    assert "".join(deltas) == whole["choices"][0]["message"]["content"] == "one two  three"
