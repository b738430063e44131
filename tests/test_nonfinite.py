"""Inputs that are not finite: who refuses them, and where NaN comes out as NaN."""

from __future__ import annotations

import numpy as np
import pytest

import pyfast_nn as fnn
from problems import example_of, on_four_columns

ROW, COLUMN = 7, 2
# name: (loss, outputs, targets of so many rows)
PROBLEMS = {
    "classes": ("cross_entropy", 3, lambda rng, n: rng.integers(0, 3, n)),
    "strings": ("cross_entropy", 3, lambda rng, n: np.array(["a", "b", "c"])[np.arange(n) % 3]),
    "margin": ("multi_margin", 3, lambda rng, n: rng.integers(0, 3, n)),
    "two": ("binary_cross_entropy", 1, lambda rng, n: rng.integers(0, 2, n) > 0),
    "hinge": ("hinge", 1, lambda rng, n: rng.choice([-1, 1], n)),
    "labels": ("binary_cross_entropy", 2, lambda rng, n: rng.integers(0, 2, (n, 2))),
    "values": ("mse", 2, lambda rng, n: rng.standard_normal((n, 2))),
    "one value": ("mae", 1, lambda rng, n: rng.standard_normal(n)),
}
LABELS = [name for name in PROBLEMS if "value" not in name]
LAYERS = [
    layer
    for layer in vars(fnn).values()
    if isinstance(layer, type) and issubclass(layer, fnn.layers.Layer) and not layer.takes_nan
]


@pytest.fixture(params=PROBLEMS)
def problem(request, rng):
    return fitted(request.param, rng)


def fitted(name, rng, layers=(), dtype="float32"):
    """Return a model that has been fitted, its X, which may be changed, and y."""
    loss, out, targets = PROBLEMS[name]
    X, y = rng.standard_normal((40, 4)), targets(rng, 40)
    layers = [*layers, fnn.Dense(5), fnn.ReLU(), fnn.Dense(out)]
    model = fnn.Sequential(layers, dtype=dtype)
    model.fit(X, y, loss=loss, epochs=1, verbose=0)
    return model, X, y


def with_one(X, value):
    X = X.copy()
    X[ROW, COLUMN] = value
    return X


def sparse_of(X):
    return pytest.importorskip("scipy.sparse").csr_array(X)


@pytest.mark.once
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("kind", [np.asarray, np.asfortranarray, sparse_of], ids=["C", "F", "CSR"])
def test_predictions_refuse_them_by_row_and_column(problem, value, kind):
    model, X, y = problem
    X = kind(with_one(X, value))
    calls = [lambda: model.predict(X), lambda: model.evaluate(X, y)]
    calls += [lambda: model.fit(X, y, verbose=0)]
    if model.loss.endswith("cross_entropy"):
        calls += [lambda: model.predict_proba(X)]
    for call in calls:
        with pytest.raises(ValueError, match=r"^X: .* finite float32 .* in row 7, column 2$"):
            call()


@pytest.mark.once
def test_of_any_type_of_numbers(rng):
    model, X, _ = fitted("classes", rng)
    for dtype in (np.float16, ">f4", np.float64, np.longdouble):
        with pytest.raises(ValueError, match="row 7, column 2"):
            model.predict(with_one(X.astype(dtype), np.nan))
    for dtype in (bool, np.int8, np.uint64):
        whole = (X > 0).astype(dtype)
        np.testing.assert_array_equal(model.predict(whole), model.predict(whole.astype(float)))
    assert model.predict(X[:0]).shape == (0,)


@pytest.mark.once
def test_the_range_is_that_of_what_reads_them(rng):
    # Rescale computes in float64; what it makes of 1e39 is in the range of float32.
    model, X, y = fitted("classes", rng, [fnn.Rescale(1e-39)])
    X = with_one(X, 1e39)
    assert model.predict(X).dtype == np.int64
    assert np.isfinite(model.evaluate(X, y)["loss"])
    with pytest.raises(ValueError, match="finite float64 numbers, got inf in row 7, column 2"):
        model.predict(with_one(X, np.inf))


@pytest.mark.once
def test_whoever_wants_nan_gets_nan(problem):
    model, X, y = problem
    bad = with_one(X, np.nan)
    others = np.arange(len(X)) != ROW
    predictions, expected = model.predict(bad, allow_nonfinite=True), model.predict(X)
    np.testing.assert_array_equal(predictions[others], expected[others])
    if model.loss in ("mse", "mae"):
        assert predictions.dtype == expected.dtype
        assert np.isnan(predictions[ROW]).all()
    else:
        assert predictions.dtype == object
        assert set(predictions[ROW : ROW + 1].ravel()) == {None}
        assert set(np.unique(predictions[others])) <= set(np.unique(expected))
    if model.loss.endswith("cross_entropy"):
        p = model.predict_proba(bad, allow_nonfinite=True)
        np.testing.assert_array_equal(p[others], model.predict_proba(X)[others])
        assert np.isnan(p[ROW]).all()
    scores = model.evaluate(bad, y, allow_nonfinite=True)
    assert np.isnan(scores["loss"])
    if "accuracy" in scores:
        right = (expected == y).reshape(len(X), -1).all(axis=1)
        assert scores["accuracy"] == pytest.approx(right[others].sum() / len(X))


@pytest.mark.once
@pytest.mark.parametrize("name", ["classes", "two"])
def test_infinite_outputs_have_an_order(rng, name):
    model, X, _ = fitted(name, rng)
    model.parameters = np.abs(model.parameters)
    model.named_parameters()["2.weight"][:, :-1] *= -1
    bad = with_one(X, np.inf)
    out = model.forward(bad)[ROW]
    assert np.isinf(out).all()
    label = model.predict(bad, allow_nonfinite=True)[ROW]
    assert label == model.classes_[-1]


@pytest.mark.once
@pytest.mark.parametrize("name", ["classes", "strings", "margin"])
@pytest.mark.parametrize("infinities", [[1, -1, 1], [-1, -1, -1], [1, 1, 1]])
def test_infinities_that_are_alike_have_no_order(rng, name, infinities):
    model, X, _ = fitted(name, rng)
    model.parameters = np.zeros(model.n_parameters)
    model.named_parameters()["2.bias"][:] = np.array(infinities) * np.inf
    with pytest.raises(FloatingPointError, match="got NaN or one infinity twice in row 0"):
        model.predict(X)
    assert set(model.predict(X, allow_nonfinite=True)) == {None}
    if name != "margin":
        assert np.isnan(model.predict_proba(X)).all()
    model.named_parameters()["2.bias"][:] = [np.inf, -np.inf, -np.inf]
    assert set(model.predict(X)) == {model.classes_[0]}
    if name != "margin":
        np.testing.assert_array_equal(model.predict_proba(X), [[1, 0, 0]] * len(X))


@pytest.mark.once
@pytest.mark.parametrize("name", LABELS)
def test_finite_rows_whose_sums_overflow_have_no_label(rng, name):
    model, X, y = fitted(name, rng)
    model.named_parameters()["0.weight"][0] = 1e10
    model.named_parameters()["2.weight"][:] = np.where(np.arange(5) % 2, 1, -1)[:, None]
    X[ROW] = [1e38, 0, 0, 0]
    with pytest.raises(FloatingPointError, match="got NaN or one infinity twice in row 7"):
        model.predict(X)
    assert set(np.ravel(model.predict(X, allow_nonfinite=True)[ROW])) == {None}

    def constant(y_true, y_pred):
        return 1.0

    assert np.isnan(model.evaluate(X, y, metrics=[constant])["constant"])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("few", [False, True])
def test_nan_passes_every_layer(rng, isa, dtype, layer, few):
    first = [example_of(layer)] if example_of(layer).is_input else []
    if layer is fnn.Rescale:
        first = [fnn.Rescale(2.0)]
    middle = [] if first else on_four_columns(layer)
    model = fnn.Sequential([*first, fnn.Dense(4), *middle, fnn.Dense(2)], dtype=dtype)
    X = rng.standard_normal((3 if few else 300, 4))
    if np.isnan(model.build(4).state).any():  # what the first fit learns
        model.fit(X, np.arange(len(X)) % 2, loss="cross_entropy", epochs=1, verbose=0)
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad[1, 2] = value
        out, expected = model.forward(bad), model.forward(X)
        others = np.arange(len(X)) != 1
        np.testing.assert_array_equal(out[others], expected[others])
        if np.isnan(value):
            assert np.isnan(out[1]).all()
            v = np.ones(model.n_parameters)
            assert np.isnan(model.jvp(bad, v)[1][1]).all()
            y = np.zeros(len(X), int)
            value, grad = model.loss_and_grad(bad, y, loss="cross_entropy")
            assert np.isnan(value) and np.isnan(grad[-2:]).all()
            hv = model.hvp(bad, y, v, loss="cross_entropy")
            assert np.isnan(hv[-2:]).all()


@pytest.mark.once
def test_validation_data(rng):
    model, X, y = fitted("classes", rng)
    with pytest.raises(ValueError, match=r"^validation_data\[0\]: .* in row 7, column 2$"):
        model.fit(X, y, validation_data=(with_one(X, np.nan), y), verbose=0)


@pytest.mark.once
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_looks_inside_refuses_them(rng, value):
    model, X, y = fitted("classes", rng)
    bad = with_one(X, value)
    calls = [
        lambda: fnn.inspect.unit_activity(model, bad),
        lambda: fnn.inspect.local_features(model, bad, k=2),
        lambda: fnn.inspect.penultimate_features(model, bad),
        lambda: fnn.CurvatureMonitor(bad, y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"X: .* in row 7, column 2"):
            call()


@pytest.mark.once
def test_curvature_passes_nan_on(rng):
    model, X, y = fitted("classes", rng)
    bad = with_one(X, np.nan)
    for operator in (fnn.curvature.Hessian, fnn.curvature.GaussNewton):
        A = operator(model, bad, y)
        assert np.isnan(A @ np.ones(model.n_parameters)).any()
    assert np.isnan(fnn.curvature.exact_trace(fnn.curvature.GaussNewton(model, bad, y)))
    norms = fnn.curvature.per_example_gradient_norms(model, bad, y)
    assert np.flatnonzero(np.isnan(norms)).tolist() == [ROW]
    landscape = fnn.inspect.loss_landscape(model, bad, y, np.ones(model.n_parameters), [0.0])
    assert np.isnan(landscape.losses).all()


@pytest.mark.once
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_command_line_refuses_them(rng, tmp_path, capsys, command):
    model, X, y = fitted("classes", rng)
    model.save(tmp_path / "model.safetensors")
    np.savez(tmp_path / "bad.npz", X=with_one(X, np.nan), y=y)
    from pyfast_nn.cli import main

    with pytest.raises(SystemExit) as stopped:
        main([command, str(tmp_path / "model.safetensors"), str(tmp_path / "bad.npz")])
    assert stopped.value.code not in (0, None)
    out, err = capsys.readouterr()
    assert "row 7, column 2" in err + str(stopped.value.code)
    assert out == ""
