"""Whole training steps: gather, forward, loss, backward, Adam."""

from dataclasses import dataclass

import numpy as np

from contestants import installed
from contestants.networks import dense_sizes, kinds, mlp
from machine import bandwidth, last_level_cache, set_threads
from measure import interleave, note_disturbed
from sections.table import markdown_table, microseconds


@dataclass(frozen=True)
class Workload:
    name: str  # for --only
    layers: list
    batch: int
    steps: int  # of one epoch; no partial batch, which not everybody keeps
    described: str = ""  # where the name does not
    dropped: int = 0  # numbers of a row that pass ReLU and dropout, where that is the work

    def data(self):
        rng = np.random.default_rng(0)
        n = self.batch * self.steps
        sizes = dense_sizes(self.layers)
        features, classes = sizes[0][0], sizes[-1][1]
        x = rng.standard_normal((n, features), dtype=np.float32)
        y = rng.integers(0, classes, n)
        y[:classes] = np.arange(classes)  # every class occurs
        return x, y

    @property
    def title(self):
        return f"{self.described or self.name}, {self.batch}"

    @property
    def flops(self):
        """Of the matrix products of a step: forward and both gradients."""
        products = [inputs * outputs for inputs, outputs in dense_sizes(self.layers)]
        return 2 * self.batch * (3 * sum(products) - products[0])  # the input needs no gradient

    @property
    def bytes(self):
        """That a step must move to or from memory, whoever computes it.

        The rows of the batch; and, where they do not stay in the cache, the parameters and both
        moments of Adam, read and written.
        """
        sizes = dense_sizes(self.layers)
        parameters = sum((inputs + 1) * outputs for inputs, outputs in sizes)
        rows = 4 * self.batch * sizes[0][0]
        return rows + (6 * 4 * parameters if 3 * 4 * parameters > last_level_cache() else 0)


def residual_mlp(features, width, blocks, rate, classes):
    between = mlp(width, width, width, after=lambda _: [("dropout", rate)])
    block = ("residual", [("layer_norm", width), *between])
    return [("dense", features, width), *[block] * blocks, ("dense", width, classes)]


WORKLOADS = [
    Workload("64-64-10", mlp(64, 64, 10), batch=32, steps=56),
    Workload("784-512-512-10", mlp(784, 512, 512, 10), batch=32, steps=100),
    Workload("784-512-512-10", mlp(784, 512, 512, 10), batch=256, steps=24),
    Workload("1024x4-10", mlp(1024, 1024, 1024, 1024, 10), batch=1024, steps=4),
    Workload("784-2048-2048-10", mlp(784, 2048, 2048, 10), batch=256, steps=8),
    Workload("2048-2048-2048-10", mlp(2048, 2048, 2048, 10), batch=128, steps=8),
    Workload(
        "two-steps",
        mlp(2048, 2048, 2048, 10),
        batch=32,
        steps=2,
        described="2048-2048-2048-10 in epochs of two steps",
    ),
    Workload(
        "batch-norm",
        mlp(
            *(784, 512, 512, 10),
            before=lambda features: [("batch_norm", features)],
            after=lambda _: [("dropout", 0.5)],
        ),
        batch=128,
        steps=32,
        described="784-512-512-10 with batch norm and dropout",
    ),
    Workload(
        "residual",
        residual_mlp(64, 256, blocks=8, rate=0.1, classes=10),
        batch=256,
        steps=16,
        described="64-256, 8 residual blocks of 256-256, 10, with layer norm and dropout",
    ),
    Workload(
        "dropout",
        [("dense", 16, 512), *[("relu",), ("dropout", 0.1)] * 8, ("dense", 512, 10)],
        batch=64,
        steps=64,
        described="16-512, 8 x (ReLU, dropout), 10",
        dropped=8 * 512,
    ),
]


def run(arguments):
    names = dict.fromkeys(workload.name for workload in WORKLOADS)
    if arguments.only not in (None, *names):
        raise SystemExit(f"--only: {arguments.only} is none of {', '.join(names)}")
    set_threads(arguments.threads)
    modules, absent = installed("trainer")
    rows, notes = [], ""
    for workload in WORKLOADS:
        if arguments.only in (None, workload.name):
            x, y = workload.data()
            trainers = {
                module.NAME: module.trainer(workload.layers, x, y, workload.batch)
                for module in modules
                if kinds(workload.layers) <= module.KINDS
            }
            results = interleave(
                trainers,
                seconds=arguments.seconds,
                repeats=arguments.repeats,
                threads=arguments.threads,
            )
            rows += table_rows(workload, results, arguments.threads)
            notes += note_dropped(workload, results) + note_disturbed(workload.title, results)
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


def note_dropped(workload, results):
    """A line that tells what a number costs on its way through ReLU and dropout, and back."""
    if workload.dropped == 0:
        return ""
    numbers = workload.dropped * workload.batch * workload.steps
    each = [f"{name} {result.median / numbers * 1e9:.2g}" for name, result in results.items()]
    return f"\n{workload.title}: ns per number that is dropped or not: {', '.join(each)}.\n"


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
