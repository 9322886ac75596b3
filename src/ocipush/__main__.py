"""``python -m ocipush`` and the ``ocipush`` command. May import: _cli."""

from __future__ import annotations

import atexit
import gc
import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line; the exit code is returned, or raised as SystemExit."""
    if find_spec("click") is None:
        sys.stderr.write("error: the command line needs click\nhint: pip install 'ocipush[cli]'\n")
        return 2
    _start_and_end_fast()
    try:
        from ._cli.commands import cli

        cli.main(prog_name="ocipush")
    except KeyboardInterrupt:  # while modules are imported; nothing is under way yet
        return 130
    return 0


def _start_and_end_fast() -> None:
    """Leave out what a process of its own need not do; a push that finds nothing to send is mostly start and end."""
    # httpx would import its own command line, and rich and pygments with it. None stands for "not installed".
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    gc.set_threshold(50_000)  # imports make many objects and no garbage
    atexit.register(gc.freeze)  # nor is there a need to look for any at the end


if __name__ == "__main__":
    sys.exit(main())
