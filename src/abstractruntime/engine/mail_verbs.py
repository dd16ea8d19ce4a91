"""The verbs of a Runtime that are about mailboxes; they delegate, as the others do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.commit import Message
from abstractruntime.core.machine.mail import DeadLetter
from abstractruntime.engine.operations.send import Said, emit, list_dead, list_unread, send
from abstractruntime.engine.requests import Flow

if TYPE_CHECKING:
    from abstractruntime.engine.settings import Settings

T = TypeVar("T")


class MailVerbs:
    """What a Runtime can say to runs, and read of what was said."""

    if TYPE_CHECKING:

        @property
        def _settings(self) -> Settings: ...

        def _drive(self, flow: Callable[[Driver], Flow[T]]) -> T: ...

    def send(
        self,
        run_id: str,
        name: str,
        payload: Any = None,
        *,
        dedupe_key: str | None = None,
        ttl_s: float | None = None,
        actor_id: str | None = None,
    ) -> str:
        """Put a message for the wait `name` into the run's mailbox; its id. Durable on return.

        The run may wait for it now, later, or not exist yet; it is moved by whoever moves runs. A
        `dedupe_key` that the run was sent before sends nothing. After `ttl_s` seconds the message
        is not delivered any more. Raises RunEnded, NotJson, LimitExceeded, UnsupportedByStore.
        """
        said = Said(name, payload, dedupe_key, ttl_s, actor_id)
        return self._drive(lambda _: send(self._settings, run_id, said))

    async def asend(
        self,
        run_id: str,
        name: str,
        payload: Any = None,
        *,
        dedupe_key: str | None = None,
        ttl_s: float | None = None,
        actor_id: str | None = None,
    ) -> str:
        """`send`, awaited; a thread waits for the medium."""
        import asyncio

        return await asyncio.to_thread(
            self.send,
            run_id,
            name,
            payload,
            dedupe_key=dedupe_key,
            ttl_s=ttl_s,
            actor_id=actor_id,
        )

    def emit(
        self,
        name: str,
        payload: Any = None,
        *,
        dedupe_key: str | None = None,
        ttl_s: float | None = None,
        actor_id: str | None = None,
    ) -> int:
        """Send to every run that waits for `name` now; how many it newly reached.

        Raises as `send`, and UnsupportedByStore where runs cannot be listed.
        """
        said = Said(name, payload, dedupe_key, ttl_s, actor_id)
        return self._drive(lambda _: emit(self._settings, said))

    async def aemit(
        self,
        name: str,
        payload: Any = None,
        *,
        dedupe_key: str | None = None,
        ttl_s: float | None = None,
        actor_id: str | None = None,
    ) -> int:
        """`emit`, awaited; a thread waits for the medium."""
        import asyncio

        return await asyncio.to_thread(
            self.emit, name, payload, dedupe_key=dedupe_key, ttl_s=ttl_s, actor_id=actor_id
        )

    def list_messages(self, run_id: str) -> list[Message]:
        """What the run was sent and has not read, and may still read; oldest first."""
        return self._drive(lambda _: list_unread(self._settings, run_id))

    def list_dead_letters(self, run_id: str) -> list[DeadLetter]:
        """What it was sent and will never read, with the reason: expired, or the run has ended."""
        return self._drive(lambda _: list_dead(self._settings, run_id))
