"""Decision records are short, have one shape, and name the tests that hold them."""

import re
from pathlib import Path

import pytest

from tests.documents.pages import ROOT, links, title

FOLDER = ROOT / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    assert len(RECORDS) >= 7


def test_the_index_lists_every_decision_record_in_order() -> None:
    listed = [link for link in links((FOLDER / "README.md").read_text()) if link[0].isdigit()]
    assert listed == [record.name for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=title)
def test_a_decision_record_is_short_and_has_its_four_parts(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith(f"# {record.name[:4]}: ")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Enforced by"]


@pytest.mark.parametrize("record", RECORDS, ids=title)
def test_a_decision_record_names_what_enforces_it(record: Path) -> None:
    text = record.read_text(encoding="utf-8").partition("## Enforced by")[2]
    assert re.findall(r"`(tests/[\w/.]+)`", text)


def test_the_backlog_lists_every_page_of_its_folders() -> None:
    backlog = ROOT / "docs" / "backlog"
    listed = links((backlog / "README.md").read_text())
    held = [
        f"{folder}/{page.name}"
        for folder in ("planned", "completed")
        for page in sorted((backlog / folder).glob("*.md"))
    ]
    assert sorted(listed) == sorted(held)
