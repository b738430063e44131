"""Layers that are not trained: no gradient, no state of optimizers, and back again."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits

LOSS = "cross_entropy"
OPTIMIZERS = {
    "sgd": lambda: fnn.optim.SGD(lr=0.1, momentum=0.9),
    "adam": lambda: fnn.optim.Adam(lr=0.01),
    "amsgrad": lambda: fnn.optim.Adam(lr=0.01, amsgrad=True),
    "schedule": lambda: fnn.optim.Adam(lr=fnn.schedules.Cosine(1e-2, 100)),
    "rmsprop": lambda: fnn.optim.RMSprop(lr=0.01),
    "asgd": lambda: fnn.optim.ASGD(lr=0.01),
    "muon": lambda: fnn.optim.Muon(lr=0.01, fallback="adamw"),
    "lamb": lambda: fnn.optim.LAMB(lr=0.01),
    "adafactor": lambda: fnn.optim.Adafactor(lr=0.01),
    "sam": lambda: fnn.optim.Adam(lr=0.01, sam=0.05),
    "ema": lambda: fnn.optim.Adam(lr=0.01, ema=0.9),
    "swa": lambda: fnn.optim.SGD(lr=0.01, swa=2),
    "lookahead": lambda: fnn.optim.SGD(lr=0.01, lookahead=(3, 0.5)),
    "accumulate": lambda: fnn.optim.Adam(lr=0.01, accumulate=2),
    "clip": lambda: fnn.optim.Adam(lr=0.01, clip_norm=0.5),
    "groups": lambda: fnn.optim.Adam(
        lr=0.01, groups=lambda key: {"lr": 0.1} if key.startswith("4") else {}
    ),
}  # fmt: skip
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
# A batch leaves the accumulated gradient of half a step behind, which 4 steps an epoch do not.
BATCH = 16


def network(dtype="float64"):
    block = fnn.Residual([fnn.Dense(8), fnn.Tanh()])
    layers = [fnn.Dense(8), fnn.ReLU(), block, fnn.ReLU(), fnn.Dense(3)]
    return fnn.Sequential(layers, dtype=dtype, seed=1).build(5)


@pytest.fixture
def examples(rng):
    return rng.standard_normal((64, 5)), rng.integers(0, 3, 64)


def train(model, examples, optimizer, epochs=2, **options):
    """Fit, and return which layers have moved."""
    before = model.parameters.copy()
    model.fit(
        *examples,
        loss=LOSS,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=BATCH,
        verbose=0,
        **options,
    )
    parts = zip(model.named_parameters().items(), split(model, before), strict=True)
    return {key.split(".")[0] for (key, view), old in parts if not np.array_equal(view, old)}


def split(model, vector):
    return list(model._engine.named_parameters(vector).values())


def state_size(optimizer):
    state = optimizer.state_dict()["state"]
    return sum(array.size for arrays in state.values() for array in arrays.values())


def freeze(model, *numbers):
    for i, layer in enumerate(model.layers):
        if layer.learns:
            layer.trainable = i not in numbers


# ------------------------------------------------------------------------ what it means


def test_gradients_are_zero_there_and_the_same_elsewhere(rng, dtype, examples):
    X, y = examples
    model = network(dtype)
    v = rng.standard_normal(model.n_parameters)
    out, dX = model.forward(X), rng.standard_normal((64, 3))
    expected = model.loss_and_grad(X, y, loss=LOSS)[1], model.vjp(X)[1](dX)
    for frozen in ((0,), (2,), (4,), (0, 2), (2, 4), (0, 2, 4)):
        freeze(model, *frozen)
        free = np.ones(model.n_parameters, dtype)
        for key, view in model._engine.named_parameters(free).items():
            view[...] = int(key[0]) not in frozen
        assert_same_bits(model.forward(X), out)
        assert_same_bits(
            model.loss_and_grad(X, y, loss=LOSS)[1], np.where(free, expected[0], 0).astype(dtype)
        )
        dparameters, of_inputs = model.vjp(X)[1](dX)
        assert_same_bits(dparameters, np.where(free, expected[1][0], 0).astype(dtype))
        assert_same_bits(of_inputs, expected[1][1])  # all the way down all the same
        along = model.jvp(X, v)[1]
        assert_same_bits(along, model.jvp(X, v * free)[1])
        Hv = model.hvp(X, y, v, loss=LOSS)
        assert not Hv[free == 0].any()


def test_dense_made_frozen_and_refusals():
    assert fnn.Dense(3, trainable=False).trainable is False
    assert repr(fnn.Dense(3)) == "Dense(3)"
    assert fnn.Dense(3) != fnn.Dense(3, trainable=False)
    with pytest.raises(TypeError, match="trainable: expected True or False"):
        fnn.Dense(3).trainable = 1
    with pytest.raises(AttributeError, match="trainable: a ReLU has nothing to train"):
        fnn.ReLU().trainable = False
    with pytest.raises(AttributeError, match="layers are trained or not"):
        network().trainable = False
    block = fnn.Residual([fnn.Dense(3)])
    block.trainable = False
    model = fnn.Sequential([block]).build(3)
    assert model._engine.net.n_trainable == 0
    block.trainable = True
    assert model._engine.net.n_trainable == 12


# ------------------------------------------------------------------------ optimizers


@every_optimizer
def test_state_is_kept_of_what_is_trained(make, examples):
    """As much as is kept of these layers where all are trained, and nothing of the frozen one."""
    model, optimizer = network(), make()
    freeze(model, 2)
    assert train(model, examples, optimizer) == {"0", "4"}
    sizes = {key: sum(a.size for a in arrays.values())
             for key, arrays in optimizer.state_dict()["state"].items()}  # fmt: skip
    assert set(sizes) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    free, other = network(), make()
    train(free, examples, other)
    theirs = other.state_dict()["state"]
    assert sizes == {key: sum(a.size for a in theirs[key].values()) for key in sizes}


@every_optimizer
def test_freezing_and_unfreezing_between_fits(make, examples):
    model, optimizer = network(), make()
    assert train(model, examples, optimizer) == {"0", "2", "4"}
    before = state_size(optimizer)
    freeze(model, 0)
    assert train(model, examples, optimizer) == {"2", "4"}
    assert state_size(optimizer) < before
    freeze(model, 2)
    assert train(model, examples, optimizer) == {"0", "4"}
    freeze(model, 0, 2, 4)
    assert train(model, examples, optimizer) == set()
    freeze(model)
    assert train(model, examples, optimizer) == {"0", "2", "4"}
    assert state_size(optimizer) == before
    assert np.isfinite(model.parameters).all()


@every_optimizer
def test_a_frozen_layer_goes_on_as_a_constant(make, examples):
    """The steps of the others are those of a network that never had it trained."""
    one, other = network(), network()
    freeze(one, 0)
    freeze(other, 0)
    first, second = make(), make()
    train(one, examples, first, epochs=4)
    train(other, examples, second, epochs=2)
    other.layers[0].trainable = True
    other.layers[0].trainable = False
    train(other, examples, second, epochs=2)
    assert_same_bits(one.parameters, other.parameters)


@every_optimizer
def test_within_a_fit(make, examples):
    """A callback freezes a layer after the first epoch, and thaws it after the second."""
    model, moved = network(), []

    class Freezing(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            moved.append(model.named_parameters()["2.0.weight"].copy())
            model.layers[2].trainable = epoch != 0

    train(model, examples, make(), epochs=3, callbacks=[Freezing()])
    assert_same_bits(moved[0], moved[1])
    assert not np.array_equal(moved[1], moved[2])


@pytest.mark.parametrize("way", ["file", "copy"])
@pytest.mark.parametrize("frozen", [(), (0,), (0, 2, 4)])
@every_optimizer
def test_optimizers_that_were_saved_go_on(make, frozen, way, examples, tmp_path):
    model, optimizer = network(), make()
    freeze(model, *frozen)
    train(model, examples, optimizer)
    if way == "file":
        model.save(tmp_path / "m", optimizer=optimizer)
        other, theirs = fnn.load(tmp_path / "m", optimizer=True)
    else:
        other, theirs = copy.deepcopy((model, optimizer))
    for each, own in ((model, optimizer), (other, theirs)):
        freeze(each, 2)  # another one than before
        train(each, examples, own)
    if optimizer._groups is None or frozen != (
        0,
        2,
        4,
    ):  # nobody can be asked for the group of a new one
        assert_same_bits(other.parameters, model.parameters)


def test_groups_of_a_copy_stay(examples):
    model, optimizer = network(), OPTIMIZERS["groups"]()
    train(model, examples, optimizer)
    model, optimizer = copy.deepcopy((model, optimizer))
    freeze(model, 0)
    train(model, examples, optimizer)
    groups = {tuple(group.params): group["lr"] for group in optimizer.param_groups}
    assert groups == {("2.0.weight", "2.0.bias"): 0.01, ("4.weight", "4.bias"): 0.1}
    freeze(model)
    optimizer.param_groups[0]["lr"] = 0.5
    train(model, examples, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1, 0.01]


def test_what_is_assigned_to_groups_stays(examples):
    model, optimizer = network(), OPTIMIZERS["groups"]()
    train(model, examples, optimizer)
    optimizer.param_groups[1]["lr"] = 0.7
    freeze(model, 0, 2)  # one group is left
    train(model, examples, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7]
    freeze(model)
    train(model, examples, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.7]


def test_all_frozen(rng, examples):
    X, y = examples
    model = network()
    freeze(model, 0, 2, 4)
    adam = fnn.optim.Adam()
    history = model.fit(X, y, loss=LOSS, optimizer=adam, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(history["loss"], model.evaluate(X, y)["loss"], rtol=1e-12)
    assert history["loss"][0] == history["loss"][1] and state_size(adam) == 0
    assert not model.loss_and_grad(X, y)[1].any()
    assert "0 of them trained" in model.summary()


def test_layers_of_copies_are_their_own():
    model = network()
    for other in (copy.copy(model), copy.deepcopy(model)):
        other.layers[0].trainable = False
        assert model.layers[0].trainable and model._engine.net.n_trainable == model.n_parameters
    part = model[:2]  # those of a part are not
    part.layers[0].trainable = False
    assert not model.layers[0].trainable


def test_pretrained_layers_in_a_new_model(rng, examples):
    """What the tutorial does: the body of one model, frozen, under a new head."""
    X, y = examples
    trained = network()
    train(trained, examples, fnn.optim.Adam())
    body = trained[:-1]
    for layer in body.layers:
        if layer.learns:
            layer.trainable = False
    model = fnn.Sequential([*body.layers, fnn.Dense(2)], dtype="float64").build(5)
    model.parameters[: body.n_parameters] = body.parameters
    before = body.parameters.copy()
    labels = (y > 0).astype(int)
    model.fit(X, labels, loss=LOSS, epochs=2, verbose=0)
    assert_same_bits(model.parameters[: body.n_parameters], before)
    assert_same_bits(model[:-1].forward(X), body.forward(X))
    head = fnn.Sequential([fnn.Dense(2)], dtype="float64", seed=0).build(8)
    head.parameters = fnn.Sequential(model.layers, dtype="float64").build(5).parameters[-18:]
    head.fit(body.forward(X), labels, loss=LOSS, epochs=2, verbose=0)
    np.testing.assert_allclose(head.parameters, model.parameters[-18:], rtol=1e-9)
