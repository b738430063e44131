"""Fits whose optimizer is more than one elementwise rule: groups, options, whole tensors."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from pyfast_nn import optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def make(dtype="float64"):
    layers = [fnn.Dense(16), fnn.Tanh(), fnn.Dense(2)]
    return fnn.Sequential(layers, dtype=dtype, seed=0).build(6)


def fit(model, optimizer, epochs=3, X=X, **options):
    options = {"batch_size": 32, "shuffle": False, "verbose": 0} | options
    y = Y[: len(X)]
    return model.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=epochs, **options)


def by_hand(model, optimizer, epochs=3, batch_size=32):
    """The same with the optimizer as a drop-in for the model's parameters."""
    for _ in range(epochs):
        for first in range(0, len(X), batch_size):
            rows = slice(first, first + batch_size)

            def gradient(rows=rows):
                return split(model, model.loss_and_grad(X[rows], Y[rows], loss="cross_entropy")[1])

            if optimizer.sam is not None:
                optimizer.ascend(gradient())
            optimizer.step(gradient())


def split(model, flat):
    views, first = {}, 0
    for name, p in model.named_parameters().items():
        views[name] = flat[first : first + p.size].reshape(p.shape)
        first += p.size
    return views


def by_layer(key):
    return {"lr": 0.001, "weight_decay": 0.1} if key == "2.weight" else {}


CASES = {
    "groups": lambda params: optim.AdamW(params, lr=0.01, groups=by_layer),
    "clip_norm": lambda params: optim.SGD(params, lr=0.5, momentum=0.9, clip_norm=0.05),
    "clip_value": lambda params: optim.Adam(params, lr=0.01, clip_value=0.01),
    "clip_units": lambda params: optim.SGD(params, lr=0.5, clip_units=0.01),
    "accumulate": lambda params: optim.Adam(params, lr=0.01, accumulate=3),
    "lookahead": lambda params: optim.Adam(params, lr=0.01, lookahead=(4, 0.5)),
    "sam": lambda params: optim.SGD(params, lr=0.5, sam=0.1),
    "sam and more": lambda params: optim.NAdam(
        params, lr=0.01, sam=0.1, clip_norm=0.1, accumulate=2, ema=0.9, groups=by_layer
    ),
    "schedule": lambda params: optim.SGD(
        params, lr=fnn.schedules.Cosine(0.5, 21), momentum=0.9, clip_norm=0.1
    ),
    "lamb": lambda params: optim.LAMB(params, lr=0.01),
    "adafactor": lambda params: optim.Adafactor(params, lr=0.01),
    "muon": lambda params: optim.Muon(params, lr=0.01, fallback="adamw"),
}


@pytest.mark.parametrize("name", CASES)
def test_as_by_hand(isa, name):
    fitted, expected = make(), make()
    optimizer = CASES[name](None)
    history = fit(fitted, optimizer)
    own = CASES[name](expected.named_parameters())
    by_hand(expected, own)
    assert not np.array_equal(fitted.parameters, make().parameters)
    np.testing.assert_allclose(fitted.parameters, expected.parameters, rtol=1e-10, atol=1e-12)
    assert optimizer.step_count == own.step_count == 21 // own.accumulate
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()
    if own.ema is not None:
        with optimizer.averaged(), own.averaged():
            np.testing.assert_allclose(fitted.parameters, expected.parameters, rtol=1e-10)


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.NAdam, optim.ASGD, optim.Rprop])
def test_the_same_bits_as_fused(isa, dtype, threads, cls):
    """A group for all parameters changes the way, not the result; nor does the first loss."""
    fused, stepwise = make(dtype), make(dtype)
    data = X.astype(np.float32)  # converted batch by batch, shuffled
    one = fit(fused, cls(lr=0.01), X=data, shuffle=True)
    two = fit(stepwise, cls(lr=0.01, groups=lambda key: {}), X=data, shuffle=True)
    assert_same_bits(fused.parameters, stepwise.parameters)
    for key in ("loss", "accuracy", "lr"):
        assert one[key] == two[key]


@pytest.mark.once
def test_frozen_layers():
    model, start = make(), make()
    optimizer = optim.AdamW(
        lr=0.01, clip_norm=1.0, groups=lambda key: {"trainable": not key.startswith("0.")}
    )
    fit(model, optimizer)
    for key, p in model.named_parameters().items():
        same = np.array_equal(p, start.named_parameters()[key])
        assert same == key.startswith("0.")
    assert optimizer.grad_norm > 0
    assert [g.params for g in optimizer.param_groups] == [
        ["0.weight", "0.bias"],
        ["2.weight", "2.bias"],
    ]


@pytest.mark.parametrize("name", CASES)
def test_goes_on_where_it_ended(isa, name):
    whole, parts = make(), make()
    fit(whole, CASES[name](None), epochs=4)
    optimizer = CASES[name](None)
    if name == "schedule":
        optimizer.lr = fnn.schedules.Cosine(0.5, 21)
    fit(parts, optimizer, epochs=1)
    fit(parts, optimizer, epochs=1)
    if "groups" not in name and "more" not in name:  # whose function cannot be pickled
        parts, optimizer = pickle.loads(pickle.dumps((parts, optimizer)))
    fit(parts, optimizer, epochs=1)
    parts, optimizer = copy.deepcopy((parts, optimizer))
    fit(parts, optimizer, epochs=1)
    assert_same_bits(parts.parameters, whole.parameters)


def test_options_given_between_fits(isa):
    """The state of the fused fit goes on step by step."""
    model, expected = make(), make()
    optimizer = optim.Adam(lr=0.01)
    fit(model, optimizer, epochs=2)
    optimizer.clip_norm = 0.01
    fit(model, optimizer, epochs=1)
    own = optim.Adam(expected.named_parameters(), lr=0.01)
    by_hand(expected, own, epochs=2)
    own.clip_norm = 0.01
    by_hand(expected, own, epochs=1)
    np.testing.assert_allclose(model.parameters, expected.parameters, rtol=1e-10, atol=1e-12)
    optimizer.clip_norm = None
    own.clip_norm = None
    fit(model, optimizer, epochs=1)
    by_hand(expected, own, epochs=1)
    np.testing.assert_allclose(model.parameters, expected.parameters, rtol=1e-10, atol=1e-12)


@pytest.mark.once
def test_the_model_of_an_optimizer():
    optimizer = optim.Adam(ema=0.9)
    model = make()
    fit(model, optimizer, epochs=1)
    with pytest.raises(ValueError, match="with the state of another model"):
        fit(make(), optimizer, epochs=1)
    twin = copy.copy(optimizer)
    assert twin.step_count == 7
    with pytest.raises(RuntimeError, match="averages"):  # no parameters before its next fit
        twin.averages  # noqa: B018
    fit(model, twin, epochs=1)
    assert twin.step_count == 14 and optimizer.step_count == 7
    other = fnn.Sequential([fnn.Dense(3), fnn.Tanh(), fnn.Dense(2)], dtype="float64", seed=0)
    with pytest.raises(ValueError, match=r"with that of others: state\['0.weight'\]"):
        fit(other, pickle.loads(pickle.dumps(optimizer)), epochs=1)


@pytest.mark.once
def test_a_loss_that_is_not_finite():
    wrong = X.copy()
    wrong[70] *= 1e200  # finite, but its loss is not
    model = fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=0).build(6)
    targets = np.zeros((200, 2))
    before = model.parameters.copy()

    def run(optimizer):
        return model.fit(
            wrong,
            targets,
            loss="mse",
            optimizer=optimizer,
            epochs=1,
            batch_size=32,
            shuffle=False,
            verbose=0,
        )

    with pytest.raises(FloatingPointError, match=r"epoch 1, step 3 of it.*\(it is 0.01\)"):
        run(optim.SGD(lr=0.01, clip_norm=1.0))
    assert not np.array_equal(model.parameters, before)
    optimizer = optim.SGD(lr=0.01, skip_nonfinite=True)
    history = run(optimizer)
    assert optimizer.skipped == 1 and optimizer.step_count == 6
    assert np.isnan(history["loss"][0]) or np.isinf(history["loss"][0])
    assert np.isfinite(model.parameters).all()


@pytest.mark.once
@pytest.mark.parametrize("calls", [1, 2, 5])
def test_interrupted_away_from_the_parameters(monkeypatch, calls):
    """Ctrl-C between the two calls of SAM: the parameters are not left where `ascend` went."""
    model, expected = make(), make()
    optimizer = optim.SGD(lr=0.5, sam=0.3)
    step, taken = optim.SGD.step, []

    def interrupted(self, grads):
        taken.append(1)
        if len(taken) == calls:
            raise KeyboardInterrupt
        step(self, grads)

    monkeypatch.setattr(optim.SGD, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, optimizer)
    monkeypatch.undo()
    assert optimizer.step_count == calls - 1
    if calls > 1:
        fit(expected, optim.SGD(lr=0.5, sam=0.3), epochs=1, X=X[: 32 * (calls - 1)])
    assert_same_bits(model.parameters, expected.parameters)
    fit(model, optimizer, epochs=1)
    assert optimizer.step_count == calls + 6


@pytest.mark.once
def test_what_a_callback_changes_holds_from_the_next_epoch_on():
    """An option, and a state: a fused fit goes on step by step, or from what was loaded."""

    class Change(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            if epoch == 0:
                change(optimizer)

    def clip(optimizer):
        optimizer.clip_norm = 0.01

    start = optim.Adam(lr=0.1)
    fit(make(), start, epochs=5)
    for change in (clip, lambda optimizer: optimizer.load_state_dict(start.state_dict())):
        model, expected = make(), make()
        optimizer = optim.Adam(lr=0.01)
        fit(model, optimizer, callbacks=[Change()])
        parts = optim.Adam(lr=0.01)
        fit(expected, parts, epochs=1)
        change(parts)
        fit(expected, parts, epochs=2)
        assert_same_bits(model.parameters, expected.parameters)
        assert optimizer.step_count == parts.step_count


@pytest.mark.once
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}])
def test_without_parameters(options):
    """There is nothing to update, in one call or step by step."""
    model = fnn.Sequential([fnn.Tanh()])
    optimizer = optim.Adam(**options)
    history = model.fit(X, X, loss="mse", optimizer=optimizer, epochs=2, batch_size=50)
    assert history["loss"][0] == history["loss"][1] > 0
    assert optimizer.step_count == 8


@pytest.mark.once
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}])
def test_states_are_freed_at_once(options):
    """An optimizer is in no circle of references, whose large states would wait for the gc."""
    optimizer = optim.Adam(**options)
    fit(make(), optimizer)
    alive = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert alive() is None
    finally:
        gc.enable()
