"""``python -m ocipush`` and the ``ocipush`` command. May import: _cli."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code is returned, or raised as SystemExit."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.stderr.write("error: the command line needs click\nhint: pip install 'ocipush[cli]'\n")
        return 2
    from ._cli import cli

    cli.main(prog_name="ocipush")
    return 0


if __name__ == "__main__":
    sys.exit(main())
