"""`python -m abstractruntime` is the `abstractruntime` command."""

from abstractruntime.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
