"""Walk a stranger's path, and time it: from nothing to a gated model of their own data.

    python examples/stranger.py SPEECH OUT --wheel dist/wav2small-*.whl

SPEECH is a folder of recordings. Each step is one line of a shell, run in a new
environment under OUT, and nothing is left out. The last two lines are the gate:
the report of today as the baseline, and a check against it as CI makes it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path


def commands(python: str, wheel: str, speech: Path) -> list[str]:
    """The lines that a stranger types."""
    target = "--target generic-m4-64k"
    return [
        f"{python} -m venv env",
        f"env/bin/pip install -q {shlex.quote(wheel + '[train,firmware]')}",
        f"env/bin/wav2small annotate {shlex.quote(str(speech))} labels",
        "env/bin/wav2small distill labels run --student wav2small-rt --epochs 10",
        f"env/bin/wav2small export run model --calibration {shlex.quote(str(speech))}",
        f"env/bin/wav2small bench model --emulate {target} --json baseline.json",
        f"env/bin/wav2small bench model --emulate {target} --ram 20KiB --flash 128KiB "
        "--baseline baseline.json --markdown bench.md --junit bench.xml",
    ]


def main() -> None:
    """Run each command, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path)
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    parser.add_argument("--wheel", default="wav2small", help="what pip installs")
    given = parser.parse_args()
    wheel = given.wheel
    if Path(wheel).exists():
        wheel = str(Path(wheel).resolve())
    lines = commands(sys.executable, wheel, given.speech.resolve())
    given.out.mkdir(parents=True)
    taken = []
    for line in lines:
        begun = time.monotonic(), os.times()
        done = subprocess.run(["bash", "-c", line], cwd=given.out)
        seconds, used = time.monotonic() - begun[0], os.times()
        work = used.children_user + used.children_system
        work -= begun[1].children_user + begun[1].children_system
        taken.append({"command": line, "seconds": seconds, "processor_seconds": work})
        print(f"{seconds:7.1f} s, {work:7.1f} s of processor time: {line}", flush=True)
        if done.returncode:
            sys.exit(f"ended with {done.returncode}: {line}")
    total, work = (sum(t[k] for t in taken) for k in ("seconds", "processor_seconds"))
    print(
        f"{len(lines)} commands, {total / 60:.1f} minutes, {work / 60:.1f} of processor"
    )
    (given.out / "times.json").write_text(json.dumps(taken, indent=1) + "\n")


if __name__ == "__main__":
    main()
