"""The mailboxes of `MemoryStore`: messages by run, in the order they came, each taken once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Message
from abstractruntime.storage.memory_rows import encode


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as text, with what its delivery asks about."""

    message_id: str
    run_id: str
    name: str
    dedupe_key: str | None
    text: bytes


class Mail:
    """Messages that no commit has consumed. Its store's lock guards it."""

    def __init__(self) -> None:
        self._boxes: dict[str, dict[str, Letter]] = {}
        # Consumed ones too: a sender that tries again after the answer was used is not heard twice.
        self._seen: dict[str, set[Any]] = {}

    @staticmethod
    def sealed(message: Message) -> Letter:
        """The message as text; NotJson when its payload is no JSON."""
        return Letter(
            message.message_id,
            message.run_id,
            message.name,
            message.dedupe_key,
            encode(asdict(message)),
        )

    def deliver(self, letter: Letter) -> None:
        """Put it at the end of its run's box; the same id or dedupe key twice counts once."""
        seen = self._seen.setdefault(letter.run_id, set())
        marks: set[Any] = {letter.message_id}
        if letter.dedupe_key is not None:
            marks.add((letter.name, letter.dedupe_key))
        if seen.isdisjoint(marks):
            self._boxes.setdefault(letter.run_id, {})[letter.message_id] = letter
            seen |= marks

    def consume(self, run_id: str, message_ids: Iterable[str]) -> None:
        """Take messages out; ids that are not there were never delivered here."""
        box = self._boxes.get(run_id)
        if box is None:
            return
        for message_id in message_ids:
            box.pop(message_id, None)
        if not box:
            del self._boxes[run_id]

    def of(self, run_id: str, name: str | None) -> list[Message]:
        """The run's messages, oldest first; of one name when given."""
        return [
            Message(**decode(letter.text))
            for letter in self._boxes.get(run_id, {}).values()
            if name is None or letter.name == name
        ]

    def has(self, run_id: str, name: str | None) -> bool:
        """Whether a message of that name is there."""
        return any(letter.name == name for letter in self._boxes.get(run_id, {}).values())

    def run_ids(self) -> list[str]:
        """Runs with messages."""
        return list(self._boxes)
