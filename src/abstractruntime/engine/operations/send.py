"""send and emit: a message into a run's mailbox, or into those of all runs that wait for it.

Neither moves a run: whoever may, a host, a scheduler or a worker, finds the message there.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.canonical import exact
from abstractruntime.core.commit import Loaded, Message
from abstractruntime.core.identifiers import checked
from abstractruntime.core.machine.mail import DeadLetter, dead_letters, unread
from abstractruntime.core.models import RunState
from abstractruntime.core.times import normal, plus
from abstractruntime.engine.requests import Flow, Read
from abstractruntime.engine.settings import Settings
from abstractruntime.errors import InvalidInput
from abstractruntime.storage.base import Store

NAMESPACE = uuid.UUID("0b0c9a52-0c55-5d0e-8f0a-5b1f5d6c7e21")
"""Names of messages with a dedupe key: UUIDv5 (RFC 9562) of run id and key under it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is sent: under which name, by whom, and for how many seconds it is worth hearing."""

    name: str
    payload: Any
    dedupe_key: str | None = None
    ttl_s: float | None = None
    actor_id: str | None = None


def send(settings: Settings, run_id: str, said: Said) -> Flow[str]:
    """The id of the message, which is durable; that of the first where its key is known.

    Raises RunEnded, InvalidIdentifier, NotJson, LimitExceeded, InvalidInput for a ttl_s that is
    none, UnsupportedByStore.
    """
    message = _to(settings, checked(run_id, "run_id"), _checked(settings, said))
    yield Read(lambda store: store.send(message))
    return message.message_id


def emit(settings: Settings, said: Said) -> Flow[int]:
    """How many runs, waiting for it now, it newly reached; durable. Raises as `send`."""
    template = _checked(settings, said)

    def reach(store: Store) -> int:
        waiting = store.list_awaiting(said.name)
        return store.send_all([_to(settings, run_id, template) for run_id in waiting])

    reached: int = yield Read(reach)
    return reached


def list_unread(settings: Settings, run_id: str) -> Flow[list[Message]]:
    """The messages to the run that a wait may still take, oldest first."""
    run, messages = yield Read(lambda store: _mailbox(store, run_id))
    return unread(run, messages, normal(settings.now()))


def list_dead(settings: Settings, run_id: str) -> Flow[list[DeadLetter]]:
    """The messages to the run that no wait will take any more, oldest first."""
    run, messages = yield Read(lambda store: _mailbox(store, run_id))
    return dead_letters(run, messages, normal(settings.now()))


def _mailbox(store: Store, run_id: str) -> tuple[RunState | None, list[Message]]:
    loaded: Loaded | None = store.load(run_id)
    return None if loaded is None else loaded.run, store.list_messages(run_id)


def _checked(settings: Settings, said: Said) -> Message:
    checked(said.name, "name")
    for name, value in (("dedupe_key", said.dedupe_key), ("actor_id", said.actor_id)):
        if value is not None:
            checked(value, name)
    payload = exact(said.payload, path="$.payload")[1]
    now = normal(settings.now())
    expires_at = None
    if said.ttl_s is not None:
        if type(said.ttl_s) not in (int, float) or not 0 < said.ttl_s < math.inf:
            raise InvalidInput(f"ttl_s must be seconds above 0, found {said.ttl_s!r}")
        expires_at = plus(now, said.ttl_s)
    return Message("", "", said.name, payload, now, said.actor_id, said.dedupe_key, expires_at)


def _to(settings: Settings, run_id: str, message: Message) -> Message:
    key = message.dedupe_key
    named = None if key is None else str(uuid.uuid5(NAMESPACE, f"{run_id}\x1f{key}"))
    return Message(
        named or settings.new_id(),
        run_id,
        message.name,
        message.payload,
        message.sent_at,
        message.sent_by,
        key,
        message.expires_at,
    )
