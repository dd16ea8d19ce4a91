"""Text from runs made safe to show: nothing in it can move a cursor, colour a line or break a file.

It knows characters only; where a text goes and how it is laid out is the surface's business.
"""

from __future__ import annotations

import unicodedata

NEWLINE = "⏎"

# What turns the direction of the text around it: a name could show as another one.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str, *, lines: bool = False) -> str:
    """The text with control, direction and surrogate characters written out as escapes.

    A line break becomes ⏎, with `lines` it stays one; a tab becomes a space.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character, lines) for character in text.replace("\r\n", "\n"))


def _shown(character: str, lines: bool) -> str:
    if character == "\n":
        return "\n" if lines else NEWLINE
    if character == "\t":
        return " "
    # Cc control, Cs half of a surrogate pair, Co private use, Cn nothing assigned; Zl and Zp break
    # lines in some terminals and editors.
    if character in _TURNING or unicodedata.category(character) in _HIDDEN:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


_HIDDEN = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})


def columns(text: str) -> int:
    """How many columns the text takes in a terminal or a fixed-width font."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def shortened(text: str, width: int) -> str:
    """The text in at most `width` columns, its middle left out when it is too long."""
    if columns(text) <= width:
        return text
    head = (width - 1 + 1) // 2
    front = _taken(text, head)
    back = _taken(text[::-1], width - 1 - columns(front))[::-1]
    return f"{front}…{back}"


def _taken(text: str, width: int) -> str:
    used, taken = 0, 0
    for character in text:
        used += columns(character)
        if used > width:
            break
        taken += 1
    return text[:taken]


def one_line(text: str, width: int) -> str:
    """The text on one line of at most `width` columns, its end left out when it is too long."""
    # What lies far beyond the width needs no look: a value may have megabytes.
    safe = visible(text[: width * 4 + 4])
    if columns(safe) <= width and len(text) <= width * 4 + 4:
        return safe
    return f"{_taken(safe, width - 1)}…"
