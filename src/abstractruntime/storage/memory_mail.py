"""Mailboxes in memory: messages by run and name, in the order they came, each taken once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import count

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
    expires_at: str | None
    text: bytes

    def alive(self, now: str | None) -> bool:
        """Whether it has not expired; None: that is not asked."""
        return now is None or self.expires_at is None or self.expires_at > now


# Ordered ones give their first at once, though thousands before it were taken out.
_Box = OrderedDict[str, tuple[int, Letter]]


class Mail:
    """Messages that no commit has consumed. Its store's lock guards it."""

    def __init__(self) -> None:
        self._boxes: dict[str, dict[str, _Box]] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._places = count()
        # Consumed ones too: a sender that tries again after the answer was used is not heard twice.
        self._seen: dict[str, set[tuple[str, str]]] = {}

    @staticmethod
    def sealed(message: Message) -> Letter:
        """The message as text; NotJson when its payload is no JSON."""
        return Letter(
            message.message_id,
            message.run_id,
            message.name,
            message.dedupe_key,
            message.expires_at,
            encode(asdict(message)),
        )

    def knows(self, letter: Letter) -> bool:
        """Whether the run was sent its id or dedupe key before."""
        return not self._seen.get(letter.run_id, set()).isdisjoint(_marks(letter))

    def deliver(self, letter: Letter) -> bool:
        """Put it at the end of its run's box; False: the same id or dedupe key counts once."""
        if self.knows(letter):
            return False
        self._seen.setdefault(letter.run_id, set()).update(_marks(letter))
        box = self._boxes.setdefault(letter.run_id, {}).setdefault(letter.name, OrderedDict())
        box[letter.message_id] = (next(self._places), letter)
        self._names.setdefault(letter.run_id, {})[letter.message_id] = letter.name
        return True

    def consume(self, run_id: str, message_ids: Iterable[str]) -> None:
        """Take messages out; ids that are not there were never delivered here."""
        names = self._names.get(run_id)
        if names is None:
            return
        boxes = self._boxes[run_id]
        for message_id in message_ids:
            name = names.pop(message_id, None)
            if name is not None:
                del boxes[name][message_id]
                if not boxes[name]:
                    del boxes[name]
        if not names:
            del self._names[run_id], self._boxes[run_id]

    def of(self, run_id: str, name: str | None) -> list[Message]:
        """The run's messages, oldest first; of one name when given."""
        boxes = self._boxes.get(run_id, {})
        return [_message(letter) for letter in _ordered(boxes, boxes if name is None else [name])]

    def next(self, run_id: str, names: Sequence[str], *, now: str, limit: int) -> list[Message]:
        """The oldest of these names that have not expired, at most `limit`."""
        found: list[Message] = []
        for letter in _ordered(self._boxes.get(run_id, {}), names):
            if len(found) >= limit:
                break
            if letter.alive(now):
                found.append(_message(letter))
        return found

    def has(self, run_id: str, names: Sequence[str], *, now: str | None) -> bool:
        """Whether a message of one of these names is there."""
        boxes = self._boxes.get(run_id, {})
        return any(letter.alive(now) for letter in _ordered(boxes, names))

    def any_of(self, run_id: str) -> bool:
        """Whether the run has messages."""
        return run_id in self._boxes

    def run_ids(self) -> list[str]:
        """Runs with messages."""
        return list(self._boxes)


class MemoryLines:
    """Messages of a pair as lines, by run."""

    def __init__(self) -> None:
        self._lines: dict[str, list[bytes]] = {}

    def append(self, run_id: str, line: bytes) -> None:
        """Add a line."""
        self._lines.setdefault(run_id, []).append(line)

    def after(self, run_id: str, position: int) -> tuple[list[bytes], int]:
        """The lines from a position on, and the position behind them."""
        lines = self._lines.get(run_id, [])
        return lines[position:], len(lines)

    def run_ids(self) -> list[str]:
        """Runs with lines."""
        return list(self._lines)


def _marks(letter: Letter) -> set[tuple[str, str]]:
    marks = {("id", letter.message_id)}
    if letter.dedupe_key is not None:
        marks.add(("key", letter.dedupe_key))
    return marks


def _ordered(boxes: dict[str, _Box], names: Iterable[str]) -> Iterator[Letter]:
    """The letters of these boxes, merged by the order they came in."""
    found = [boxes[name].values() for name in dict.fromkeys(names) if name in boxes]
    return (letter for _, letter in merge(*found, key=lambda pair: pair[0]))


def _message(letter: Letter) -> Message:
    return Message(**decode(letter.text))
