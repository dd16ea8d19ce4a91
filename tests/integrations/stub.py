"""A model behind the OpenAI HTTP API that answers by a script, on a loopback port it chooses.

It keeps every request; what an answer means to a client is the tests' business.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "stub-model"


@dataclass(frozen=True)
class Asked:
    """One request: its path, its headers with lower-case names, its JSON body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """All the messages as one text."""
        return "\n".join(str(each.get("content")) for each in self.body.get("messages", []))


@dataclass(frozen=True)
class Reply:
    """What a request is answered with; `cut`: the connection ends in the middle of it."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: str | None = None
    cut: bool = False


Script = Callable[[Asked, int], "Reply | str"]
"""(request, how many chat requests came before it) -> the answer."""


def tool_call(name: str, **arguments: Any) -> str:
    """The text by which a model that is prompted for tools calls one."""
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<|tool_call|>{call}</|tool_call|>"


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class Stub:
    """The server; `script` may be changed at any time."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or (lambda asked, _: "Hello.")
        self.chats: list[Asked] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def origin(self) -> str:
        """http://127.0.0.1:port"""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base URL that OpenAI clients take."""
        return f"{self.origin}/v1"

    def says(self, *replies: Reply | str) -> None:
        """Answer with these in order from now on, then with the last one for ever."""
        first = len(self.chats)
        self.script = lambda _, n: replies[min(n - first, len(replies) - 1)]

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            count = len(self.chats)
            self.chats.append(asked)
        said = self.script(asked, count)
        return said if isinstance(said, Reply) else Reply(said)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(script: Script | None = None) -> Iterator[Stub]:
    """A stub for the length of a block."""
    stub = Stub(script)
    try:
        yield stub
    finally:
        stub.close()


def completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The body of a chat completion; a token is a word."""
    asked = sum(len(str(each.get("content")).split()) for each in body.get("messages", []))
    said = len(text.split())
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


def events(body: dict[str, Any], text: str) -> str:
    """The same answer as a stream of server-sent events, word by word."""
    whole = completion(body, text)
    words = text.split(" ")
    deltas = [word if n == 0 else f" {word}" for n, word in enumerate(words)]
    chunks = [
        {**whole, "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({**whole, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = [json.dumps({**chunk, "object": "chat.completion.chunk"}) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])


def _handler_of(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = [{"id": MODEL, "object": "model", "owned_by": "stub"}]
            self._send(Reply(raw=json.dumps({"object": "list", "data": models})))

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not self.path.endswith("/chat/completions"):
                self._send(Reply(status=404, raw="{}"))
                return
            reply = stub.answer(Asked(self.path, headers, body))
            if reply.raw is None and reply.status == 200 and body.get("stream"):
                reply = Reply(
                    headers={"content-type": "text/event-stream"}, raw=events(body, reply.text)
                )
            elif reply.raw is None and reply.status == 200:
                raw = json.dumps(completion(body, reply.text))
                reply = Reply(headers=reply.headers, raw=raw, cut=reply.cut)
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            content = (reply.raw if reply.raw is not None else reply.text).encode()
            headers = {"content-type": "application/json", **reply.headers}
            headers["content-length"] = str(len(content))
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode()
            if reply.cut:
                self.wfile.write(head + content[: len(content) // 2])
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(head + content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
