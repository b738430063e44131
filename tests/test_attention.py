"""Attention: blocks of queries, keys and columns, lengths, and transformers beside torch."""

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_close
from test_ops_of_networks import Problem, check_maps


def network(shape, units, values, cross=None, lengths=False):
    """Layers of the core: attention of X in a shape, by dense layers."""
    positions, channels = shape
    size = positions * channels
    x = [{"kind": "slice", "inputs": [0], "values": (0, size)}] if lengths else []
    x.append({"kind": "reshape", "inputs": [len(x)], "values": (1, positions, channels)})
    here = len(x)
    x.append({"kind": "dense", "inputs": [here], "units": units * (1 if cross else 3)})
    inputs = [len(x)]
    if cross:
        x.append({"kind": "dense", "inputs": [here], "units": 2 * units})
        inputs.append(len(x))
    if lengths:
        x.append({"kind": "slice", "inputs": [0], "values": (size, 1)})
        inputs.append(len(x))
    x.append({"kind": "attention", "inputs": inputs, "values": values})
    x.append({"kind": "dense", "inputs": [len(x)], "units": 2})
    return size + lengths, x


@pytest.mark.parametrize(
    ("positions", "units", "heads", "causal", "cross"),
    [
        (64, 16, 2, 0, False),
        (65, 6, 1, 1, False),
        (130, 4, 2, 0, False),
        (130, 4, 1, 1, False),
        (70, 3, 1, 0, True),
        (5, 80, 1, 1, False),  # a head of more columns than a block
        (3, 130, 1, 0, True),
        (20, 66, 3, 1, False),
    ],
)
def test_blocks_of_queries_keys_and_columns(
    isa, dtype, rng, positions, units, heads, causal, cross
):
    size, layers = network((positions, 2), units, (heads, causal, int(cross)), cross)
    check_maps(Problem(rng, dtype, size, layers, 2, loss="labels"))


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("cross", [False, True])
def test_positions_beyond_a_length_do_not_exist(isa, dtype, rng, causal, cross):
    size, layers = network((70, 2), 4, (2, causal, int(cross)), cross, lengths=True)
    problem = Problem(rng, dtype, size, layers, 6, loss="labels")
    problem.X[:, -1] = [0, 1, 64, 69.9, 200, -1]
    check_maps(problem)


# ------------------------------------------------------------------------------------------ layers


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_block_is_that_of_torch(isa, dtype, rng, norm_first, activation):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    options = {"norm_first": norm_first, "activation": activation, "batch_first": True}
    module = torch.nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, dtype=kind, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, dtype=kind)
    model = fnn.from_torch(torch.nn.Sequential(module, torch.nn.Flatten()), in_shape=(7, 12))
    block = model.layers[0]
    assert (block.num_heads, block.hidden, block.norm_first) == (3, 20, norm_first)
    X, dout = rng.standard_normal((2, 4, 7, 12)).astype(dtype)
    x = torch.tensor(X, requires_grad=True)
    out = module(x)
    out.backward(torch.tensor(dout))
    ours, back = model.vjp(X)
    assert_close(ours, out.detach().numpy().reshape(4, -1), dtype, 100)
    gradient, dX = back(dout.reshape(4, -1))
    assert_close(dX.reshape(X.shape), x.grad.numpy(), dtype, 100)
    theirs = {name: p.grad.numpy().T for name, p in module.named_parameters()}
    at = 0
    for name, view in model.named_parameters().items():
        torchs = theirs.pop(name.removeprefix("0.").replace("in_proj.", "in_proj_"))
        assert_close(gradient[at : at + view.size], torchs.ravel(), dtype, 100)
        at += view.size
    assert not theirs


@pytest.mark.once
def test_shapes_that_do_not_fit_are_refused():
    for layer, shape, message in (
        (fnn.MultiHeadAttention(3), (5, 8), "expected features that 3 heads share"),
        (fnn.MultiHeadAttention(2), 8, "expected positions, examples of shape"),
        (fnn.MultiHeadAttention(2, rotary=True), (4, 6), "expected heads of even width"),
        (fnn.TransformerBlock(2), 8, "expected positions, examples of shape"),
        (fnn.LearnedPositions(), 8, "expected positions, examples of shape"),
        (fnn.MultiHeadAttention(2, keys=[fnn.Dense(6)]), (4, 8), "expected keys of 8 features"),
    ):
        with pytest.raises(ValueError, match=message):
            fnn.Sequential([layer]).build(shape)
    with pytest.raises(ValueError, match="hidden: expected"):
        fnn.TransformerBlock(2, 0)
    with pytest.raises(ValueError, match="activation: expected"):
        fnn.TransformerBlock(2, activation="none")


@pytest.mark.once
def test_a_block_in_two_places_has_one_set_of_parameters():
    block = fnn.TransformerBlock(2, dropout=0.1)
    once = fnn.Sequential([block]).build((3, 4)).n_parameters
    assert fnn.Sequential([block, block]).build((3, 4)).n_parameters == once
    assert fnn.Sequential([block, fnn.TransformerBlock(2)]).build((3, 4)).n_parameters == 2 * once


@pytest.mark.once
def test_what_is_frozen_and_what_is_constant():
    layers = [fnn.SinusoidalPositions(), fnn.TransformerBlock(2, trainable=False), fnn.Dense(1)]
    model = fnn.Sequential(layers).build((3, 4))
    trained = {place.path for place in model._engine.graph.owners() if place.trainable}
    assert trained == {"2"}
    with pytest.raises(AttributeError, match="nothing to train"):
        layers[0].trainable = True
    assert fnn.branches.from_config(fnn.branches.to_config(layers)) == layers


@pytest.mark.once
def test_a_block_learns_to_sort():
    """What comes out at a position depends on all of them; layers row by row do not learn it."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 10, (2500, 8))
    y = np.sort(X, axis=1)
    found = {}
    for name, block in {
        "attention": fnn.TransformerBlock(4),
        "row by row": fnn.Residual([fnn.LayerNorm(), fnn.Dense(128), fnn.GELU(), fnn.Dense(32)]),
    }.items():
        layers = [fnn.Embedding(10, 32), fnn.LearnedPositions(), block, fnn.Dense(10)]
        model = fnn.Sequential(layers, seed=0)
        adam = fnn.optim.Adam(lr=5e-3)
        model.fit(
            X[:2000], y[:2000], loss="cross_entropy", optimizer=adam, epochs=12, batch_size=100
        )
        found[name] = np.mean(model.predict(X[2000:]) == y[2000:])
    assert found["attention"] > 0.95  # 0.997
    assert found["row by row"] < 0.6
