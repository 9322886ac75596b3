"""``python -m ocipush`` and the ``ocipush`` command. May import: _cli."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line; the exit code is returned, or raised as SystemExit."""
    if find_spec("click") is None:
        sys.stderr.write("error: the command line needs click\nhint: pip install 'ocipush[cli]'\n")
        return 2
    try:
        from ._cli import cli

        cli.main(prog_name="ocipush")
    except KeyboardInterrupt:  # while modules are imported; nothing is under way yet
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
