"""Whole training steps: gather, forward, loss, backward, Adam."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from contestants import installed
from machine import bandwidth, last_level_cache, set_threads
from measure import interleave, note_disturbed
from sections.table import markdown_table, microseconds


@dataclass(frozen=True)
class Workload:
    name: str
    sizes: tuple[int, ...]  # features, hidden ..., classes
    batch: int
    steps: int  # of one epoch; no partial batch, which not everybody keeps

    def data(self):
        rng = np.random.default_rng(0)
        n = self.batch * self.steps
        x = rng.standard_normal((n, self.sizes[0]), dtype=np.float32)
        y = rng.integers(0, self.sizes[-1], n)
        y[: self.sizes[-1]] = np.arange(self.sizes[-1])  # every class occurs
        return x, y

    @property
    def title(self):
        return f"{self.name}, {self.batch}"

    @property
    def flops(self):
        """Of the matrix products of a step: forward and both gradients."""
        products = [inputs * outputs for inputs, outputs in pairwise(self.sizes)]
        return 2 * self.batch * (3 * sum(products) - products[0])  # the input needs no gradient

    @property
    def bytes(self):
        """That a step must move to or from memory, whoever computes it.

        The rows of the batch; and, where they do not stay in the cache, the parameters and both
        moments of Adam, read and written.
        """
        parameters = sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.sizes))
        rows = 4 * self.batch * self.sizes[0]
        return rows + (6 * 4 * parameters if 3 * 4 * parameters > last_level_cache() else 0)


WORKLOADS = [
    Workload("64-64-10", (64, 64, 10), batch=32, steps=56),
    Workload("784-512-512-10", (784, 512, 512, 10), batch=32, steps=100),
    Workload("784-512-512-10", (784, 512, 512, 10), batch=256, steps=24),
    Workload("1024x4-10", (1024, 1024, 1024, 1024, 10), batch=1024, steps=4),
]


def run(arguments):
    names = [workload.name for workload in WORKLOADS]
    if arguments.only not in (None, *names):
        raise SystemExit(f"--only: {arguments.only} is none of {', '.join(names)}")
    set_threads(arguments.threads)
    modules, absent = installed()
    rows, notes = [], ""
    for workload in WORKLOADS:
        if arguments.only in (None, workload.name):
            x, y = workload.data()
            trainers = {
                module.NAME: module.trainer(workload.sizes, x, y, workload.batch)
                for module in modules
            }
            results = interleave(
                trainers,
                seconds=arguments.seconds,
                repeats=arguments.repeats,
                threads=arguments.threads,
            )
            rows += table_rows(workload, results, arguments.threads)
            notes += note_disturbed(workload.title, results)
    header = [
        "network, batch",
        "library",
        "us per step",
        "times ours",
        "of FMA peak",
        "times floor",
    ]
    left_out = f"\nNot installed: {', '.join(absent)}.\n" if absent else ""
    return (
        f"Training steps: Adam, float32, {arguments.threads} threads, shuffled epochs; "
        f"medians of {arguments.repeats}. "
        "The floor is max(FLOPs / FMA peak, bytes / bandwidth).\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}{left_out}"
    )


def table_rows(workload, results, threads):
    ours = next(iter(results.values())).median / workload.steps
    rows = []
    for library, result in results.items():
        seconds = result.median / workload.steps
        floor = max(workload.flops / result.peak, workload.bytes / bandwidth(threads))
        rows.append(
            [
                workload.title,
                library,
                microseconds(seconds),
                f"{seconds / ours:.1f}",
                f"{workload.flops / seconds / result.peak:.0%}",
                f"{seconds / floor:.1f}",
            ]
        )
    return rows
