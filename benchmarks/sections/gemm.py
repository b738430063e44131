"""Matrix products on one thread, float32."""

import numpy as np

from machine import set_threads
from measure import interleave, note_disturbed
from pyfast_nn import _core
from sections.table import markdown_table, microseconds

SHAPES = [(512, 512, 512), (256, 784, 512)]  # rows, inner, columns


def repeat(function):
    def run(count):
        for _ in range(count):
            function()

    return run


def contestants(m, k, n):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k), dtype=np.float32)
    b = rng.standard_normal((k, n), dtype=np.float32)
    c = np.empty((m, n), np.float32)
    runs = {
        "pyfast_nn": repeat(lambda: _core.gemm(a, b, c, 1.0, 0.0, False, False)),
        "NumPy (its BLAS)": repeat(lambda: np.matmul(a, b, out=c)),
    }
    try:
        import torch
    except ImportError:
        return runs
    at, bt, ct = (torch.from_numpy(array) for array in (a, b, c))
    runs["torch"] = repeat(lambda: torch.mm(at, bt, out=ct))
    return runs


def run(arguments):
    set_threads(1)
    rows, notes = [], ""
    for m, k, n in SHAPES:
        results = interleave(
            contestants(m, k, n), seconds=arguments.seconds, repeats=arguments.repeats, threads=1
        )
        for library, result in results.items():
            rate = 2 * m * k * n / result.median
            rows.append(
                [
                    f"{m} x {k} x {n}",
                    library,
                    microseconds(result.median),
                    f"{rate / 1e9:.0f}",
                    f"{rate / result.peak:.0%}",
                ]
            )
        notes += note_disturbed(f"{m} x {k} x {n}", results)
    header = ["m x k x n", "library", "us", "GFLOP/s", "of FMA peak"]
    return (
        f"Matrix products: float32, one thread; medians of {arguments.repeats}.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}"
    )
