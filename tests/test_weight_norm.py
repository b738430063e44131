"""WeightNorm: norms and directions of weights as what is learned, in models."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from pyfast_nn import curvature, optim
from test_hessian import relative_error

LOSS = "mse"


def make(dtype="float64", rng=None, widths=(33, 17, 3), trainable=True):
    layers = []
    for units in widths[:-1]:
        layers += [fnn.WeightNorm(fnn.Dense(units, trainable=trainable)), fnn.Tanh()]
    model = fnn.Sequential([*layers, fnn.WeightNorm(fnn.Dense(widths[-1]))], dtype=dtype, seed=4)
    model.build(7)
    if rng is not None:
        for name, view in model.named_parameters().items():
            view[...] += 0.3 * rng.standard_normal(view.shape) * (name[-2:] != "_v")
    return model


def draw(rng, rows=40, dtype="float64", out=3):
    shapes = ((rows, 7), (rows, out))
    X, y = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return X, y


# ------------------------------------------------------------------------ the oracle


def of_layers(model, vector=None):
    named = {k: v.astype(np.float64) for k, v in model._engine.named_parameters(vector).items()}
    paths = dict.fromkeys(key.partition(".")[0] for key in named)
    return [[named[f"{p}.{name}"] for name in ("weight_v", "bias", "weight_g")] for p in paths]


def numpy_gradient(model, X, y):
    """Outputs, mean loss and its gradient, in the order of the parameters."""
    layers, a, inputs = of_layers(model), X.astype(np.float64), []
    for i, (v, b, g) in enumerate(layers):
        inputs.append(a)
        z = a @ (v * (g / np.sqrt((v**2).sum(0)))) + b
        a = np.tanh(z) if i < len(layers) - 1 else z
    d = 2 * (a - y) / a.size
    parts = []
    for i in reversed(range(len(layers))):
        (v, _, g), x = layers[i], inputs[i]
        n, dw = np.sqrt((v**2).sum(0)), x.T @ d
        dg = (dw * v).sum(0) / n
        parts.append([g / n * (dw - v * (dw * v).sum(0) / n**2), d.sum(0), dg])
        d = (d @ (v * (g / n)).T) * (1 - x**2)
    flat = np.concatenate([part.ravel() for layer in reversed(parts) for part in layer])
    return a, ((a - y) ** 2).mean(), flat


@pytest.mark.parametrize("widths", [(33, 17, 3), (1, 2, 3), (64, 130, 5)])
def test_against_numpy(isa, dtype, rng, widths):
    model = make(dtype, rng, widths)
    X, y = draw(rng, dtype=dtype, out=widths[-1])
    out, loss, expected = numpy_gradient(model, X, y)
    for rows in (2, 40):  # few rows are computed in another way
        assert_close(model.forward(X[:rows]), out[:rows], dtype, 200)
    value, gradient = model.loss_and_grad(X, y, loss=LOSS)
    assert_close(value, loss, dtype, 200)
    assert_close(gradient, expected, dtype, 500)
    for (dv, _, dg), (v, _, g) in zip(of_layers(model, gradient), of_layers(model), strict=True):
        assert dg.any() and not np.allclose(g, np.linalg.norm(v, axis=0))
        # along v itself the function does not change
        limit = 100 * np.finfo(dtype).eps * np.abs(expected).max()
        assert np.abs((dv * v).sum(0)).max() <= limit


def test_gradient_and_a_step_of_adam_equal_torch(rng):
    torch = autodiff.torch()
    model = make("float64", rng)
    X, y = draw(rng)
    net = torch.nn.Sequential(
        *[
            module
            for a, b in ((7, 33), (33, 17), (17, 3))
            for module in (
                torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(a, b)),
                torch.nn.Tanh(),
            )
        ][:-1]
    ).double()
    theirs = []
    for module, (v, b, g) in zip(net[::2], of_layers(model), strict=True):
        weight = module.parametrizations.weight
        theirs += [weight.original1, module.bias, weight.original0]
        with torch.no_grad():
            for to, values in zip(theirs[-3:], (v.T, b, g[:, None]), strict=True):
                to.copy_(torch.tensor(values.copy()))

    def flat(tensors):
        return np.concatenate([t.detach().numpy().T.ravel() for t in tensors])

    out = net(torch.tensor(X))
    np.testing.assert_allclose(model.forward(X), out.detach().numpy(), rtol=1e-12, atol=1e-13)
    torch.nn.functional.mse_loss(out, torch.tensor(y)).backward()
    gradient = model.loss_and_grad(X, y, loss=LOSS)[1]
    np.testing.assert_allclose(gradient, flat(p.grad for p in theirs), rtol=1e-10, atol=1e-14)
    torch.optim.Adam(net.parameters(), lr=0.01).step()
    model.fit(X, y, loss=LOSS, optimizer=optim.Adam(lr=0.01), epochs=1, batch_size=40, verbose=0)
    np.testing.assert_allclose(model.parameters, flat(theirs), rtol=1e-10, atol=1e-9)


# ------------------------------------------------------------------------ what it begins with


def test_the_first_function_is_that_of_the_dense_layer(rng, dtype):
    """Initialisation looks through it, both ways."""
    layers = [fnn.Dense(40), fnn.ReLU(), fnn.Dense(30, init="orthogonal"), fnn.Dense(3)]
    normed = [fnn.WeightNorm(x) if isinstance(x, fnn.Dense) else x for x in layers]
    plain, model = (fnn.Sequential(x, dtype=dtype, seed=5).build(7) for x in (layers, normed))
    X, _ = draw(rng, dtype=dtype)
    first = [m.named_parameters() for m in (plain, model)]
    assert_same_bits(first[1]["0.weight_v"], first[0]["0.weight"])  # he_normal
    assert_close(model[:2].forward(X), plain[:2].forward(X), dtype, 10)
    norms = np.linalg.norm(first[1]["2.weight_v"].astype(np.float64), axis=0)
    assert_close(first[1]["2.weight_g"], norms, dtype)
    one_more = fnn.WeightNorm(fnn.Dense(3, bias_init="one_more_input"))
    assert fnn.Sequential([one_more]).build(7).named_parameters()["0.bias"].all()


def test_a_column_of_zeros_has_no_direction(rng):
    for init in ("zeros", 0.0, 1e-60):
        with pytest.raises(ValueError, match="init: expected weights that have a direction"):
            fnn.Sequential([fnn.WeightNorm(fnn.Dense(3, init=init))], dtype="float32").build(7)
    model = make("float64", rng)
    X, y = draw(rng)
    model.named_parameters()["4.weight_v"][:, 1] = 0
    assert np.isnan(model.forward(X)).all(axis=0).tolist() == [False, True, False]
    assert np.isnan(model.loss_and_grad(X, y, loss=LOSS)[0])
    with pytest.raises(FloatingPointError):
        model.fit(X, y, loss=LOSS, epochs=1, verbose=0)


@pytest.mark.parametrize("size", [1e-200, 1e200, 1e-160, 1e300])
def test_norms_whose_squares_no_float64_holds(isa, rng, size):
    model = make("float64", rng)
    X, _ = draw(rng)
    expected = model.forward(X)
    model.named_parameters()["0.weight_v"][:, 2:5] *= size
    model.named_parameters()["4.weight_v"][...] *= size
    np.testing.assert_allclose(model.forward(X), expected, rtol=1e-10, atol=1e-12)
    model.named_parameters()["0.weight_v"][3, 3] = np.nan
    assert np.isnan(model.forward(X)).all()


# ------------------------------------------------------------------------ training


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda **k: optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, **k),
        lambda **k: optim.ASGD(lr=0.1, **k),
        lambda **k: optim.Adagrad(lr=0.1, **k),
        lambda **k: optim.Adadelta(lr=1.0, **k),
        lambda **k: optim.RMSprop(lr=0.01, momentum=0.5, centered=True, **k),
        lambda **k: optim.Adam(lr=0.01, amsgrad=True, **k),
        lambda **k: optim.AdamW(lr=0.01, **k),
        lambda **k: optim.Adamax(lr=0.01, **k),
        lambda **k: optim.NAdam(lr=0.01, **k),
        lambda **k: optim.RAdam(lr=0.01, **k),
        lambda **k: optim.Rprop(lr=0.01, **k),
        lambda **k: optim.Lion(lr=0.01, **k),
    ],
)
def test_every_optimizer_fused_and_stepwise(isa, dtype, rng, make_optimizer):
    """The same bits, and as by hand with gradients of the same model."""
    X, y = draw(rng, 60, dtype)
    options = {"loss": LOSS, "epochs": 3, "batch_size": 25, "shuffle": False, "verbose": 0}
    fused, stepwise, by_hand = make(dtype), make(dtype), make(dtype)
    for accumulate in (1, 2):
        fused.fit(X, y, optimizer=make_optimizer(accumulate=accumulate), **options)
        grouped = make_optimizer(accumulate=accumulate, groups=lambda key: {})
        stepwise.fit(X, y, optimizer=grouped, **options)
        assert_same_bits(fused.parameters, stepwise.parameters)
        if accumulate == 1:
            own = make_optimizer(params=by_hand.named_parameters())
            for _ in range(3):
                for rows in (slice(25), slice(25, 50), slice(50, 60)):
                    gradient = by_hand.loss_and_grad(X[rows], y[rows], loss=LOSS)[1]
                    own.step(by_hand._engine.named_parameters(gradient))
            assert not np.array_equal(by_hand.parameters, make(dtype).parameters)
            tolerance = 1e-4 if dtype == "float32" else 1e-11
            np.testing.assert_allclose(fused.parameters, by_hand.parameters, 0, tolerance)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda params: optim.Adam(params, lr=0.01, clip_norm=0.1, ema=0.9),
        lambda params: optim.SGD(params, lr=0.1, clip_units=0.01, lookahead=(2, 0.5)),
        lambda params: optim.SGD(params, lr=0.1, sam=0.1),
        lambda params: optim.Muon(params, lr=0.01, fallback="adamw"),
        lambda params: optim.LAMB(params, lr=0.01),
    ],
    ids=["clip and average", "units and lookahead", "sam", "muon", "lamb"],
)
def test_options_around_the_step(rng, make_optimizer):
    X, y = draw(rng, 60)
    fitted, by_hand = make(), make()
    optimizer, own = make_optimizer(None), make_optimizer(by_hand.named_parameters())

    def gradient():
        return by_hand._engine.named_parameters(by_hand.loss_and_grad(X, y, loss=LOSS)[1])

    for _ in range(4):
        if own.sam is not None:
            own.ascend(gradient())
        own.step(gradient())
    options = {"loss": LOSS, "epochs": 4, "batch_size": 60, "shuffle": False, "verbose": 0}
    history = fitted.fit(X, y, optimizer=optimizer, **options)
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(fitted.parameters, by_hand.parameters, rtol=1e-10, atol=1e-12)
    if own.ema is not None:
        with optimizer.averaged(), own.averaged():
            np.testing.assert_allclose(fitted.parameters, by_hand.parameters, rtol=1e-10)


def test_beside_other_layers_and_max_norm(rng, restore_threads):
    """Of any team; what is not normalised is as without."""
    X, y = draw(rng, 64, "float32")
    results = []
    for threads in (1, 2, 3, 5):
        fnn.set_num_threads(threads)
        layers = [fnn.Dense(300, constraint=fnn.MaxNorm(0.9)), fnn.ReLU(), fnn.BatchNorm()]
        layers += [fnn.WeightNorm(fnn.Dense(260)), fnn.ReLU(), fnn.Dropout(0.3), fnn.Dense(3)]
        model = fnn.Sequential(layers, seed=2)
        model.fit(X, y, loss=LOSS, epochs=3, batch_size=16, verbose=0)
        results.append(model.parameters)
        norms = np.linalg.norm(model.named_parameters()["0.weight"], axis=0)
        assert norms.max() == pytest.approx(0.9, rel=1e-6)
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_ridge_is_of_the_weights(isa, rng):
    """Half of the sum of squares of the weights is that of their norms."""
    X, y = draw(rng)
    model = make("float64", rng)
    loss, gradient = model.loss_and_grad(X, y, loss=LOSS)
    expected, penalty = gradient.copy(), 0.0
    for name, view in model._engine.named_parameters(expected).items():
        if name.endswith("weight_g"):
            view += 3.0 / 40 * (norms := model.named_parameters()[name])
            penalty += 1.5 * norms @ norms
    net, before = model._engine.network(), model.parameters.copy()
    options = {"order": np.arange(40), "batch_size": 40, "ridge": 3.0}
    report, seen = np.zeros(3), np.empty_like(before)
    net.train_stepwise(
        *(before, X, y, ("mse", {})),
        **{"gradient": seen, "take_step": lambda finite: False, "report": report, **options},
    )
    assert report[0] == pytest.approx(40 * loss + penalty, rel=1e-12)
    np.testing.assert_allclose(seen, expected, rtol=1e-10, atol=1e-14)
    update = ("sgd", {"momentum": 0.0, "weight_decay": 0.0, "nesterov": 0})
    net.train(
        *(model.parameters, X, y, ("mse", {})),
        **{"lr": 0.1, "update": update, "state": [], "step": 0, "report": report, **options},
    )
    assert report[0] == pytest.approx(40 * loss + penalty, rel=1e-12)
    np.testing.assert_allclose(model.parameters, before - 0.1 * expected, rtol=1e-11, atol=1e-13)


def test_frozen(rng):
    X, y = draw(rng)
    model = make(trainable=False)
    before = {name: view.copy() for name, view in model.named_parameters().items()}
    assert [layer.trainable for layer in model.layers[::2]] == [False, False, True]
    for optimizer in (optim.Adam(), optim.Adam(clip_norm=1.0)):
        model.fit(X, y, loss=LOSS, optimizer=optimizer, epochs=2, verbose=0)
        for name, view in model.named_parameters().items():
            assert np.array_equal(view, before[name]) == (name[0] != "4")
    gradient = model._engine.named_parameters(model.loss_and_grad(X, y)[1])
    assert not gradient["2.weight_g"].any() and gradient["4.weight_g"].any()
    model.layers[2].trainable = True
    assert model.layers[2].layer.trainable and model.layers[2] == fnn.WeightNorm(fnn.Dense(17))
    gradient = model._engine.named_parameters(model.loss_and_grad(X, y)[1])
    assert gradient["2.weight_g"].any() and not gradient["0.weight_v"].any()


def test_tied(rng):
    """One Dense in two of them is one set of parameters; and in a file."""
    dense = fnn.Dense(7)
    twice = [fnn.WeightNorm(dense), fnn.Tanh(), fnn.WeightNorm(dense)]
    model = fnn.Sequential(twice, dtype="float64").build(7)
    assert list(model.named_parameters()) == ["0.weight_v", "0.bias", "0.weight_g"]
    with pytest.raises(ValueError, match=r"layers\[1\]: expected layers of one kind where the"):
        fnn.Sequential([dense, fnn.WeightNorm(dense)]).build(7)


# ------------------------------------------------------------------------ curvature


def test_operators(isa, rng):
    """Of more examples than are computed at a time, and more directions than that, too."""
    X, y = draw(rng, 1100)
    model = make("float64", rng, (6, 4, 3))
    n = model.n_parameters
    columns = []
    for i in range(n):
        ends = []
        for h in (1e-5, -1e-5):
            moved = model.parameters.copy()
            moved[i] += h
            other = copy.deepcopy(model)
            other.parameters = moved
            ends.append(other.loss_and_grad(X, y, loss=LOSS)[1])
        columns.append((ends[0] - ends[1]) / 2e-5)
    expected = np.stack(columns, axis=1)
    for budget in (0, 10**9):
        H = curvature.Hessian(model, X, y, LOSS, memory_budget=budget)
        dense = H @ np.eye(n)
        assert relative_error(dense, expected) < 1e-7
        np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-14 * np.abs(dense).max() * 100)
        V = rng.standard_normal((n, 20))
        np.testing.assert_allclose(H.quadratic_form(V), (V * (dense @ V)).sum(0), rtol=1e-9)
        assert_same_bits(H @ V[:, 3], (H @ V)[:, 3].copy())
    J = curvature.Jacobian(model, X) @ np.eye(n)
    G = curvature.GaussNewton(model, X, y, LOSS) @ np.eye(n)
    np.testing.assert_allclose(G, 2 * J.T @ J / y.size, rtol=1e-9, atol=1e-13)


def test_what_is_refused_by_name(rng):
    X, y = draw(rng)
    model = make("float64", rng)
    G = curvature.GaussNewton(model, X, y, LOSS)
    for call in (
        lambda: curvature.exact_trace(G),
        lambda: curvature.exact_diagonal(G),
        lambda: list(curvature.per_example_gradients(model, X, y, LOSS)),
        lambda: curvature.per_example_gradient_norms(model, X, y, LOSS),
    ):
        with pytest.raises(ValueError, match=r"what 'weight_norm' \(layer 0\) adds"):
            call()
    estimate = curvature.hutchinson_trace(G, num_matvecs=400, seed=1).value
    assert abs(estimate / np.trace(G @ np.eye(model.n_parameters)) - 1) < 0.2


# ------------------------------------------------------------------------ as a layer


def test_descriptions(tmp_path, rng):
    layer = fnn.WeightNorm(fnn.Dense(8, init="he_normal", trainable=False))
    assert repr(layer) == "WeightNorm(Dense(8, init='he_normal', trainable=False))"
    assert layer.get_config() == {"layer": layer.layer} and layer.units == 8
    same = fnn.WeightNorm(fnn.Dense(8, init="he_normal", trainable=False))
    assert layer == same and hash(layer) == hash(same) and layer != fnn.WeightNorm(fnn.Dense(8))
    with pytest.raises(AttributeError, match="a WeightNorm does not change"):
        layer.layer = fnn.Dense(3)
    model = fnn.Sequential([layer, fnn.ReLU(), fnn.WeightNorm(fnn.Dense(3))], seed=2).build(5)
    assert "56 (frozen)             40" in model.summary()
    model.save(tmp_path / "m")
    loaded = fnn.load(tmp_path / "m")
    assert loaded.layers == model.layers and not loaded.layers[0].trainable
    X = rng.standard_normal((5, 5)).astype("float32")
    assert_same_bits(loaded.forward(X), model.forward(X))


def test_an_interrupted_or_failed_epoch_leaves_what_it_has_learned(rng):
    """The directions, not the weights that are computed of them, come back."""
    X, y = draw(rng, 60)
    model, shorter = make(), make()
    far = y.copy()
    far[50] = 1e200  # a loss that is infinite
    options = {"loss": LOSS, "epochs": 1, "batch_size": 20, "shuffle": False, "verbose": 0}
    with pytest.raises(FloatingPointError):
        model.fit(X, far, optimizer=optim.SGD(lr=0.1), **options)
    shorter.fit(X[:40], y[:40], optimizer=optim.SGD(lr=0.1), **options)
    assert_same_bits(model.parameters, shorter.parameters)


@pytest.mark.parametrize(
    ("make_wrong", "error", "message"),
    [
        (
            lambda: fnn.WeightNorm(64),
            TypeError,
            "layer: expected a Dense layer, got 64 (int); write WeightNorm(Dense(64))",
        ),
        (lambda: fnn.WeightNorm(fnn.ReLU()), TypeError, "layer: expected a Dense layer, got"),
        (lambda: fnn.WeightNorm([fnn.Dense(3)]), TypeError, "layer: expected a Dense layer, got"),
        (
            lambda: fnn.WeightNorm(fnn.WeightNorm(fnn.Dense(3))),
            TypeError,
            "layer: expected a Dense layer, got",
        ),
        (
            lambda: fnn.WeightNorm(fnn.Dense(3, constraint=fnn.MaxNorm(1))),
            ValueError,
            "layer: expected a Dense without constraint, as the norms are learned, got",
        ),
        (lambda: fnn.Sequential(["weightnorm"]), TypeError, "; write WeightNorm(Dense(units))"),
    ],
)
def test_what_is_wrong(make_wrong, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make_wrong()
