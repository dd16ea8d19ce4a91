"""`python -m bench [start] [speed] [change] [files]`: all of it, or the parts named."""

from __future__ import annotations

import sys

from bench import change, files, speed, start

PARTS = {"start": start.run, "speed": speed.run, "change": change.run, "files": files.run}


def main(names: list[str]) -> int:
    """Run the parts; 1 when a figure misses its target."""
    lines = [line for name in names or PARTS for line in PARTS[name]()]
    missed = [line for line in lines if line.ok is False]
    print(f"{len(lines)} figures, {len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
