"""See the package's docstring."""

from __future__ import annotations

import argparse
import sys

from tools.dashboards.files import different, write


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or say which differ; exit code 1 where some do."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description="Make dashboards and alerts again.")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files differ")
    if not parser.parse_args(arguments).check:
        write()
        return 0
    found = different()
    for path in found:
        print(f"differs: {path}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
