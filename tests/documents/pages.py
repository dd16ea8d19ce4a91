"""Reads the project's Markdown pages: which there are, their code blocks, headings and links.

It knows Markdown only as far as our own pages use it; what must hold is each test's business.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "ROADMAP.md", "CHANGELOG.md")

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")


def pages() -> list[Path]:
    """The pages a reader meets, in a fixed order. Raises AssertionError when one of TOP is gone."""
    found = [ROOT / name for name in TOP]
    assert all(page.is_file() for page in found), f"missing: one of {TOP}"
    return found + sorted((ROOT / "docs").rglob("*.md"))


def title(page: Path) -> str:
    """A page's path in the repository: how tests name it."""
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


@dataclass(frozen=True)
class Block:
    """A fenced block: its info words (language first), text, and line of its first line of text."""

    info: tuple[str, ...]
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.info[0] if self.info else ""

    @property
    def runs(self) -> bool:
        return "no-run" not in self.info


def blocks(markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order. A block left open ends with the page."""
    opened: re.Match[str] | None = None
    lines: list[str] = []
    first = 0
    for number, line in enumerate([*markdown.splitlines(), None], start=1):
        if opened is None:
            opened = FENCE.match(line or "")
            lines, first = [], number + 1
        elif line is None or line.strip().startswith(opened["fence"]):
            yield Block(tuple(opened["info"].split()), textwrap.dedent("\n".join(lines)), first)
            opened = None
        else:
            lines.append(line)


def prose(markdown: str) -> str:
    """The page without fenced blocks and inline code: what links and headings are looked for in."""
    kept: list[str] = []
    opened: re.Match[str] | None = None
    for line in markdown.splitlines():
        if opened is None:
            opened = FENCE.match(line)
            kept.append("" if opened else line)
        else:
            opened = None if line.strip().startswith(opened["fence"]) else opened
            kept.append("")
    return "\n".join(kept)


def anchors(markdown: str) -> set[str]:
    """The #anchors a page offers: its headings as GitHub spells them, and explicit ids."""
    text = prose(markdown)
    found = set(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", text))
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def links(markdown: str) -> list[str]:
    """The targets of a page's links and images, inline and by reference, in order."""
    text = re.sub(r"`[^`\n]*`", "", prose(markdown))
    inline = r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)"
    reference = r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)"
    return re.findall(inline, text) + re.findall(reference, text, flags=re.MULTILINE)
