"""``python -m g3n_cli`` and the console script ``g3n``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program and leave with its exit code."""
    try:
        from g3n_cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are still loading
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
