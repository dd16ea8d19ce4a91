"""What a page shows is run: its Python, and its `$ abstractruntime` commands, in an empty folder.

The Python blocks of a page run in order in one process, then its commands in order in the same
folder. A block with `no-run` after its language is only shown.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents.pages import Block, blocks, pages, title

BIN = Path(sys.executable).parent
COMMAND = re.compile(r"^\$ (abstractruntime\b(?:.*\\\n)*.*)$", flags=re.MULTILINE)


def python_of(page: Path) -> str:
    """The page's Python, each block on the lines it has in the page, so that tracebacks fit."""
    lines: list[str] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python" and block.runs:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.text.splitlines()
    return "\n".join(lines)


def commands_of(page: Path) -> list[str]:
    """The page's `$ abstractruntime …` lines, those that end in a backslash with the next one."""
    shells: list[Block] = [
        block
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.language in {"console", "bash"} and block.runs
    ]
    return [command for block in shells for command in COMMAND.findall(block.text)]


def run(*arguments: str, folder: Path) -> None:
    """Runs a command in the folder as a reader would, with the environment's programs in reach."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments[-1]}\n{done.stdout}\n{done.stderr}"


def run_page(page: Path, folder: Path) -> None:
    """Runs everything a page shows. Raises AssertionError with the output of what failed."""
    source = python_of(page)
    if source:
        script = folder / f"{page.stem}.md.py"
        script.write_text(source, encoding="utf-8")
        run(sys.executable, str(script), folder=folder)
    for command in commands_of(page):
        run("bash", "-euo", "pipefail", "-c", command, folder=folder)


WITH_SNIPPETS = [page for page in pages() if python_of(page) or commands_of(page)]


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=title)
def test_what_the_page_shows_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


SAMPLE = """# A page

```python
kept = 1
```

1. In a list:

    ```python
    assert kept == 1
    open("made.txt", "w").write("x")
    ```

```python no-run
raise SystemExit("only shown")
```

```console
$ abstractruntime list \\
    --json
$ ls elsewhere
[]
```
"""


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_the_blocks_of_a_page_share_one_process_and_its_folder(tmp_path: Path) -> None:
    run_page(write(tmp_path, SAMPLE.partition("```console")[0]), tmp_path)
    assert (tmp_path / "made.txt").exists()


def test_a_block_that_fails_fails_its_page_and_names_the_line(tmp_path: Path) -> None:
    page = write(tmp_path, "# A page\n\n```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="line 4"):
        run_page(page, tmp_path)


def test_only_commands_of_abstractruntime_are_taken_from_a_console_block(tmp_path: Path) -> None:
    (command,) = commands_of(write(tmp_path, SAMPLE))
    assert command.split() == ["abstractruntime", "list", "\\", "--json"]


def test_a_command_that_fails_fails_its_page(tmp_path: Path) -> None:
    page = write(tmp_path, "```bash\n$ abstractruntime no-such-command\n```\n")
    with pytest.raises(AssertionError, match="no-such-command"):
        run_page(page, tmp_path)
