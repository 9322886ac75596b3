"""``python -m fuzz [--seconds N] [TARGET [FILE …]]``: every target, or one, each in a process of its own.

With files, the target is run on them once: so a crash is looked at again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CRASHES = Path(__file__).parent / "crashes"


def fuzz(name: str, seconds: int, inputs: list[str]) -> None:
    """Run one target in this process, which ends with it: on files once, from a directory of them on and on."""
    import atheris

    with atheris.instrument_imports(include=["ocipush", "fuzz"]):
        from fuzz.targets import TARGETS

    # A reader that takes 5 s for 8 KiB is not linear; 1 GiB holds Python, its libraries and the coverage counters.
    limits = ["-max_len=8192", "-timeout=5", "-rss_limit_mb=1024", f"-artifact_prefix={CRASHES}/{name}-"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-max_total_time={seconds}", "-print_final_stats=1", *inputs], TARGETS[name][0]
    )
    atheris.Fuzz()


def run(name: str, seeds: tuple[bytes, ...], seconds: int) -> bool:
    """Run one target in a process of its own, beginning with its seeds; whether it held."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "fuzz", "--seconds", str(seconds), name, corpus]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    lines = done.stderr.splitlines()
    runs = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "no")
    sys.stdout.write(f"{name}: {runs} runs, {'ok' if done.returncode == 0 else 'FAILED'}\n")
    if done.returncode:
        sys.stdout.write("\n".join(line for line in lines if not line.startswith("#")) + "\n")
    sys.stdout.flush()
    return done.returncode == 0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("target", nargs="?")
    parser.add_argument("file", nargs="*")
    options = parser.parse_args()
    CRASHES.mkdir(exist_ok=True)
    if options.file:
        fuzz(options.target, options.seconds, options.file)
    from fuzz.targets import TARGETS

    names = [options.target] if options.target else list(TARGETS)
    held = [run(name, TARGETS[name][1], options.seconds) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
