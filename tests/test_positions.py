"""Data with positions: sequences (n, T, channels) and images (n, height, width, channels)."""

import pickle
import re

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import data, graph, layers, losses

# ------------------------------------------------------------------------ shapes


def places(network):
    return [(place.path, place.kind, place.in_shape, place.shape) for place in network.places]


@pytest.mark.once
def test_x_is_given_its_shape_where_it_is_read_first():
    found = graph.Graph((fnn.Rescale(), fnn.Dense(3), fnn.ReLU()), (4, 5, 2))
    assert places(found) == [
        ("0", "rescale", (40,), (40,)),  # which reads columns
        ("X", "reshape", (40,), (4, 5, 2)),
        ("1", "dense", (4, 5, 2), (4, 5, 3)),
        ("2", "relu", (4, 5, 3), (4, 5, 3)),
    ]
    assert found.described("float32")[1]["values"] == (4.0, 5.0, 2.0)
    assert [place.multiply_adds for place in found.places] == [40, 40, 20 * 2 * 3, 60]
    assert found.inputs == {"0": (4, 5, 2), "1": (4, 5, 2), "2": (4, 5, 3)}
    assert (found.in_shape, found.out_shape, found.features) == ((4, 5, 2), (4, 5, 3), 3)
    assert found.parameter_shapes() == {"1.weight": (2, 3), "1.bias": (3,)}


@pytest.mark.once
def test_branches_read_x_in_its_shape_once():
    found = graph.Graph((fnn.Add(fnn.Identity(), [fnn.Dense(2), fnn.Tanh()]), fnn.Dense(1)), (7, 2))
    assert [place.kind for place in found.places].count("reshape") == 1
    assert found.described("float32")[0]["values"] == (1.0, 7.0, 2.0)
    assert [place.inputs for place in found.places][-2:] == [(2, 4), (5,)]
    assert found.out_shape == (7, 1)


@pytest.mark.once
def test_columns_need_no_other_shape():
    found = graph.Graph((fnn.Dense(3),), 5)
    assert places(found) == [("0", "dense", (5,), (3,))]
    unknown = graph.Graph((fnn.Dense(3), fnn.ReLU()))
    assert (unknown.out_shape, unknown.features) == ((), 3)


class Halves(layers.Layer):
    """A layer that changes the positions, for what is said of shapes."""

    kind = "identity"

    def lay(self, network, path, value):
        positions, channels = network.shape(value)
        return network.add(self, path, self.kind, (value,), (positions // 2, channels))


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fnn.Residual([fnn.Dense(3)]), "put out shape (6, 2), as come in, got shape (6, 3)"),
        (
            fnn.Residual([Halves()]),
            "the same positions for Residual([Halves()]), got shapes (3, 2)",
        ),
        (fnn.Concatenate(Halves(), fnn.Dense(4)), "got shapes (3, 2) and (6, 4) of one example"),
        (fnn.Columns([(0, [fnn.Dense(2)])]), "expected X of columns, as Columns reads"),
    ],
)
def test_shapes_that_differ(layer, message):
    with pytest.raises(ValueError, match=rf"layers\[0\]: .*{re.escape(message)}"):
        graph.Graph((layer,), (6, 2))


@pytest.mark.once
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5), (3, 0), (3, 1.5), "ab", (2**16, 2**16)])
def test_what_is_no_shape_of_an_example(shape):
    with pytest.raises((TypeError, ValueError), match="in_features"):
        fnn.Sequential([fnn.Dense(2)]).build(shape)


# ------------------------------------------------------------------------ rows of all positions
#
# A network whose layers work on each position by itself is the same network on rows.

LAYERS = (fnn.Dense(5), fnn.Tanh(), fnn.LayerNorm(), fnn.Dense(3))
N, T, CHANNELS = 9, 4, 2


def pair(layers=LAYERS, shape=(T, CHANNELS), **options):
    """Models of sequences and of their rows, with the same parameters."""
    whole = fnn.Sequential(layers, dtype="float64", seed=2, **options).build(shape)
    rows = fnn.Sequential(layers, dtype="float64", seed=2, **options).build(CHANNELS)
    assert whole.out_shape == (*shape[:-1], rows.out_features) and whole.in_shape == shape
    np.testing.assert_array_equal(whole.parameters, rows.parameters)
    return whole, rows


def targets_of(loss, rng, shape, k=3):
    if losses.check(loss).task == "classes":
        return rng.integers(0, k, shape)
    values = rng.integers(0, 2, (*shape, k)).astype(float)
    return 2 * values - 1 if loss == "hinge" else values


@pytest.mark.parametrize(
    "loss", [name for name in losses.NAMES if losses.check(name).task != "pairs"]
)
def test_losses_are_means_over_all_positions(loss, rng):
    whole, rows = pair()
    X, v = rng.standard_normal((N, T, CHANNELS)), rng.standard_normal(whole.n_parameters)
    y, weights = targets_of(loss, rng, (N, T)), rng.uniform(0, 2, (N, T))
    weights[rng.random((N, T)) < 0.3] = 0
    flat_X, flat_y = X.reshape(N * T, -1), y.reshape(N * T, *y.shape[2:])
    for own, flat in (
        ({}, {}),
        ({"sample_weight": weights}, {"sample_weight": weights.ravel()}),
        ({"sample_weight": weights[:, 0]}, {"sample_weight": weights[:, 0].repeat(T)}),
    ):
        mine = whole.loss_and_grad(X, y, loss=loss, **own)
        its = rows.loss_and_grad(flat_X, flat_y, loss=loss, **flat)
        assert mine[0] == pytest.approx(its[0], rel=1e-13)
        np.testing.assert_allclose(mine[1], its[1], rtol=1e-10, atol=1e-13)
        assert whole.evaluate(X, y, loss=loss, **own) == pytest.approx(
            rows.evaluate(flat_X, flat_y, loss=loss, **flat), rel=1e-13
        )
        mine = whole.hvp(X, y, v, loss=loss, **own)
        its = rows.hvp(flat_X, flat_y, v, loss=loss, **flat)
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)


def test_outputs_have_positions(rng):
    X, flat_X = (X := rng.standard_normal((N, 3, T, CHANNELS))), X.reshape(-1, CHANNELS)
    whole, rows = pair(shape=(3, T, CHANNELS))
    v = rng.standard_normal(whole.n_parameters)
    np.testing.assert_array_equal(whole.forward(X).reshape(-1, 3), rows.forward(flat_X))
    assert whole.forward(X).shape == (N, 3, T, 3)
    for method in ("predict", "predict_proba"):
        mine = getattr(whole, method)(X, loss="cross_entropy")
        its = getattr(rows, method)(flat_X, loss="cross_entropy")
        np.testing.assert_array_equal(mine, its.reshape(N, 3, T, *its.shape[1:]))
    assert whole.predict(X, loss="mse").shape == (N, 3, T, 3)
    for mine, its in zip(whole.jvp(X, v), rows.jvp(flat_X, v), strict=True):
        np.testing.assert_array_equal(mine, its.reshape(mine.shape))
        assert mine.shape == (N, 3, T, 3)
    dout = rng.standard_normal((N, 3, T, 3))
    _, pullback = whole.vjp(X)
    dparameters, dX = pullback(dout)
    its_dparameters, its_dX = rows.vjp(flat_X)[1](dout.reshape(-1, 3))
    np.testing.assert_allclose(dparameters, its_dparameters, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(dX, its_dX.reshape(X.shape))
    with pytest.raises(ValueError, match=r"dout: expected shape \(9, 3, 4, 3\)"):
        pullback(dout[0])
    for path, out in whole.activations(X).items():
        np.testing.assert_array_equal(
            out.reshape(-1, out.shape[-1]), rows.activations(flat_X)[path]
        )
        assert out.shape == (N, 3, T, out.shape[-1])


def test_a_fit_with_weights_of_positions_is_one_of_those_rows_that_count(rng):
    """One batch of all: the mean over what counts, whatever stands elsewhere."""
    X, y = rng.standard_normal((N, T, CHANNELS)), rng.choice(["a", "b", "c"], (N, T))
    lengths = rng.integers(1, T + 1, N)
    lengths[3] = 0  # an example of which nothing counts
    counts = np.arange(T) < lengths[:, None]
    X[3], padded = np.nan, np.where(counts, y, "of none")
    whole, rows = pair()
    options = {"loss": "cross_entropy", "optimizer": "sgd", "epochs": 3, "class_weight": "balanced"}
    mine = whole.fit(X, padded, sample_weight=counts, batch_size=N, **options)
    its = rows.fit(X[counts], y[counts], batch_size=counts.sum(), **options)
    # A step divides by all positions of the batch, weights have mean 1 over them.
    np.testing.assert_allclose(whole.parameters, rows.parameters, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(mine["loss"], its["loss"], rtol=1e-12)
    np.testing.assert_allclose(mine["accuracy"], its["accuracy"], rtol=1e-12)
    assert whole.classes_.tolist() == ["a", "b", "c"]
    scores = whole.evaluate(
        np.nan_to_num(X), padded, sample_weight=counts, metrics=["f1_macro", "top_5_accuracy"]
    )
    assert scores == pytest.approx(
        rows.evaluate(X[counts], y[counts], metrics=["f1_macro", "top_5_accuracy"]), rel=1e-12
    )


def test_a_fit_of_values_whose_targets_are_standardized(rng):
    X, y = rng.standard_normal((N, T, CHANNELS)), 100 + rng.standard_normal((N, T))
    whole, rows = pair((fnn.Dense(1),), standardize_targets=True)
    options = {"loss": "mse", "optimizer": "sgd", "epochs": 2, "shuffle": False}
    whole.fit(X, y, batch_size=N, **options, validation_data=(X, y), metrics="r2")
    rows.fit(X.reshape(-1, 2), y.ravel(), batch_size=N * T, **options)
    np.testing.assert_allclose(whole.predict(X).ravel(), rows.predict(X.reshape(-1, 2)), rtol=1e-12)
    assert whole.predict(X).shape == y.shape and (whole.predict(X) > 90).all()
    assert np.isfinite(whole.history["val_r2"]).all()


def test_batches_are_the_array(rng):
    X, y = rng.standard_normal((N, T, CHANNELS)), rng.integers(0, 3, (N, T))
    weights = rng.integers(0, 3, (N, T)).astype(float)
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 4}
    one, other = (fnn.Sequential(LAYERS, seed=1) for _ in range(2))
    one.fit(X, y, shuffle=False, **options)
    other.fit([(X[:3], y[:3]), (X[3:5], y[3:5]), (X[5:], y[5:])], **options)
    np.testing.assert_array_equal(one.parameters, other.parameters)
    weighted = [(X[:3], y[:3], weights[:3]), (X[3:], y[3:])]
    assert np.isfinite(other.fit(weighted, **options)["loss"]).all()


def test_inputs_of_any_kind(rng, tmp_path):
    """Integers, strides, files: X is read where it lies. And copies and files of a model."""
    layers = (fnn.Rescale(), *LAYERS)
    images = rng.integers(0, 256, (N, 3, 4, 2), np.uint8)
    model = fnn.Sequential(layers, seed=1)
    model.fit(images, rng.integers(0, 3, (N, 3, 4)), loss="cross_entropy", epochs=1)
    expected = model.forward(images)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    wide = rng.integers(0, 256, (N, 3, 8, 2), np.uint8)
    wide[:, :, ::2] = images
    for X in (mapped, wide[:, :, ::2], images.tolist(), np.asfortranarray(images), images * 1.0):
        np.testing.assert_array_equal(model.forward(X), expected)
    assert data.flat(mapped).base is not None and np.shares_memory(data.flat(images), images)
    model.save(tmp_path / "model")
    for other in (fnn.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), model[:]):
        assert (other.in_shape, other.out_shape) == ((3, 4, 2), (3, 4, 3))
        np.testing.assert_array_equal(other.predict(images), model.predict(images))
    inner = model.activations(images)["1"]
    np.testing.assert_array_equal(model[2:].forward(inner), expected)
    assert model[1:].in_shape == (3, 4, 2)


@pytest.mark.once
def test_summary_shows_shapes():
    text = pair()[0].summary()
    assert [line.split()[0] for line in text.splitlines()[1:-1]] == ["X", "0", "1", "2", "3"]
    assert "(n, 4, 5)" in text and "X in shape (4, 2)" in text
    assert f"{5 * 2 * T + 5 * T * 2 + 15 * T + 8:,} multiply-adds a row" in text


@pytest.mark.once
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((N, T), r"X: expected shape \(n, 4, 2\), .*got \(9, 4\)$"),
        ((N, T * CHANNELS), r"got \(9, 8\); X\.reshape\(-1, 4, 2\) is that"),
        ((N, 2, 2, 2), r"got \(9, 2, 2, 2\); X\.reshape\(-1, 4, 2\) is that"),
        ((N, 1, 1, 1, 1), r"X: expected 2 dimensions .*or with positions 3 or 4"),
        ((N, 0, 2), "X: expected at least one number in each example"),
    ],
)
def test_x_of_another_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        pair()[0].forward(np.zeros(shape))


@pytest.mark.once
def test_an_axis_that_is_missing():
    model = fnn.Sequential([fnn.Dense(2)]).build((5, 5, 1))
    with pytest.raises(
        ValueError, match=r"expected shape \(n, 5, 5, 1\), .*X\[\.\.\., None\] is that"
    ):
        model.predict(np.zeros((3, 5, 5)), loss="mse")
    with pytest.raises(ValueError, match=r"got \(3, 5, 5, 1\); X\.reshape\(-1, 25\) is that"):
        fnn.Sequential([fnn.Dense(2)]).build(25).predict(np.zeros((3, 5, 5, 1)), loss="mse")
    with pytest.raises(ValueError, match=r"validation_data\[0\]: expected shape"):
        images = np.zeros((3, 5, 5, 1))
        y = np.zeros((3, 5, 5, 2))
        model.fit(images, y, loss="mse", validation_data=(images[..., 0], y))


@pytest.mark.once
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(N, int), r"y: expected shape \(9, 4\).*got \(9,\); Flatten\(\)"),
        (np.zeros((N, T + 1), int), r"expected shape \(9, 4\)"),
        (np.zeros((N, T, 2)), r"shape \(9, 4\) labels or \(9, 4, 3\).*got \(9, 4, 2\)"),
        (np.full((N, T), 3), r"y\.reshape\(-1\): expected .*got 3 in row 0"),
        (np.full((N, T, 3), 0.5), r"y\.reshape\(-1, 3\): expected rows of probabilities"),
    ],
)
def test_targets_of_another_shape(y, message):
    with pytest.raises(ValueError, match=message):
        pair()[0].evaluate(np.zeros((N, T, CHANNELS)), y, loss="cross_entropy")


@pytest.mark.once
def test_weights_of_another_shape():
    with pytest.raises(ValueError, match=r"shape \(9,\), .*or \(9, 4\), one for each position"):
        X, y = np.zeros((N, T, CHANNELS)), np.zeros((N, T), int)
        pair()[0].evaluate(X, y, loss="cross_entropy", sample_weight=np.ones((N, T - 1)))


@pytest.mark.once
def test_curvature_and_inspection(rng):
    whole, rows = pair()
    X, y = rng.standard_normal((N, T, CHANNELS)), rng.integers(0, 3, (N, T))
    flat = X.reshape(N * T, -1), y.ravel(), "cross_entropy"
    whole.loss = "cross_entropy"
    V = rng.standard_normal((whole.n_parameters, 3))
    for kind in ("Hessian", "GaussNewton", "Fisher"):
        mine, its = (
            getattr(fnn.curvature, kind)(whole, X, y),
            getattr(fnn.curvature, kind)(rows, *flat),
        )
        np.testing.assert_allclose(mine @ V, its @ V, rtol=1e-9, atol=1e-12)
        forms = mine.quadratic_form(V), its.quadratic_form(V)
        np.testing.assert_allclose(*forms, rtol=1e-9, atol=1e-12)
    J, its = fnn.curvature.Jacobian(whole, X), fnn.curvature.Jacobian(rows, flat[0])
    np.testing.assert_allclose(J @ V, its @ V, rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="of which it is known what each example adds"):
        fnn.curvature.exact_trace(fnn.curvature.GaussNewton(whole, X, y))
    with pytest.raises(ValueError, match="as the losses of an example are several"):
        fnn.curvature.EmpiricalFisher(whole, X, y)
    rows.loss = "cross_entropy"
    mine, its = (
        fnn.inspect.layer_variances(whole, X, y),
        fnn.inspect.layer_variances(rows, *flat[:2]),
    )
    np.testing.assert_allclose(mine.activations, its.activations, rtol=1e-10)
    np.testing.assert_allclose(mine.gradients, its.gradients, rtol=1e-10)
    values = fnn.inspect.penultimate_features(whole, X).values
    np.testing.assert_array_equal(values, fnn.inspect.penultimate_features(rows, flat[0]).values)
    local = fnn.inspect.local_features(whole, X, 3)
    its = fnn.inspect.local_features(rows, flat[0], 3)
    np.testing.assert_allclose(local.singular_values, its.singular_values, rtol=1e-8)
    with pytest.raises(ValueError, match="of which it is known what each example adds"):
        whole.fit(X, y, epochs=1, callbacks=fnn.CurvatureMonitor(X, y))
    directions = fnn.inspect.random_directions(whole, 1, seed=0)
    losses_along = [
        fnn.inspect.loss_landscape(model, *of, directions, [0.0, 0.5]).losses
        for model, of in ((whole, (X, y)), (rows, flat[:2]))
    ]
    np.testing.assert_allclose(*losses_along, rtol=1e-12)


# ------------------------------------------------------------------------ lengths


def ragged(rng, n=7):
    """Sequences (n, T, CHANNELS), filled up with numbers that nobody is to see, and lengths."""
    X, lengths = rng.standard_normal((n, T, CHANNELS)), rng.integers(1, T + 1, n)
    lengths[:2] = T, 1
    return X, lengths


RAGGED = {
    "set": (fnn.Dense(5), fnn.Tanh(), fnn.SetPool("mean"), fnn.Dense(3)),
    "deep set": (fnn.DeepSet([fnn.Dense(5), fnn.ReLU()], [fnn.Dense(3)], "max"),),
    "last": (fnn.LSTM(4, bidirectional=True, outputs="last"), fnn.Dense(3)),
    "all": (fnn.Residual([fnn.LayerNorm(), fnn.GRU(2, num_layers=2)]), fnn.Dense(3)),
    "attention": (fnn.MultiHeadAttention(1, rotary=True), fnn.Dense(3)),
    "block": (fnn.TransformerBlock(2), fnn.SetPool("max"), fnn.Dense(3)),
    "rows": (fnn.Dense(3),),
}


@pytest.mark.parametrize("name", RAGGED)
def test_an_example_is_what_it_is_alone(name, rng):
    X, lengths = ragged(rng)
    model = fnn.Sequential(RAGGED[name], dtype="float64", seed=3).build((T, CHANNELS), lengths=True)
    out, pullback = model.vjp((X, lengths))
    dout = rng.standard_normal(out.shape)
    at_positions = out.ndim == 3
    if at_positions:  # what stands at other positions is nobody's business
        dout[np.arange(T) >= lengths[:, None]] = 0
    dparameters, dX = pullback(dout)
    total = 0
    for i, length in enumerate(lengths):
        alone = fnn.Sequential(RAGGED[name], dtype="float64").build((int(length), CHANNELS))
        alone.parameters = model.parameters
        own, back = alone.vjp(X[i : i + 1, :length])
        rows = slice(0, length) if at_positions else slice(None)
        np.testing.assert_allclose(out[i, rows], own[0], rtol=1e-12, atol=1e-14)
        own_dparameters, own_dX = back(dout[i : i + 1, rows])
        np.testing.assert_allclose(dX[i, :length], own_dX[0], rtol=1e-10, atol=1e-13)
        assert (dX[i, length:] == 0).all()
        total = total + own_dparameters
    np.testing.assert_allclose(dparameters, total, rtol=1e-10, atol=1e-13)
    lists = [each[:length] for each, length in zip(X, lengths, strict=True)]
    exist = (np.arange(T) < lengths[:, None]) if at_positions else np.ones(len(X), bool)
    np.testing.assert_array_equal(model.forward(lists)[exist], out[exist])


def test_losses_leave_out_positions_that_do_not_exist(rng, tmp_path):
    X, lengths = ragged(rng)
    exist = np.arange(T) < lengths[:, None]
    y = np.where(exist, rng.integers(0, 3, exist.shape), -1)
    weights = rng.uniform(0.5, 2, len(X))
    model = fnn.Sequential(RAGGED["all"], dtype="float64", seed=3)
    history = model.fit(
        *((X, lengths), y), loss="cross_entropy", epochs=2, validation_data=((X, lengths), y)
    )
    log_p = np.log(model.predict_proba((X, lengths)))
    losses_of_all = -np.take_along_axis(log_p, y.clip(0)[..., None], 2)[..., 0]
    assert model.evaluate((X, lengths), y)["loss"] == pytest.approx(losses_of_all[exist].mean())
    assert history["val_loss"][-1] == pytest.approx(losses_of_all[exist].mean())
    expected = np.average(losses_of_all, weights=exist * weights[:, None])
    scores = model.evaluate((X, lengths), y, sample_weight=weights)
    assert scores["loss"] == pytest.approx(expected)
    right = model.predict((X, lengths)) == y
    assert model.evaluate((X, lengths), y)["accuracy"] == pytest.approx(right[exist].mean())
    model.fit([((X[:3], lengths[:3]), y[:3]), ((X[3:], lengths[3:]), y[3:])], epochs=1)
    model.save(tmp_path / "model")
    for other in (fnn.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), model[:]):
        np.testing.assert_array_equal(other.forward((X, lengths)), model.forward((X, lengths)))
    with pytest.raises(ValueError, match="expected one whose examples have no lengths"):
        fnn.inspect.layer_variances(model, (X, lengths), y)


@pytest.mark.once
def test_codes_of_different_lengths(rng):
    layers = (fnn.Embedding(9, 4), fnn.GRU(3, outputs="last"))
    codes = [rng.integers(0, 9, length) for length in (5, 2, 3)]
    model = fnn.Sequential(layers, dtype="float64").build(5, lengths=True)
    for each, out in zip(codes, model.forward(codes), strict=True):
        alone = fnn.Sequential(layers, dtype="float64").build(len(each))
        alone.parameters = model.parameters
        np.testing.assert_allclose(alone.forward(each[None])[0], out, rtol=1e-12)


@pytest.mark.once
def test_without_lengths_all_positions_exist(rng):
    X, _ = ragged(rng)
    model = fnn.Sequential(RAGGED["last"], seed=3).build((T, CHANNELS), lengths=True)
    other = fnn.Sequential(RAGGED["last"], seed=3).build((T, CHANNELS))
    np.testing.assert_allclose(model.forward(X), other.forward(X), rtol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([T + 1] * 3, r"whole numbers from 0 to 4, got 5 to 5"),
        ([-1, 0, 1], "got -1 to 1"),
        ([0.5, 1, 2], "X: expected a length for each of 3 examples"),
        ([1, 2], "X: expected a length for each of 3 examples"),
    ],
)
def test_lengths_that_are_none(lengths, message):
    model = fnn.Sequential(RAGGED["set"]).build((T, CHANNELS), lengths=True)
    with pytest.raises(ValueError, match=message):
        model.forward((np.zeros((3, T, CHANNELS)), np.array(lengths)))


@pytest.mark.once
def test_lengths_that_nobody_takes():
    X = np.zeros((3, T, CHANNELS))
    with pytest.raises(ValueError, match="X: expected examples without lengths"):
        fnn.Sequential(RAGGED["set"]).build((T, CHANNELS)).forward((X, np.array([1, 2, 3])))
    with pytest.raises(ValueError, match="X: expected arrays of at most 4 positions, got 5"):
        model = fnn.Sequential(RAGGED["set"]).build((T, CHANNELS), lengths=True)
        model.forward([np.zeros((5, CHANNELS)), np.zeros((2, CHANNELS))])
    for layer in (fnn.Conv1d(3, 2), fnn.BatchNorm(), fnn.Flatten(), fnn.Permute((2, 1))):
        with pytest.raises(ValueError, match=r"layers\[1\]: expected layers that know of lengths"):
            fnn.Sequential([fnn.Dense(2), layer]).build((T, CHANNELS), lengths=True)
    with pytest.raises(ValueError, match=r"layers\[0\]: expected a layer that is not applied"):
        fnn.Sequential([fnn.Rescale(), fnn.Dense(2)]).build((T, CHANNELS), lengths=True)


def test_channels_are_standardized(rng):
    X = rng.standard_normal((20, 3, 4, 2)) * (2, 5) + (1, -3) + np.arange(3)[:, None, None]
    model = fnn.Sequential([fnn.Rescale(2), fnn.Standardize(), fnn.Flatten(), fnn.Dense(1)], seed=0)
    model.fit(X, np.zeros(20), loss="mse", epochs=1, verbose=0)
    state = model.named_state()
    np.testing.assert_allclose(state["1.mean"], np.tile(2 * X.mean(axis=(0, 1, 2)), 12))
    np.testing.assert_allclose(state["1.std"], np.tile(2 * X.std(axis=(0, 1, 2)), 12))


def test_layers_of_tables_refuse_positions():
    for layer in (fnn.RobustScale(), fnn.QuantileNormal(), fnn.PiecewiseLinear(), fnn.Impute()):
        with pytest.raises(ValueError, match=r"layers\[0\]: expected rows of columns for"):
            fnn.Sequential([layer, fnn.Dense(1)]).build((5, 2))
