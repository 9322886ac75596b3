"""Run commands one after another and print what they took together: wall time, CPU, peak memory. A script of its own.

It is run as ``python -I -S launch.py '{"commands": […], "log": …}'``: on Linux a process starts with the peak memory of
the one that spawned it, so commands are spawned from this small one.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run the commands until one fails."""
    job = json.loads(sys.argv[1])
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    user = system = peak = 0.0
    code = 0
    started = time.perf_counter()
    for command in job["commands"]:
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        user, system, peak = user + used.ru_utime, system + used.ru_stime, max(peak, used.ru_maxrss)
        if (code := os.waitstatus_to_exitcode(status)) != 0:
            break
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"seconds": seconds, "user": user, "system": system, "peak": int(peak * unit), "code": code}))


if __name__ == "__main__":
    main()
