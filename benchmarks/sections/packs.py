"""Many small networks at once: `fit_many`, and a pack in torch by batched products."""

import numpy as np

import pyfast_nn as fnn
from machine import set_threads
from measure import interleave, note_disturbed
from sections.table import markdown_table

ROWS, FEATURES, WIDTH, NETWORKS, BATCH = 18_000, 60, 256, 16, 256
ONE, MANY, IN_TURN = "fit_many, 1 thread", "fit_many", "fit, one after the other"


def examples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] + X[:, 2]).astype(np.float32)


def networks():
    layers = lambda: [fnn.Dense(WIDTH), fnn.ReLU(), fnn.Dense(WIDTH), fnn.ReLU(), fnn.Dense(1)]  # noqa: E731
    return [fnn.Sequential(layers(), seed=seed) for seed in range(NETWORKS)]


def options():
    return {"loss": "mse", "optimizer": fnn.optim.AdamW(lr=1e-3), "batch_size": BATCH, "verbose": 0}


def trainers(threads):
    """{who: run(epochs of all networks)}."""
    X, y = examples()
    packs = {name: networks() for name in (ONE, MANY, IN_TURN)}

    def many(name, used):
        def run(epochs):
            fnn.set_num_threads(used)
            fnn.fit_many(packs[name], X, y, epochs=epochs, **options())
            fnn.set_num_threads(threads)

        return run

    def in_turn(epochs):
        for model in packs[IN_TURN]:
            model.fit(X, y, epochs=epochs, **options())

    return {MANY: many(MANY, threads), ONE: many(ONE, 1), IN_TURN: in_turn} | of_torch(X, y)


def of_torch(X, y):
    try:
        import torch
    except ImportError:
        return {}

    def weights(*shape):
        return torch.nn.Parameter(torch.randn(*shape) * shape[1] ** -0.5)

    X, y = torch.tensor(X), torch.tensor(y)
    w = [weights(NETWORKS, *shape) for shape in ((FEATURES, WIDTH), (WIDTH, WIDTH), (WIDTH, 1))]
    b = [torch.nn.Parameter(torch.zeros(NETWORKS, 1, width)) for width in (WIDTH, WIDTH, 1)]
    optimizer = torch.optim.AdamW([*w, *b], lr=1e-3, fused=True)

    def run(epochs):
        for _ in range(epochs):
            for rows in torch.rand(NETWORKS, ROWS).argsort(1).split(BATCH, 1):
                out = X[rows]
                for k in range(3):
                    out = torch.baddbmm(b[k], out, w[k])
                    out = torch.relu(out) if k < 2 else out
                optimizer.zero_grad()
                ((out.squeeze(-1) - y[rows]) ** 2).mean(1).sum().backward()
                optimizer.step()

    return {"torch, batched products": run}


def run(arguments):
    set_threads(arguments.threads)
    contestants = trainers(arguments.threads)
    results = interleave(
        contestants,
        seconds=arguments.seconds,
        repeats=arguments.repeats,
        threads=arguments.threads,
    )
    ours = results[MANY].median
    steps = NETWORKS * -(-ROWS // BATCH)
    rows = [
        [
            name,
            f"{each.median:.3f}",
            f"{each.median / steps * 1e6:,.0f}",
            f"{each.median / ours:.2f}",
        ]
        for name, each in results.items()
    ]
    header = ["who", "s per epoch of all", "us per step of one", "times ours"]
    return (
        f"{NETWORKS} networks {FEATURES}-{WIDTH}-{WIDTH}-1, each with its own rows in batches of "
        f"{BATCH}, {ROWS:,} rows, AdamW, float32, {arguments.threads} threads; medians of "
        f"{arguments.repeats}.\n\n{markdown_table(header, rows)}"
        f"{note_disturbed('packs', results)}"
    )
