"""Products with the Hessian, traces and spectra, beside the gradient and beside other libraries."""

from contextlib import suppress

import numpy as np

import pyfast_nn as fnn
from machine import set_threads
from measure import interleave, note_disturbed
from pyfast_nn import curvature
from pyfast_nn.inspect import loss_landscape
from sections.table import markdown_table, microseconds

SIZES = (784, 256, 128, 10)
N = 1024
PROBES = 64
DENSITY_PROBES, STEPS = 8, 80
TRACE_PROBES = 30
LANDSCAPE = np.linspace(-1, 1, 25)  # of each of two directions
EACH = {"H @ V": f"each of {PROBES}", "landscape": f"each of {len(LANDSCAPE) ** 2} points"}


def problem():
    rng = np.random.default_rng(0)
    model = fnn.Sequential(
        [fnn.Dense(256), fnn.ReLU(), fnn.Dense(128), fnn.ReLU(), fnn.Dense(10)], seed=0
    )
    model.build(SIZES[0])
    x = rng.standard_normal((N, SIZES[0]), dtype=np.float32)
    return model, x, rng.integers(0, SIZES[-1], N)


def repeat(function):
    """Return run(count) for `interleave`."""

    def run(count):
        for _ in range(count):
            function()

    return run


def torch_runs(x, y, V):
    """Return {work: {library: (function, units of work)}} of what is installed."""
    runs = {"H @ v": {}, "H @ V": {}, "trace": {}, "density": {}, "landscape": {}}
    with suppress(ImportError):
        import torch

        from contestants import networks, torch_curvature

        layers = networks.mlp(*SIZES)
        transforms = torch_curvature.Transforms(layers, x, y)
        one = transforms.direction(torch.from_numpy(np.ascontiguousarray(V[:, 0])))
        all_of_them = transforms.direction(torch.from_numpy(np.ascontiguousarray(V.T)))
        runs["H @ v"]["torch.func"] = (lambda: transforms.product(one), 1)
        runs["H @ V"]["torch.func, one by one"] = runs["H @ v"]["torch.func"]
        runs["H @ V"]["torch.func, vmap"] = (lambda: transforms.products(all_of_them), PROBES)
        runs["density"]["Lanczos on torch.func"] = (
            lambda: torch_curvature.lanczos_density(transforms.flat_product, len(V), 1, STEPS),
            1 / DENSITY_PROBES,  # it takes one after another: one is enough to know its time
        )
        plane = torch.from_numpy(np.ascontiguousarray(V[:, :2].T))
        runs["landscape"]["torch, one by one"] = (
            lambda: transforms.landscape(plane, LANDSCAPE[:5]),
            5**2,  # one after another: few are enough to know the time of each
        )
        with suppress(ImportError):
            operator = torch_curvature.curvlinops_hessian(layers, x, y)
            v, many = torch.from_numpy(V[:, 0].copy()), torch.from_numpy(V)
            runs["H @ v"]["curvlinops"] = (lambda: operator @ v, 1)
            runs["H @ V"]["curvlinops"] = (lambda: operator @ many, PROBES)
        with suppress(ImportError):
            estimate = torch_curvature.pyhessian_trace(layers, x, y, TRACE_PROBES)
            runs["trace"][f"PyHessian, {TRACE_PROBES} probes"] = (estimate, 1)
    return runs


def run(arguments):
    set_threads(arguments.threads)
    model, x, y = problem()
    loss = "cross_entropy"
    H = curvature.Hessian(model, x, y, loss=loss)
    rng = np.random.default_rng(1)
    V = rng.standard_normal((model.n_parameters, PROBES), dtype=np.float32)
    v = V[:, 0].copy()
    ours = {
        "H @ v": [
            ("pyfast_nn", lambda: H @ v, 1),
            ("pyfast_nn, model.hvp", lambda: model.hvp(x, y, v, loss=loss), 1),
        ],
        "H @ V": [
            ("pyfast_nn", lambda: H @ V, PROBES),
            ("pyfast_nn, quadratic_form", lambda: H.quadratic_form(V), PROBES),
        ],
        "trace": [
            ("pyfast_nn, exact", lambda: curvature.exact_trace(H), 1),
            ("pyfast_nn, exact diagonal", lambda: curvature.exact_diagonal(H), 1),
        ],
        "density": [
            (
                "pyfast_nn",
                lambda: curvature.spectral_density(
                    H, num_probes=DENSITY_PROBES, lanczos_steps=STEPS, seed=0
                ),
                1,
            )
        ],
        "landscape": [
            (
                "pyfast_nn",
                lambda: loss_landscape(model, x, y, V[:, :2], LANDSCAPE, loss=loss),
                len(LANDSCAPE) ** 2,
            )
        ],
    }
    theirs = torch_runs(x, y, V)
    rows, notes = [], ""
    for work, runs in ours.items():
        functions = {name: (function, units) for name, function, units in runs} | theirs[work]
        contestants = {name: repeat(function) for name, (function, _) in functions.items()}
        contestants["gradient"] = repeat(lambda: model.loss_and_grad(x, y, loss=loss))
        results = interleave(
            contestants,
            seconds=arguments.seconds,
            repeats=arguments.repeats,
            threads=arguments.threads,
        )
        notes += note_disturbed(work, results)
        gradient = results.pop("gradient").median
        medians = {name: results[name].median / functions[name][1] for name in functions}
        first = medians[runs[0][0]]
        what = f"{work}, {EACH[work]}" if work in EACH else work
        rows += [
            [
                what,
                name,
                microseconds(seconds),
                f"{seconds / gradient:.2f}",
                f"{seconds / first:.2f}",
            ]
            for name, seconds in medians.items()
        ]
    header = ["work", "library", "us", "times our gradient", "times ours"]
    return (
        f"Curvature of {'-'.join(map(str, SIZES))} with cross-entropy, n = {N}: float32, "
        f"{arguments.threads} threads; medians of {arguments.repeats}. The density is that of "
        f"{DENSITY_PROBES} probes and {STEPS} steps.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}"
    )
