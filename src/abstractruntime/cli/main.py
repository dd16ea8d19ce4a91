"""The entry point of the `abstractruntime` command; without the extra `cli` it says what to do."""

from __future__ import annotations

import sys

NEEDS_EXTRA = 'abstractruntime: the command line needs an extra: pip install "abstractruntime[cli]"'


def entry_point() -> None:
    """Run the command line and exit: 0 ok, 1 error, 2 usage, 3 failed, 4 cancelled, 5 integrity,
    6 waiting, 130 interrupted."""
    try:
        import click
        import rich
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write(f"{NEEDS_EXTRA}\n")
        sys.exit(2)
    del click, rich
    from abstractruntime.cli.root import root

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its escape; it is no reason to fail.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    root.main(prog_name="abstractruntime")


if __name__ == "__main__":
    entry_point()
