"""Columns of DataFrames: told apart by their names, in any order, wherever X is taken."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import curvature, inspect

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.once

NAMES = ["age", "income", "height"]
ORDER = [2, 0, 1]


class Frame:
    """A DataFrame of some other library: names and a way to an array."""

    def __init__(self, values, columns, way):
        self._values, self.columns = np.asarray(values), columns
        setattr(self, way, lambda *_, **__: self._values)


class ArrayFrame(Frame):
    def __init__(self, values, columns):
        super().__init__(values, columns, "to_numpy")

    def __array__(self, dtype=None, copy=None):
        return self._values


def numpy_frame(values, columns):
    return Frame(values, columns, "to_numpy")


@pytest.fixture
def data():
    X = np.random.default_rng(0).normal(size=(30, 3)) * [1, 100, 0.1]
    return X, (X[:, 0] > 0).astype(int)


def frame_of(X, order=(0, 1, 2), names=NAMES, kind=pandas.DataFrame):
    return kind(X[:, list(order)], columns=[names[i] for i in order])


def fitted(X, y, **options):
    layers = [fnn.Standardize(), fnn.Dense(4), fnn.Tanh(), fnn.Dense(2)]
    model = fnn.Sequential(layers, dtype="float64", seed=1)
    model.fit(X, y, loss="cross_entropy", epochs=2, verbose=0, **options)
    return model


USES = {
    "forward": lambda m, X, y: m.forward(X),
    "predict": lambda m, X, y: m.predict(X),
    "predict_proba": lambda m, X, y: m.predict_proba(X),
    "evaluate": lambda m, X, y: m.evaluate(X, y)["loss"],
    "loss_and_grad": lambda m, X, y: m.loss_and_grad(X, y)[1],
    "vjp": lambda m, X, y: m.vjp(X)[1](np.ones((30, 2)))[0],
    "jvp": lambda m, X, y: m.jvp(X, np.ones(m.n_parameters))[1],
    "hvp": lambda m, X, y: m.hvp(X, y, np.ones(m.n_parameters)),
    "Hessian": lambda m, X, y: curvature.Hessian(m, X, y) @ np.ones(m.n_parameters),
    "NTK": lambda m, X, y: curvature.NTK(m, X) @ np.ones(60),
    "Jacobian": lambda m, X, y: curvature.Jacobian(m, X) @ np.ones(m.n_parameters),
    "per_example_gradients": lambda m, X, y: np.concatenate(
        list(curvature.per_example_gradients(m, X, y, batch_size=7))
    ),
    "unit_activity": lambda m, X, y: np.concatenate(inspect.unit_activity(relu(m), X).active),
    "layer_variances": lambda m, X, y: inspect.layer_variances(m, X, y).activations,
    "penultimate_features": lambda m, X, y: inspect.penultimate_features(m, X).singular_values,
    "loss_landscape": lambda m, X, y: (
        inspect.loss_landscape(m, X, y, np.ones(m.n_parameters), [0, 1]).losses
    ),
    "fit": lambda m, X, y: fit_on(copy.deepcopy(m), X, y),
    "validation": lambda m, X, y: validated(copy.deepcopy(m), X, y),
    "monitor": lambda m, X, y: monitored(copy.deepcopy(m), X, y),
}


def relu(model):
    other = fnn.Sequential([fnn.Standardize(), fnn.Dense(4), fnn.ReLU(), fnn.Dense(2)]).build(3)
    other.state, other.feature_names_in_ = model.state, model.feature_names_in_
    return other


def fit_on(model, X, y):
    model.fit(X, y, epochs=1, verbose=0)
    return model.parameters


def validated(model, X, y):
    own = frame_of(np.ones((2, 3)))
    return model.fit(own, [0, 1], epochs=1, validation_data=(X, y), verbose=0)["val_loss"]


def monitored(model, X, y):
    pytest.importorskip("scipy")
    monitor = fnn.CurvatureMonitor(X, y, n_samples=20)
    own = frame_of(np.ones((2, 3)))
    return model.fit(own, [0, 1], epochs=1, callbacks=[monitor], verbose=0)["max_eigenvalue"]


@pytest.mark.parametrize("use", USES)
def test_any_order_is_the_same_and_others_are_refused(use, data):
    X, y = data
    model, use = fitted(frame_of(X), y), USES[use]
    expected = use(model, X, y)
    frame = frame_of(X, ORDER)
    before = frame.copy()
    np.testing.assert_array_equal(use(model, frame, y), expected)
    np.testing.assert_array_equal(use(model, frame_of(X), y), expected)
    assert not np.array_equal(use(model, X[:, ORDER], y), expected)  # an array has no names
    pandas.testing.assert_frame_equal(frame, before)
    with pytest.raises(ValueError, match="expected the 3 columns that the model was fitted on"):
        use(model, frame_of(X, names=["age", "income", "size"]), y)


def test_what_is_remembered_and_when(data):
    X, y = data
    model = fitted(X, y)
    assert model.feature_names_in_ is None
    model.predict(frame_of(X, ORDER))  # as it comes: there is nothing to compare with
    assert model.feature_names_in_ is None
    fit_on(model, frame_of(X), y)
    assert model.feature_names_in_.tolist() == NAMES and model.feature_names_in_.dtype == object
    fit_on(model, X, y)
    assert model.feature_names_in_.tolist() == NAMES
    model.feature_names_in_ = None
    fit_on(model, frame_of(X, ORDER), y)
    assert model.feature_names_in_.tolist() == [NAMES[i] for i in ORDER]


def test_a_loop_of_ones_own(data):
    X, _ = data
    model = fnn.Sequential([fnn.Dense(2)])
    expected = model.vjp(frame_of(X))[0]
    assert model.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(model.forward(frame_of(X, ORDER)), expected)


def test_derivatives_in_the_inputs_are_in_their_own_order(data):
    X, y = data
    model = fitted(frame_of(X), y)
    dX = model.vjp(frame_of(X))[1](np.ones((30, 2)))[1]
    reordered = model.vjp(frame_of(X, ORDER))[1](np.ones((30, 2)))[1]
    np.testing.assert_array_equal(reordered, dX[:, ORDER])


def test_a_refused_fit_remembers_nothing(data):
    X, y = data
    model = fnn.Sequential([fnn.Dense(2)])
    for options in ({"epochs": 0}, {"validation_data": (frame_of(X, names="abc"), y)}):
        with pytest.raises(ValueError, match=r"epochs: |validation_data.0.: expected the 3"):
            model.fit(frame_of(X), y, loss="cross_entropy", verbose=0, **options)
        assert model.feature_names_in_ is None and not model.built


@pytest.mark.parametrize(
    "kind", [pandas.DataFrame, ArrayFrame, numpy_frame], ids=["pandas", "array", "to_numpy"]
)
def test_other_frames(kind, data):
    X, y = data
    model = fitted(frame_of(X, kind=kind), y)
    assert model.feature_names_in_.tolist() == NAMES
    expected = model.forward(X)
    np.testing.assert_array_equal(model.forward(frame_of(X, ORDER, kind=kind)), expected)


def test_dtypes_of_columns(data):
    X, y = data
    frame = frame_of(X)
    model = fitted(frame.astype({"age": "float32"}), y)
    other = frame_of(X, ORDER).astype({"age": "Float32"})
    np.testing.assert_array_equal(
        model.forward(other), model.forward(frame.astype({"age": "float32"}))
    )


@pytest.mark.parametrize("names", [[0, 1, 2], [("a", 1), ("a", 2), ("b", 1)], [1.5, 2.5, 3.5]])
def test_names_that_are_no_strings_are_none(names, data):
    X, y = data
    model = fitted(frame_of(X, names=names), y)
    assert model.feature_names_in_ is None
    model = fitted(frame_of(X), y)
    expected = model.forward(X)
    np.testing.assert_array_equal(model.forward(frame_of(X, names=names)), expected)


@pytest.mark.parametrize(
    ("names", "error", "match"),
    [
        (["a", "b", "a"], ValueError, "X: expected columns of different names, got 'a' twice"),
        (["a", 1, "b"], TypeError, r"X: .* all strings, or none of them, got 1 \(int\)"),
    ],
)
def test_impossible_names(names, error, match, data):
    X, y = data
    frame = pandas.DataFrame(X, columns=names)
    for use in (lambda: fitted(frame, y), lambda: fitted(X, y).predict(frame)):
        with pytest.raises(error, match=match):
            use()


def test_the_message_names_what_is_wrong(data):
    X, y = data
    model = fitted(frame_of(X), y)
    frame = frame_of(X)

    def refusal(frame):
        with pytest.raises(ValueError) as caught:
            model.predict(frame)
        return str(caught.value)

    beginning = "X: expected the 3 columns that the model was fitted on, got "
    end = "; its feature_names_in_ has the right ones"
    assert refusal(frame.drop(columns="age")) == beginning + "2, without 'age'" + end
    assert refusal(frame.assign(name="text")) == beginning + "4, with 'name'" + end
    renamed = frame.rename(columns={"age": "Age", "height": "Height"})
    assert refusal(renamed) == (
        beginning + "3, without 'age', 'height', with 'Age', 'Height'" + end
    )
    wide = pandas.concat([frame, pandas.DataFrame(np.ones((30, 99))).add_prefix("x")], axis=1)
    assert refusal(wide).endswith(", with 'x0', 'x1', 'x2', 'x3', 'x4', ... (99 such)" + end)


def test_numbers_that_are_wrong_are_found_by_the_name_of_their_column(data):
    X, y = data
    X[7, 1] = np.nan
    model = fnn.Sequential([fnn.Dense(2)])
    with pytest.raises(ValueError, match=r"X: .* got nan in row 7, column 'income'"):
        model.fit(frame_of(X, ORDER), y, loss="cross_entropy")
    with pytest.raises(ValueError, match=r"X: .* got nan in row 7, column 1"):
        model.fit(X, y, loss="cross_entropy")
    X[7, 1] = 0
    model = fitted(frame_of(X), y)
    X[7, 1] = np.inf
    with pytest.raises(ValueError, match=r"X: .* got inf in row 7, column 'income'"):
        model.predict(frame_of(X, ORDER))


def test_file_and_copies(data, tmp_path):
    X, y = data
    model = fitted(frame_of(X), y)
    model.save(tmp_path / "m")
    expected = model.forward(X)
    copies = [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in [fnn.load(tmp_path / "m"), *copies]:
        assert other.feature_names_in_.tolist() == NAMES
        np.testing.assert_array_equal(other.forward(frame_of(X, ORDER)), expected)
