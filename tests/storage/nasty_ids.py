"""Ids that somebody might use to leave a folder, to meet another's file, or by accident."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Iterator

from abstractruntime.storage.durable_files import file_name

LONG = "long-" + "é" * 200


def look_alikes(identifier: str) -> list[str]:
    """Ids whose files would be those of a long one, were digests enough to tell files apart."""
    affixes = (("run_", ".json"), ("ledger_", ".jsonl"), ("snapshot_", ".json"))
    return [
        file_name(prefix, identifier, suffix).removeprefix(prefix).removesuffix(suffix)
        for prefix, suffix in affixes
    ]


NASTY = (
    "", ".", "..", "...", "/", "//", "\\", "~", "~root", "-", "--help", " ", "  ", "\t", "\n",
    "../up", "..\\up", "a/../../b", "/etc/passwd", "//host/share", "C:\\boot.ini", "C:", "c:file",
    "file:///etc/passwd", "a/b", "a\\b", "./a", "a/.", "a//b", "%2e%2e%2fup", "..%2f", "\u2025/up",
    "\uff0e\uff0e\uff0fup", "a\x00b", "\x00", "a\nb", "a\rb", "a\x1b[2Jb", "a\x7fb", "a\x85b",
    "a\u2028b", "CON", "con", "NUL", "nul.json", "AUX", "COM1", "LPT9", "PRN.txt", "a:stream",
    "a::$DATA", "dot.", "dots..", "space ", " space", "a\u00a0", "case", "CASE", "Case",
    "\u00e9", "e\u0301", "\u212b", "\u00c5", "A\u030a", "\ufb01", "fi", "\u0130", "i\u0307",
    "stra\u00dfe", "strasse", "\u202egnp.exe", "\u200bzero", "zero", "\ufeffbom", "\u05d0\u05d1",
    "\ud800", "a\udfffb", "\ud83d\ude00", "\U0001f600", "*", "?", "a*", "[a]", "<a>", "a|b", '"',
    "'", "';DROP TABLE runs;--", "$HOME", "`id`", "$(id)", "{}", "%s", "{0}", "null", "None", "0",
    "-1", "1e9", "run_a", "run_a.json", "a.json", "a.tmp", "ledger_a", "a.jsonl", "a.torn", "lock",
    "a.meta", "a.bin", ".hidden", ".tmp", "a" * 255, "a" * 256, "a" * 257, "a" * 5000, "é" * 128,
    "é" * 256, "\U0001f600" * 64, "\U0001f600" * 256, LONG,
)  # fmt: skip
"""Refused or kept apart, each of them."""

_POOLS = (
    string.ascii_letters + string.digits,
    "./\\~-_: %",
    "".join(map(chr, range(0xA0))),
    "\u00e9\u00c9\u00df\u017f\u0131\u0130iIK\u212a\u00e5\u00c5\u212b\ufb01",
    "\u0300\u0301\u030a\u200b\u200d\u202e\u2066\ufeff\u2028\u2029",
    "אבجد日本語한글😀\U0001d518",
    "\ud800\udbff\udc00\udfff",
)


def fuzzed(count: int, seed: int) -> Iterator[str]:
    """So many different ids, always the same ones; the forms of one text are among them."""
    dice = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        pools = dice.sample(_POOLS, dice.randint(1, 3))
        length = dice.choice((1, 2, 3, 8, 40, 120, 255, 256, 257))
        text = "".join(dice.choice(dice.choice(pools)) for _ in range(dice.randint(1, length)))
        forms = [text, text.swapcase(), f"../{text}", f"{text}/..", f"{text}."]
        forms += [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC")]
        for form in forms:
            if form not in seen and len(seen) < count:
                seen.add(form)
                yield form
