"""Time and memory of `import pyfast_nn`, beside `import numpy`, in fresh interpreters."""

import os
import statistics
import subprocess
import sys

from sections.table import markdown_table

# The resident set as Linux reports it: a child's ru_maxrss would start at that of its parent.
PROGRAM = """
import time
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
before, start = resident(), time.perf_counter()
import {module}
print(time.perf_counter() - start, resident() - before, resident())
"""
MODULES = ("numpy", "pyfast_nn")


def measure_import(module):
    """Seconds, and kilobytes of resident memory added and in total."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    # As pip leaves a package: with its bytecode, which the first (cold) run writes where it is not.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    return tuple(map(float, output.split()))


def run(arguments):
    measure_all = {module: [] for module in MODULES}
    for _ in range(arguments.repeats * 4 + 1):
        for module in MODULES:
            measure_all[module].append(measure_import(module))
    medians = {
        module: [statistics.median(column) for column in zip(*runs[1:], strict=True)]  # [0]: cold
        for module, runs in measure_all.items()
    }
    rows = []
    for module, (seconds, added, total) in medians.items():
        rows.append(
            [
                f"`import {module}`",
                f"{seconds * 1e3:.0f}",
                f"{seconds / medians['numpy'][0]:.2f}",
                f"{added / 1024:.1f}",
                f"{added / medians['numpy'][1]:.2f}",
                f"{total / 1024:.1f}",
            ]
        )
    header = ["", "ms", "times numpy", "MiB added", "times numpy", "MiB in total"]
    return f"Import: medians of {arguments.repeats * 4}.\n\n{markdown_table(header, rows)}"
