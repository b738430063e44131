"""Whole training steps: gather, forward, loss, backward, Adam."""

from dataclasses import dataclass
from math import prod

import numpy as np

from contestants import installed, networks
from contestants.networks import dense_sizes, kinds, mlp
from machine import bandwidth, last_level_cache, set_threads
from measure import interleave, note_disturbed
from sections.table import markdown_table, microseconds

TOLERANCE = 1e-3  # of the largest number of a gradient: rounding flips a ReLU now and then


@dataclass(frozen=True)
class Workload:
    name: str  # for --only
    layers: list
    batch: int
    steps: int  # of one epoch; no partial batch, which not everybody keeps
    described: str = ""  # where the name does not
    dropped: int = 0  # numbers of a row that pass ReLU and dropout, where that is the work
    shape: tuple = ()  # of an example, where that is more than features

    @property
    def in_shape(self):
        return self.shape or dense_sizes(self.layers)[0][:1]

    def data(self):
        rng = np.random.default_rng(0)
        shape = (self.batch * self.steps, *self.in_shape)
        kind, *numbers = self.layers[0]
        if kind == "embedding":
            x = rng.integers(0, numbers[0], shape)
        else:
            x = rng.standard_normal(shape, dtype=np.float32)
        *positions, classes = networks.out_shape(self.layers, self.in_shape)
        y = rng.integers(0, classes, (len(x), *positions))
        y.flat[:classes] = np.arange(classes)  # every class occurs
        return x, y

    @property
    def title(self):
        return f"{self.described or self.name}, {self.batch}"

    @property
    def flops(self):
        """Of the matrix products of a step: forward and both gradients."""
        products = networks.products(self.layers, self.in_shape)
        return 2 * self.batch * (3 * sum(products) - products[0])  # the input needs no gradient

    @property
    def bytes(self):
        """That a step must move to or from memory, whoever computes it.

        The rows of the batch; and, where they do not stay in the cache, the parameters and both
        moments of Adam, read and written.
        """
        layers = networks.each(self.layers)
        shapes = [shape for layer in layers for shape in networks.parameter_shapes(*layer)]
        parameters = sum(map(prod, shapes))
        rows = 4 * self.batch * prod(self.in_shape)
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


LENET = [
    *(("conv2d", 5, 1, 6, 1, 2), ("relu",), ("max_pool2d", 2)),
    *(("conv2d", 5, 6, 16, 1, 0), ("relu",), ("max_pool2d", 2)),
    ("flatten", 5, 5, 16),
    *mlp(400, 120, 84, 10),
]


def convolutions(stride):
    """3 x 3, with batch norm."""
    channels, strides = (3, 32, 64, 64), (1, stride, 1)
    layers = []
    for inputs, outputs, by in zip(channels, channels[1:], strides, strict=False):
        layers += [("conv2d", 3, inputs, outputs, by, 1), ("batch_norm", outputs), ("relu",)]
    return [*layers, ("mean_pool",), ("dense", 64, 10)]


SIGNALS = [
    *(("conv1d", 5, 9, 64, 1, 2), ("relu",), ("max_pool1d", 2)),
    *(("conv1d", 5, 64, 64, 1, 2), ("relu",), ("max_pool1d", 2)),
    *(("conv1d", 5, 64, 64, 1, 2), ("relu",), ("mean_pool",)),
    ("dense", 64, 6),
]


def transformer(blocks, times, units, heads, vocabulary):
    """Pre-norm; the loss is that of every position."""
    block = [
        ("residual", [("layer_norm", units), ("attention", units, heads)]),
        (
            "residual",
            [
                ("layer_norm", units),
                *(("dense", units, 4 * units), ("gelu",), ("dense", 4 * units, units)),
            ],
        ),
    ]
    return [
        *(("embedding", vocabulary, units), ("positions", times, units)),
        *block * blocks,
        *(("layer_norm", units), ("dense", units, vocabulary)),
    ]


DEEP_SET = [*mlp(3, 64, 64), ("relu",), ("sum_pool",), *mlp(64, 64, 10)]

WORKLOADS += [
    Workload(
        "lenet",
        LENET,
        batch=64,
        steps=8,
        shape=(28, 28, 1),
        described="LeNet, 28 x 28",
    ),
    *(
        Workload(
            f"convolutions-{stride}",
            convolutions(stride),
            batch=64,
            steps=2,
            shape=(32, 32, 3),
            described=f"3 x 3 convolutions 32-64-64, batch norm, stride {stride} in the second, "
            "32 x 32 x 3",
        )
        for stride in (2, 1)
    ),
    Workload(
        "signals",
        SIGNALS,
        batch=64,
        steps=4,
        shape=(128, 9),
        described="Conv1d 64-64-64, kernel 5, 128 x 9",
    ),
    *(
        Workload(
            kind,
            [(kind, 9, 64), ("dense", 64, 6)],
            batch=64,
            steps=4,
            shape=(128, 9),
            described=f"{kind.upper()} 64, 128 x 9",
        )
        for kind in ("lstm", "gru")
    ),
    Workload(
        "transformer",
        transformer(blocks=2, times=64, units=64, heads=4, vocabulary=64),
        batch=32,
        steps=4,
        shape=(64,),
        described="transformer, 2 blocks of 64 units and 4 heads, 64 positions",
    ),
    Workload(
        "deep-set",
        DEEP_SET,
        batch=64,
        steps=16,
        shape=(50, 3),
        described="Deep Set 64-64, 64, sets of 50 x 3",
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
            able = [module for module in modules if takes(module, kinds(workload.layers))]
            check_gradients(workload, able, x[: workload.batch], y[: workload.batch])
            trainers = {
                module.NAME: module.trainer(workload.layers, x, y, workload.batch)
                for module in able
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


def takes(module, layers):
    """Whether a contestant has these kinds of layers, and they are what it is for."""
    return layers <= module.KINDS and not layers.isdisjoint(getattr(module, "FOR", layers))


def check_gradients(workload, modules, x, y):
    """Raise if contestants do not compute the same: loss and gradient at the same weights."""
    modules = [module for module in modules if hasattr(module, "gradient")]
    if "dropout" in kinds(workload.layers):
        return
    weights = networks.initial(workload.layers, np.random.default_rng(0))
    weights = list(networks.leaves(weights))
    first = None
    for module in modules:
        loss, gradient = module.gradient(workload.layers, weights, x, y)
        values = np.concatenate([[loss], *map(np.ravel, gradient)])
        first = values if first is None else first
        error = np.abs(values - first).max() / np.abs(first).max()
        if not error < TOLERANCE:
            raise AssertionError(
                f"{workload.name}: {module.NAME} differs from {modules[0].NAME} by {error:.2g}"
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
