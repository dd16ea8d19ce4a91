"""The client of a server: what it sends, what it reads, and which failures may pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime.errors import EffectFault, RetryableError, TerminalError
from abstractruntime.integrations.abstractcore import RemoteAbstractCoreLLMClient
from abstractruntime.integrations.abstractcore.faults import Secrets, seconds_of
from tests.integrations.stub import Reply, Stub, completion

CANARY = "canary-5f0c1b7e"
Generate = Callable[..., dict[str, Any]]


class Sender:
    """Keeps what it is asked to post, and answers with a body."""

    def __init__(self, body: dict[str, Any] | None = None) -> None:
        self.posted: list[dict[str, Any]] = []
        self.body = completion({"model": "m"}, "Hello.") if body is None else body

    def post(
        self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float
    ) -> dict[str, Any]:
        self.posted.append({"url": url, "headers": headers, "json": json, "timeout": timeout})
        return self.body


def client(sender: Any, **more: Any) -> RemoteAbstractCoreLLMClient:
    return RemoteAbstractCoreLLMClient(
        server_base_url="http://server/", model="m", request_sender=sender, **more
    )


def test_a_request_is_what_the_server_expects() -> None:
    sender = Sender()
    client(sender, headers={"Authorization": "Bearer x"}).generate(
        prompt="now",
        messages=[{"role": "assistant", "content": "before"}],
        system_prompt="be brief",
        tools=[{"name": "f"}],
        params={
            "base_url": "http://model/v1",
            "temperature": 0,
            "max_tokens": 5,
            "stop": ["x"],
            "seed": 1,
            "frequency_penalty": 0.5,
            "presence_penalty": None,
            "unknown": 1,
        },
    )
    (posted,) = sender.posted
    assert posted["url"] == "http://server/v1/chat/completions"
    assert posted["timeout"] == 60.0
    assert posted["headers"] == {"Authorization": "Bearer x"}
    assert posted["json"] == {
        "model": "m",
        "stream": False,
        "base_url": "http://model/v1",
        "temperature": 0,
        "max_tokens": 5,
        "stop": ["x"],
        "seed": 1,
        "frequency_penalty": 0.5,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": "before"},
            {"role": "user", "content": "now"},
        ],
        "tools": [{"name": "f"}],
    }


def test_a_request_without_extras_has_none() -> None:
    sender = Sender()
    client(sender).generate(prompt="", messages=[{"role": "user", "content": "x"}])
    assert sender.posted[0]["json"] == {
        "model": "m",
        "stream": False,
        "messages": [{"role": "user", "content": "x"}],
    }


def test_the_ids_of_the_run_are_sent_as_headers() -> None:
    sender = Sender()
    trace = {"run_id": "r", "actor_id": "é\n", "session_id": "s", "parent_run_id": "p"}
    client(sender).generate(prompt="x", params={"trace_metadata": trace}, idempotency_key="k")
    headers = sender.posted[0]["headers"]
    assert json.loads(headers.pop("X-AbstractCore-Trace-Metadata")) == trace
    assert headers == {
        "X-AbstractCore-Run-Id": "r",
        "X-AbstractCore-Actor-Id": "%C3%A9%0A",
        "X-AbstractCore-Session-Id": "s",
        "X-AbstractCore-Parent-Run-Id": "p",
        "Idempotency-Key": "k",
    }


def test_an_answer_has_all_its_keys() -> None:
    answer = client(Sender()).generate(prompt="x")
    call = answer["metadata"].pop("call")
    assert answer == {
        "content": "Hello.",
        "data": None,
        "tool_calls": [],
        "model": "m",
        "usage": {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1},
        "finish_reason": "stop",
        "metadata": {},
        "trace_id": None,
    }
    assert (call["model"], call["input_tokens"], call["output_tokens"]) == ("m", 0, 1)
    assert call["latency_ms"] >= 0


def test_tool_calls_of_a_model_are_read_whatever_its_arguments_are() -> None:
    body = completion({"model": "m"}, "")
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    calls.append({"id": "2", "type": "function", "function": {"name": "g", "arguments": "{oops"}})
    calls.append({"id": "3", "type": "function", "function": {"name": "h", "arguments": "[1]"}})
    body["choices"][0]["message"] = {"content": None, "tool_calls": calls}
    assert client(Sender(body)).generate(prompt="x")["tool_calls"] == [
        {"name": "f", "arguments": {"a": 1}, "call_id": "1"},
        {"name": "g", "arguments": {"_invalid_json": "{oops"}, "call_id": "2"},
        {"name": "h", "arguments": {"_invalid_json": "[1]"}, "call_id": "3"},
    ]


@pytest.fixture(params=["blocking", "awaiting"])
def generate(request: pytest.FixtureRequest, stub: Stub) -> Generate:
    """`generate` of a client of the stub by real HTTP, in either way."""

    def ask(headers: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
        remote = RemoteAbstractCoreLLMClient(
            server_base_url=stub.origin, model="stub-model", headers=headers, timeout_s=5
        )
        if request.param == "blocking":
            return remote.generate(**asked)
        return asyncio.run(remote.agenerate(**asked))

    return ask


def test_headers_and_key_reach_the_server_and_its_trace_id_comes_back(
    stub: Stub, generate: Generate
) -> None:
    stub.says(Reply("Hello.", headers={"X-AbstractCore-Trace-Id": "t-1"}))
    answer = generate(headers={"X-Own": "mine"}, prompt="x", idempotency_key="k")
    assert (answer["content"], answer["trace_id"]) == ("Hello.", "t-1")
    (asked,) = stub.chats
    assert (asked.headers["x-own"], asked.headers["idempotency-key"]) == ("mine", "k")


@pytest.mark.parametrize(
    ("reply", "fault", "after"),
    [
        (Reply(status=429, raw="{}", headers={"Retry-After": "7"}), RetryableError, 7.0),
        (Reply(status=408, raw="{}"), RetryableError, None),
        (Reply(status=500, raw="{}"), RetryableError, None),
        (Reply(status=503, raw="{}", headers={"Retry-After": "1.5"}), RetryableError, 1.5),
        (Reply("cut short", cut=True), RetryableError, None),
        (Reply(raw="<html>"), RetryableError, None),
        (Reply(raw="[]"), RetryableError, None),
        (Reply(raw="[" * 100_000), RetryableError, None),
        (Reply(raw="{}"), RetryableError, None),
        (Reply(status=400, raw='{"error": "bad"}'), TerminalError, None),
        (Reply(status=401, raw="{}"), TerminalError, None),
        (Reply(status=404, raw="{}"), TerminalError, None),
        (Reply(status=302, raw="{}", headers={"Location": "/x"}), TerminalError, None),
    ],
    ids=lambda value: (
        f"{value.status} {(value.raw or value.text)[:9]}" if isinstance(value, Reply) else ""
    ),
)
def test_failures_that_may_pass_are_told_from_those_that_do_not(
    reply: Reply, fault: type[EffectFault], after: float | None, stub: Stub, generate: Generate
) -> None:
    stub.says(reply)
    with pytest.raises(fault) as raised:
        generate(prompt="x")
    assert getattr(raised.value, "retry_after", None) == after


def test_a_server_that_is_not_there_may_come_back(stub: Stub, generate: Generate) -> None:
    stub.close()
    with pytest.raises(RetryableError, match="ConnectError"):
        generate(prompt="x")


def test_a_secret_that_a_server_says_back_is_in_no_error(stub: Stub, generate: Generate) -> None:
    stub.says(Reply(status=400, raw=json.dumps({"error": f"who is {CANARY}?"})))
    for headers in ({"Authorization": f"Bearer {CANARY}"}, {"X-Odd": CANARY}):
        with pytest.raises(TerminalError) as raised:
            generate(headers=headers, prompt="x")
        assert CANARY not in repr(raised.value) + repr(raised.value.__cause__)
        assert "[hidden]" in str(raised.value)


def test_a_secret_that_a_server_says_back_is_in_no_answer(stub: Stub, generate: Generate) -> None:
    stub.says(f"You are {CANARY}.")
    answer = generate(headers={"Authorization": f"Bearer {CANARY}"}, prompt="x")
    assert answer["content"] == "You are [hidden]."


def test_a_password_in_the_url_becomes_a_header(stub: Stub) -> None:
    sender = Sender({"not": "an answer"})
    remote = RemoteAbstractCoreLLMClient(
        server_base_url=f"http://me:{CANARY}@server", model="m", request_sender=sender
    )
    with pytest.raises(RetryableError) as raised:
        remote.generate(prompt="x")
    assert CANARY not in str(raised.value)
    assert sender.posted[0]["url"] == "http://server/v1/chat/completions"
    assert sender.posted[0]["headers"]["Authorization"].startswith("Basic ")


def test_a_time_to_wait_is_read_in_both_its_forms() -> None:
    assert seconds_of("3") == 3.0
    assert seconds_of("Thu, 01 Jan 1970 00:01:40 GMT", now=40.0) == 60.0
    assert seconds_of("Thu, 01 Jan 1970 00:01:40 GMT", now=400.0) == 0.0
    assert [seconds_of(text) for text in (None, "", "soon", "-1")] == [None] * 4
    assert [seconds_of(text) for text in ("9" * 400, "Thu, 01 Jan 9970 00:00:00 GMT")] == [3600] * 2


def test_short_and_plain_header_values_do_not_garble_what_is_said() -> None:
    secrets = Secrets({"Accept": "application/json", "X-A": "1", "X-Tenant": "production"})
    assert secrets.out_of_value("1 application/json in production") == (
        "1 application/json in production"
    )
