"""Peak memory and time of one way of asking, in a process of its own.

The kernel's high-water mark of resident memory (VmHWM) is set back before each run, and malloc returns what is freed
at once (`ENVIRONMENT`): under its defaults peaks of the same code differ by a factor of three from run to run. So the
numbers tell what was allocated; a process under the defaults may hold more. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from benchmarks.vlm_ways import Setup, Way, make_way

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_ARENA_MAX": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Cost:
    """What a run took: `peak` bytes above the loaded model, `seconds`; each the smaller of two runs'."""

    peak: int
    seconds: float


def cost(way: Way, setup: Setup) -> Cost | None:
    """Run a way in a new process; None where it did not finish (out of memory, or not on Linux)."""
    command = [sys.executable, "-m", "benchmarks.peak_memory", way, json.dumps(asdict(setup))]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(command, cwd=root, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    if run.returncode:
        print(f"{way} of {setup.kind} did not finish: {(run.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return Cost(**json.loads(run.stdout.splitlines()[-1]))


def _resident(name: str) -> int:
    """Bytes that /proc tells of this process: VmRSS now, VmHWM at most since it was set back."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"This system does not tell {name}.")


def _run(run: Callable[[], object], before: int) -> Cost:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started = time.perf_counter()
    run()
    return Cost(_resident("VmHWM") - before, time.perf_counter() - started)


def main() -> None:
    """Measure one way, as `cost` asks for it."""
    parser = argparse.ArgumentParser(description="Peak memory of one way of asking a model.")
    parser.add_argument("way", choices=get_args(Way))
    parser.add_argument("setup", help="JSON of a Setup")
    arguments = parser.parse_args()
    setup = Setup.from_json(json.loads(arguments.setup))
    way = make_way(arguments.way, setup)
    # Imports and the libraries' own buffers are not the prompt's: they come with one short text first.
    way.warm_up()
    gc.collect()
    before = _resident("VmRSS")
    runs = [_run(way.run, before) for _ in range(1 if setup.quick else 2)]
    least = Cost(min(run.peak for run in runs), min(run.seconds for run in runs))
    print(json.dumps(asdict(least)))


if __name__ == "__main__":
    main()
