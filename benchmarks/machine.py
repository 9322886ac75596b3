"""What machine this is, as far as it tells."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from .contenders import ROOT


def describe() -> dict[str, str | int]:
    """Facts that decide how fast a push can be here."""
    return {
        "cpu": _first_after_colon("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory": f"{round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30)} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": _commit(),
    }


def _first_after_colon(path: str, label: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(label)), "")


def _commit() -> str:
    """The commit that is measured, with a + where files differ from it."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "src"], cwd=ROOT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return commit.stdout.decode().strip() + ("+" if changes else "")
