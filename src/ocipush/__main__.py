"""``python -m ocipush`` and the ``ocipush`` command. May import: _cli."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line. The exit code is returned, or raised as SystemExit."""
    if find_spec("click") is None:
        sys.stderr.write("error: the command line needs click\nhint: pip install 'ocipush[cli]'\n")
        return 2
    _start_and_end_fast()
    try:
        from ._cli.commands import cli

        cli.main(prog_name="ocipush")
    except KeyboardInterrupt:  # while modules are imported: nothing has started yet
        return 130
    return 0


def _start_and_end_fast() -> None:
    """Skip work that a short-lived process does not need: a push with nothing to send is mostly start and exit."""
    # httpx would import its own command line, and with it rich and pygments. None means "not installed".
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    # pydantic would read the metadata of every installed package to look for plug-ins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(50_000)  # imports create many objects and little garbage
    atexit.register(gc.freeze)  # no garbage collection at exit


if __name__ == "__main__":
    sys.exit(main())
