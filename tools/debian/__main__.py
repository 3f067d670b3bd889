"""`python -m tools.debian [12 | 13]...`: builds the packages, and prints where they are."""

from __future__ import annotations

import os
import sys

from tools.debian.building import package
from tools.debian.roots import RELEASES, DebianError


def main() -> int:
    wanted = sys.argv[1:] or list(RELEASES)
    if unknown := [number for number in wanted if number not in RELEASES]:
        print(f"no package for Debian {unknown[0]}, but for {' and '.join(RELEASES)}", file=sys.stderr)
        return 2
    if os.geteuid():
        print("a root of Debian can be made by root alone", file=sys.stderr)
        return 1
    try:
        for number in wanted:
            print(package(RELEASES[number]))
    except DebianError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
