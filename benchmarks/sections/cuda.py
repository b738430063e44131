"""Networks, Adam and products with the Hessian on a GPU, beside torch and JAX there."""

from contextlib import suppress

import numpy as np

import pyfast_nn as fnn
from contestants import pyfast_mlp
from contestants.networks import mlp
from measure import interleave
from sections.table import markdown_table, microseconds
from sections.training import Workload

WORKLOADS = [
    Workload("64-64-10", mlp(64, 64, 10), batch=32, steps=1000),
    Workload("784-512-512-10", mlp(784, 512, 512, 10), batch=1024, steps=60),
    Workload("4096x3-10", mlp(4096, 4096, 4096, 10), batch=4096, steps=8),
]
NUMBERS = 100_000_000  # parameters of Adam
ADAM_BYTES = 28  # for each: it and both moments read and written, its gradient read
HESSIAN = mlp(784, 256, 128, 10)
EXAMPLES = 1024


def run(arguments):
    try:
        name = fnn.cuda.get_device_name()
    except RuntimeError as error:
        return f"On a GPU: nothing was measured. {error}\n"
    try:
        from contestants import torch_cuda
    except ImportError:
        torch_cuda = None
    rows = [row for workload in WORKLOADS for row in training(workload, torch_cuda, arguments)]
    rows += hessian(torch_cuda, arguments)
    if torch_cuda is not None:
        rows += adam(torch_cuda, arguments)
    header = ["work", "library", "us", "times ours"]
    return (
        f"On a GPU ({name}), float32, or with operands of products rounded to the type that a name "
        f"ends with; training in shuffled epochs with Adam, a step. Medians of {arguments.repeats}."
        f"\n\n{markdown_table(header, rows, text_columns=2)}"
    )


def training(workload, torch_cuda, arguments):
    x, y = workload.data()
    runs = {"pyfast_nn": trainer(workload, x, y, "float32")}
    with suppress(RuntimeError):  # where cuBLASLt is not
        for name in ("tfloat32", "bfloat16"):
            runs[f"pyfast_nn, {name}"] = trainer(workload, x, y, name)
    if torch_cuda is not None:
        runs |= torch_cuda.trainers(workload.layers, x, y, workload.batch)
    with suppress(ImportError):
        import jax

        from contestants import jax_mlp

        if jax.default_backend() == "gpu":
            runs[jax_mlp.NAME] = jax_mlp.trainer(workload.layers, x, y, workload.batch)
    return timed(f"a step of {workload.title}", runs, arguments, units=workload.steps)


def trainer(workload, x, y, compute_dtype):
    """Return run(epochs)."""
    model = pyfast_mlp.network(workload.layers).to("cuda", compute_dtype=compute_dtype)
    model.build(x.shape[1:])
    optimizer = fnn.optim.Adam(lr=1e-3)
    how = {"loss": "cross_entropy", "batch_size": workload.batch, "verbose": 0}
    return lambda epochs: model.fit(x, y, optimizer=optimizer, epochs=epochs, **how)


def hessian(torch_cuda, arguments):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((EXAMPLES, 784), dtype=np.float32)
    y = rng.integers(0, 10, EXAMPLES)
    model = pyfast_mlp.network(HESSIAN).to("cuda").build(784)
    v = rng.standard_normal(model.n_parameters, dtype=np.float32)
    operator = fnn.curvature.Hessian(model, x, y, loss="cross_entropy")
    products = {"pyfast_nn": lambda: operator @ v}
    if torch_cuda is not None:
        with suppress(ImportError):
            products["curvlinops"] = torch_cuda.hessian_product(HESSIAN, x, y, v)
    return timed(f"H @ v, 784-256-128-10, {EXAMPLES}", repeated(products, torch_cuda), arguments)


def adam(torch_cuda, arguments):
    parameters, gradient, theirs = torch_cuda.adam(NUMBERS)
    optimizer = fnn.optim.Adam(parameters, lr=1e-3)
    steps = {"pyfast_nn": lambda: optimizer.step(gradient), "torch, fused": theirs}
    steps["a copy of as many bytes"] = torch_cuda.copying(NUMBERS * ADAM_BYTES // 8)
    return timed(f"Adam, {NUMBERS:,} numbers", repeated(steps, torch_cuda), arguments)


def repeated(functions, torch_cuda):
    """Return runs of so many calls each, that end when the GPU has done them."""

    def run(function):
        def calls(count):
            for _ in range(count):
                function()
            if torch_cuda is not None:
                torch_cuda.wait()

        return calls

    return {name: run(function) for name, function in functions.items()}


def timed(title, runs, arguments, units=1):
    how = {name: getattr(arguments, name) for name in ("seconds", "repeats", "threads")}
    results = interleave(runs, **how)
    ours = results["pyfast_nn"].median
    return [
        [title, name, microseconds(result.median / units), f"{result.median / ours:.2f}"]
        for name, result in results.items()
    ]
