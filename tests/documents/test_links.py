"""Every relative link of every page leads somewhere: to a file, a folder or a heading."""

from pathlib import Path

import pytest

from tests.documents.pages import ROOT, anchors, links, pages, title

ELSEWHERE = ("http://", "https://", "mailto:")


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere, each with the reason."""
    problems: list[str] = []
    for link in links(page.read_text(encoding="utf-8")):
        if link.startswith(ELSEWHERE):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if file.startswith("/"):
            problems.append(f"{link}: write it relative to the page")
        elif not target.exists():
            problems.append(f"{link}: no such file")
        elif anchor and (
            target.suffix != ".md" or anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            problems.append(f"{link}: no such heading")
    return problems


@pytest.mark.parametrize("page", pages(), ids=title)
def test_every_relative_link_leads_somewhere_on(page: Path) -> None:
    assert broken_links(page) == []


def test_links_stay_inside_the_repository() -> None:
    outside = [
        f"{title(page)}: {link}"
        for page in pages()
        for link in links(page.read_text(encoding="utf-8"))
        if not link.startswith((*ELSEWHERE, "#"))
        and not (page.parent / link.partition("#")[0]).resolve().is_relative_to(ROOT)
    ]
    assert outside == []


def test_every_page_below_docs_can_be_reached_from_another_page() -> None:
    everything = pages()
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in everything
        for link in links(page.read_text(encoding="utf-8"))
        if not link.startswith((*ELSEWHERE, "#"))
    }
    linked |= {folder / "README.md" for folder in linked if folder.is_dir()}
    lost = [title(page) for page in everything if page.parent != ROOT and page not in linked]
    assert lost == []


def test_a_link_that_leads_nowhere_is_reported(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A heading, with `code`!\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n## One\n\n[a](other.md) [b](other.md#a-heading-with-code) [c](#one-1)\n"
        "[gone](gone.md) [no heading](other.md#b) [here](#two) ![image](gone.png)\n"
        "[by reference][ref] [out](https://example.org/x) `[code](in-line.md)`\n\n"
        "```\n[code](in-a-block.md)\n# Two\n```\n\n[ref]: also-gone.md\n"
    )
    assert [problem.partition(":")[0] for problem in broken_links(page)] == [
        "gone.md",
        "other.md#b",
        "#two",
        "gone.png",
        "also-gone.md",
    ]
