"""JSON over HTTP with httpx, blocking and awaiting, and its failures told apart. No other module
of the integration knows httpx."""

from __future__ import annotations

import json as jsons
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from abstractruntime.errors import RetryableError, TerminalError
from abstractruntime.integrations.abstractcore.extras import extra
from abstractruntime.integrations.abstractcore.faults import (
    EXCERPT,
    Secrets,
    of_status,
    seconds_of,
)

if TYPE_CHECKING:
    import asyncio

    import httpx

CONNECTIONS = 1000
"""As many calls may be under way at once; further ones wait for their turn until the timeout."""


class RequestSender(Protocol):
    """Posts JSON and gives the JSON object that came back; may have an awaiting twin `apost`."""

    def post(
        self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float
    ) -> dict[str, Any]: ...


class HttpAnswer(dict[str, Any]):
    """The JSON object of an answer; `headers` are those it came with, names in lower case."""

    def __init__(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(body)
        self.headers = {name.lower(): value for name, value in headers.items()}


class HttpxRequestSender:
    """Blocking calls keep connections open between them; awaiting ones while any is under way.

    Any thread and any event loop may use it. Raises RetryableError (with the server's Retry-After)
    for 408, 425, 429, 5xx, timeouts, cut connections and answers that are no JSON; TerminalError
    for other statuses and bad URLs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocking: httpx.Client | None = None
        self._awaiting: dict[asyncio.AbstractEventLoop, _Shared] = {}
        self._tls: Any = None

    def post(
        self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float
    ) -> dict[str, Any]:
        client = self._client()
        with _failing(Secrets(headers)):
            answer = client.post(url, headers=headers, json=json, timeout=timeout)
        return _read(answer, Secrets(headers))

    async def apost(
        self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float
    ) -> dict[str, Any]:
        """`post`, awaited."""
        async with self._aclient() as client:
            with _failing(Secrets(headers)):
                answer = await client.post(url, headers=headers, json=json, timeout=timeout)
        return _read(answer, Secrets(headers))

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._blocking is None:
                client = _httpx().Client(limits=_limits(), verify=self._context())
                self._blocking = client
                weakref.finalize(self, client.close)
            return self._blocking

    @asynccontextmanager
    async def _aclient(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client of the running loop; the last call under way closes it.

        A connection belongs to the loop it was opened on, and nobody says when a loop ends.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        with self._lock:
            shared = self._awaiting.get(loop)
            if shared is None:
                client = _httpx().AsyncClient(limits=_limits(), verify=self._context())
                shared = self._awaiting[loop] = _Shared(client)
            shared.calls += 1
        try:
            yield shared.client
        finally:
            with self._lock:
                shared.calls -= 1
                if shared.calls == 0:
                    del self._awaiting[loop]
            if shared.calls == 0:
                await shared.client.aclose()

    def _context(self) -> Any:
        """Certificates, read once: that takes longer than opening a connection."""
        if self._tls is None:
            self._tls = _httpx().create_ssl_context()
        return self._tls


@dataclass
class _Shared:
    client: httpx.AsyncClient
    calls: int = 0


def _httpx() -> Any:
    with extra("abstractcore", "httpx"):
        import httpx
    return httpx


def _limits() -> httpx.Limits:
    limits: httpx.Limits = _httpx().Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=100
    )
    return limits


def _read(answer: httpx.Response, secrets: Secrets) -> HttpAnswer:
    url = secrets.out_of(str(answer.request.url))
    if not answer.is_success:
        said = secrets.out_of(answer.text)[:EXCERPT].strip()
        text = f"{url} answered {answer.status_code}: {said or answer.reason_phrase}"
        raise of_status(answer.status_code, text, seconds_of(answer.headers.get("retry-after")))
    try:
        body = jsons.loads(answer.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RetryableError(f"{url} answered {answer.status_code} with no JSON object")
    return HttpAnswer(secrets.out_of_value(body), answer.headers)


@contextmanager
def _failing(secrets: Secrets) -> Iterator[None]:
    """What httpx raises inside, as a fault that tells no secret."""
    httpx = _httpx()
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        text = secrets.out_of(f"{type(error).__name__}: {error}")
        # The last two say that the request itself is wrong.
        passing = httpx.TransportError, httpx.DecodingError
        wrong = httpx.UnsupportedProtocol, httpx.LocalProtocolError
        if isinstance(error, passing) and not isinstance(error, wrong):
            raise RetryableError(text) from None
        raise TerminalError(text) from None
