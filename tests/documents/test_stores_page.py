"""The stores that the page about stores shows pass the suite that it says they pass."""

import subprocess
import sys
from pathlib import Path

from abstractruntime.storage.base import Capability
from tests.documents.pages import ROOT
from tests.documents.test_snippets import python_of

PAGE = ROOT / "docs" / "stores.md"


def test_the_shown_stores_pass_the_store_contract(tmp_path: Path) -> None:
    module = tmp_path / "test_my_store.py"
    module.write_text(python_of(PAGE), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
    assert passed > 50


def test_the_page_names_every_capability() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [each.value for each in Capability if f"| `{each.value}` |" not in text] == []
