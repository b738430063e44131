"""Labels of all kinds, and the classes that they name; beside scikit-learn's `LabelEncoder`."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas
import pytest
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelEncoder

import pyfast_nn as fnn

pytestmark = pytest.mark.once

N = 60
CODES = np.random.default_rng(5).integers(0, 4, N)
X = np.random.default_rng(6).normal(size=(N, 5)) + np.eye(5)[CODES] * 3

FOUR = {
    "from 1": [1, 2, 3, 4],
    "hundreds": [100, 200, 300, 400],
    "negative": [-2, -1, 0, 1],
    "int8": np.array([1, 2, 3, 4], np.int8),
    "uint64": np.array([1, 2, 3, 2**40], np.uint64),
    "large": [-(2**62), 0, 2**62, 2**62 + 1],
    "integral floats": [1.0, 2.0, 3.0, 4.0],
    "float16": np.array([1, 2, 3, 4], np.float16),
    "strings": ["d", "c", "b", "a"],
    "strings of numbers": ["10", "9", "8", "7"],
}


def of_classes(classes, codes=CODES):
    return np.asarray(classes)[codes]


def model_for(out, loss, **options):
    model = fnn.Sequential([fnn.Dense(6), fnn.Tanh(), fnn.Dense(out)], dtype="float64", **options)
    return model, {"loss": loss, "epochs": 4, "batch_size": 16, "verbose": 0}


def fitted(y, out=4, loss="cross_entropy", **options):
    model, arguments = model_for(out, loss)
    model.fit(X, y, **arguments | options)
    return model


def check_like_encoded(y, out, loss, codes=None):
    """The same as a fit on scikit-learn's encoding of `y`, in names."""
    encoder = LabelEncoder().fit(np.asarray(y))
    encoded = encoder.transform(np.asarray(y))
    if codes is not None:
        encoded = np.array(codes)[encoded]
    model, expected = fitted(y, out, loss), fitted(encoded, out, loss)
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    np.testing.assert_array_equal(model.classes_, encoder.classes_)
    columns = model.forward(X)
    place = columns.argmax(axis=1) if out > 1 else (columns[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(model.predict(X), encoder.classes_[place])
    assert model.evaluate(X, y) == expected.evaluate(X, encoded)
    assert model.evaluate(X, y)["accuracy"] == accuracy_score(y, model.predict(X))
    np.testing.assert_array_equal(
        model.loss_and_grad(X, y)[1], expected.loss_and_grad(X, encoded)[1]
    )
    return model


@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin"])
@pytest.mark.parametrize("name", FOUR)
def test_any_labels_are_classes_in_order(name, loss):
    check_like_encoded(of_classes(FOUR[name]), 4, loss)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
@pytest.mark.parametrize(
    "two", [[-1, 1], [0, 1], [1, 2], [0, 2], [100, 300], [-1.0, 1.0], ["no", "yes"], [False, True]]
)
def test_any_two_labels_are_the_sides_of_one_output(two, loss):
    y = of_classes(two, CODES % 2)
    codes = [0, 1] if loss == "binary_cross_entropy" else [-1, 1]
    model = check_like_encoded(y, 1, loss, codes)
    if loss == "binary_cross_entropy":
        p = model.predict_proba(X)
        np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(X))


def test_columns_may_be_without_examples():
    for some in ([0, 1], [3], [1, 2, 3]):
        model = fitted(np.resize(some, N))
        np.testing.assert_array_equal(model.classes_, [0, 1, 2, 3])
    assert fitted(np.zeros(N, int), 1, "binary_cross_entropy").classes_.tolist() == [0, 1]
    assert fitted(np.ones(N, int), 1, "hinge").classes_.tolist() == [-1, 1]


def test_classes_are_fixed_for_later_data():
    model = fitted(of_classes([1, 2, 3, 4]))
    rows = np.flatnonzero(np.isin(CODES, [1, 2]))  # which alone would be columns 2 and 3
    y = of_classes([1, 2, 3, 4])[rows]
    columns = fitted(CODES)
    model.fit(X[rows], y, verbose=0)
    columns.fit(X[rows], CODES[rows], verbose=0)
    assert model.classes_.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(model.parameters, columns.parameters)
    with pytest.raises(ValueError, match=r"y: .*\(1, 2, 3, 4\), got 0 in row 2; .*classes="):
        model.evaluate(X[:3], [1, 2, 0])
    with pytest.raises(ValueError, match=r"validation_data\[1\]: .*, got 9 in row 1"):
        model.fit(X, of_classes([1, 2, 3, 4]), validation_data=(X[:2], [1, 9]), verbose=0)
    with pytest.raises(ValueError, match="got string labels"):
        model.evaluate(X[:3], ["1", "2", "3"])


@pytest.mark.parametrize("kind", ["pickle", "copy", "deepcopy", "file"])
def test_classes_at_construction(kind, tmp_path):
    """A fold that lacks a class; the order given is that of the columns."""
    model, arguments = model_for(4, "cross_entropy", classes=["rare", "c", "a", "b"])
    fold = np.array(["c", "a", "b"])[CODES[CODES > 0] - 1]
    model.fit(X[CODES > 0], fold, **arguments)
    other, _ = model_for(4, "cross_entropy")
    other.fit(X[CODES > 0], CODES[CODES > 0], **arguments)
    np.testing.assert_array_equal(model.parameters, other.parameters)
    if kind == "file":
        model.save(tmp_path / "m")
        model = fnn.load(tmp_path / "m")
    else:
        model = {
            "pickle": lambda m: pickle.loads(pickle.dumps(m)),
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
        }[kind](model)
    assert model.classes_.tolist() == ["rare", "c", "a", "b"]
    y = of_classes(["rare", "c", "a", "b"])
    np.testing.assert_array_equal(model.predict(X), model.classes_[other.predict(X)])
    assert model.evaluate(X, y) == other.evaluate(X, CODES)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


def test_classes_of_a_model_without_a_fit():
    model, _ = model_for(1, "hinge", classes=[7, 3])
    other, _ = model_for(1, "hinge")
    y = of_classes([7, 3], CODES % 2)
    loss = {"loss": "hinge"}
    assert model.evaluate(X, y, **loss) == other.evaluate(X, 2 * (CODES % 2) - 1, **loss)
    for unknown in ([1, 2, 3, 4], ["a", "b", "c", "d"], [True, False, True, True]):
        with pytest.raises(
            ValueError, match=r"y: expected -1 and 1, got .*first fit, or .*classes="
        ):
            other.evaluate(X[:4], unknown, **loss)


@pytest.mark.parametrize(
    ("classes", "out", "error", "match"),
    [
        (["a", "b", "a"], 3, ValueError, "classes: expected distinct labels, got a twice"),
        ([0, 1], 3, ValueError, r"classes: expected 3 for 3 outputs, got 2 \(0, 1\)"),
        ([0, 1, 2], 1, ValueError, "classes: expected 2 for one output, got 3"),
        ([0], 1, ValueError, "classes: expected 2"),
        ([0, "a", 2], 3, TypeError, "classes: expected .* of one kind, got 0 in row 0 and 'a'"),
        ([False, 1, 2], 3, TypeError, "classes: expected .* of one kind"),
        (["a", None, "b"], 3, ValueError, "classes: .*got None in row 1"),
        ([0.5, 1, 2], 3, ValueError, "classes: expected whole numbers.*got 0.5 in row 0"),
        ("abc", 3, TypeError, "classes: expected a list of labels, got 'abc'"),
        (3, 3, TypeError, "classes: expected a list of labels, got 3"),
        ([[0], [1], [2]], 3, TypeError, "classes: expected a list of labels"),
    ],
)
def test_impossible_classes(classes, out, error, match):
    with pytest.raises(error, match=match):
        model_for(out, "cross_entropy", classes=classes)


def test_classes_of_a_network_as_wide_as_its_input():
    with pytest.raises(ValueError, match="classes: expected 5 for 5 outputs, got 2"):
        fnn.Sequential([fnn.Tanh()], classes=["a", "b"]).build(5)


# ---------------------------------------------------------------------- containers


def containers(y):
    """The same labels as people keep them."""
    column = np.asarray(y).reshape(-1, 1)
    series = pandas.Series(y)
    yield from (list(y), tuple(y), np.array(y, object), column, column.tolist())
    yield from (series, series.astype(object), series.astype("category"), pandas.DataFrame(column))
    yield from (series.to_frame(), series.to_frame().astype("category"))
    yield series.astype("Int64" if series.dtype.kind == "i" else "string")
    yield series.convert_dtypes().to_frame()
    yield pandas.Index(y)
    yield pandas.Categorical(y)


@pytest.mark.parametrize("classes", [[1, 2, 3, 4], ["a", "b", "c", "d"]])
def test_containers_of_labels(classes):
    y = of_classes(classes)
    options = {"validation_split": 0.25, "metrics": [accuracy_score], "class_weight": "balanced"}
    expected = fitted(y, **options)
    for given in containers(y):
        model = fitted(given, **options)
        np.testing.assert_array_equal(model.parameters, expected.parameters)
        np.testing.assert_array_equal(model.classes_, classes)
        assert model.history["val_accuracy_score"] == model.history["val_accuracy"]
        assert model.evaluate(X, given) == expected.evaluate(X, y)


def test_columns_of_weights_and_values():
    w = np.random.default_rng(0).uniform(size=N)
    expected = fitted(CODES, sample_weight=w)
    for given in (w[:, None], pandas.DataFrame({"w": w}), pandas.Series(w)):
        np.testing.assert_array_equal(
            fitted(CODES, sample_weight=given).parameters, expected.parameters
        )
    values = fitted(w, 1, "mse")
    for given in (pandas.DataFrame({"y": w}), w[:, None], w.astype(object)):
        np.testing.assert_array_equal(fitted(given, 1, "mse").parameters, values.parameters)


MISSING = {
    "None": lambda y: [*y[:7], None, *y[8:]],
    "None in an array": lambda y: np.array([*y[:7], None, *y[8:]], object),
    "NaN": lambda y: [*y[:7], float("nan"), *y[8:]],
    "NaN in an array": lambda y: np.array([*y[:7], np.nan, *y[8:]], object),
    "NA": lambda y: [*y[:7], pandas.NA, *y[8:]],
    "NaT": lambda y: [*y[:7], pandas.NaT, *y[8:]],
    "nullable": lambda y: pandas.Series(y).convert_dtypes().where(np.arange(N) != 7),
    "category": lambda y: pandas.Series(y).astype("category").where(np.arange(N) != 7),
    "frame": lambda y: pandas.Series(y).convert_dtypes().where(np.arange(N) != 7).to_frame(),
}


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], ["a", "b", "c", "d"]])
@pytest.mark.parametrize("name", MISSING)
def test_missing_labels_are_named_with_their_row(name, classes):
    y = MISSING[name](of_classes(classes).tolist())
    with pytest.raises(ValueError, match=r"^y: expected a label or .*, got .* in row 7; drop"):
        fitted(y)
    good = of_classes(classes)
    with pytest.raises(ValueError, match=r"^validation_data\[1\]: expected a label .* in row 7;"):
        fitted(good, validation_data=(X, y))
    with pytest.raises(ValueError, match=r"^y: expected a label or number in every row"):
        fitted(good).evaluate(X, y)
    with pytest.raises(ValueError, match=r"^y: expected a label .* in row 7"):
        fnn.datasets.stratified_split(y, [0.5, 0.5])


def test_how_many_labels_are_missing():
    with pytest.raises(ValueError, match=r"got nan in row 0 \(60 in all\)"):
        fitted(np.full(N, np.nan))


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([1, "a"] * 30, "got 1 in row 0 and 'a' in row 1"),
        ([True, "a"] * 30, "got True in row 0 and 'a' in row 1"),
        (["a", 1.5] * 30, "got 'a' in row 0 and 1.5 in row 1"),
        (np.array([1, True] * 30, object), "got 1 in row 0 and True in row 1"),
        ([b"a", b"b"] * 30, "got an array of dtype .S1"),
        (np.array([b"a", b"b"] * 30, object), "got b'a' in row 0"),
    ],
)
def test_labels_of_mixed_kinds(y, match):
    with pytest.raises(TypeError, match=f"^y: expected .*whole numbers, bool or strings.*{match}"):
        fitted(y)


# ---------------------------------------------------------------------- what outputs cannot hold


@pytest.mark.parametrize(
    ("y", "out", "loss", "match"),
    [
        (CODES, 1, "cross_entropy", r"loss: .*take 'binary_cross_entropy' for two .*Dense\(2\)"),
        (CODES, 1, "multi_margin", "loss: .*take 'hinge' for two"),
        (
            CODES % 3,
            2,
            "cross_entropy",
            r"y: .*or 2 classes, got 3 .*end the network with Dense\(3\)",
        ),
        (CODES % 3, 1, "binary_cross_entropy", r"take 'cross_entropy' and .*Dense\(3\)"),
        (CODES % 3, 1, "hinge", r"take 'cross_entropy' and end the network with Dense\(3\)"),
        (CODES % 2 + 7, 4, "cross_entropy", r"got 2 \(7, 8\), .*Dense\(2\), or .*classes=\["),
        (CODES % 2, 2, "binary_cross_entropy", "for one label of each example take 'cross_entr"),
        (np.full(N, 5), 1, "hinge", r"got 1 \(5\), .* name all classes: .*classes=\["),
        (["a"] * N, 1, "binary_cross_entropy", r"expected 2 classes, got 1 \(a\); name all"),
        (CODES + 0.5, 4, "cross_entropy", "y: .*got .* in row 0; for values take .*'mse'"),
        (["a", "b"] * 30, 1, "mse", "y: expected real numbers .*for labels take .*'cross_entropy'"),
        (np.array([0, 2**63], np.uint64)[CODES % 2], 2, "cross_entropy", r"below 2\*\*63 as"),
    ],
)
def test_what_to_do(y, out, loss, match):
    with pytest.raises((ValueError, TypeError), match=match):
        fitted(y, out, loss)


# ---------------------------------------------------------------------- all that takes labels


def test_class_weight_goes_by_label():
    y = of_classes([10, 20, 30, 40])
    by_label = fitted(y, class_weight={20: 3.0, np.int64(40): 0.5})
    by_order = fitted(y, class_weight=[1, 3, 1, 0.5])
    by_column = fitted(CODES, class_weight={1: 3.0, 3: 0.5})
    np.testing.assert_array_equal(by_label.parameters, by_order.parameters)
    np.testing.assert_array_equal(by_label.parameters, by_column.parameters)
    with pytest.raises(ValueError, match=r"class_weight: .*\(10, 20, 30, 40\), got 1"):
        fitted(y, class_weight={1: 3.0})


def test_curvature_and_callbacks_take_labels():
    y = of_classes([10, 20, 30, 40])
    monitors = [fnn.CurvatureMonitor(X, labels, n_samples=20) for labels in (y, CODES)]
    model, expected = fitted(y, callbacks=monitors[:1]), fitted(CODES, callbacks=monitors[1:])
    assert model.history["gauss_newton_trace"] == expected.history["gauss_newton_trace"]
    v = np.random.default_rng(0).normal(size=model.n_parameters)
    hessians = [fnn.curvature.Hessian(m, X, t) for m, t in ((model, y), (expected, CODES))]
    np.testing.assert_array_equal(hessians[0] @ v, hessians[1] @ v)
    np.testing.assert_array_equal(model.hvp(X, y, v), expected.hvp(X, CODES, v))
    batches = [
        np.concatenate(list(fnn.curvature.per_example_gradients(m, X, t)))
        for m, t in ((model, y.astype(object)), (expected, CODES))
    ]
    np.testing.assert_array_equal(*batches)


def test_probabilities_are_no_labels():
    p = np.random.default_rng(0).uniform(size=N)
    model = fitted(p, 1, "binary_cross_entropy")
    assert model.classes_ is None
    two = fitted(of_classes([5, 9], CODES % 2), 1, "binary_cross_entropy")
    assert np.isfinite(two.evaluate(X, p)["loss"])
    with pytest.raises(ValueError, match=r"\(5, 9\), got 1 in row"):
        two.evaluate(X, (p > 0.5).astype(float))


def test_bool_and_0_1_are_the_same():
    y = CODES % 2 == 1
    model = fitted(y, 2)
    assert model.evaluate(X, y) == model.evaluate(X, y.astype(int))
    numbers = fitted(y.astype(int), 2)
    assert numbers.evaluate(X, y) == model.evaluate(X, y)


def test_another_loss_later():
    model = fitted(CODES % 2, 1, "binary_cross_entropy")
    model.fit(X, 2 * (CODES % 2) - 1, loss="hinge", verbose=0)
    assert model.classes_.tolist() == [-1, 1]
    model = fitted(of_classes([5, 9], CODES % 2), 1, "binary_cross_entropy")
    model.fit(X, of_classes([5, 9], CODES % 2), loss="hinge", verbose=0)
    assert model.classes_.tolist() == [5, 9]
    with pytest.raises(ValueError, match=r"\(5, 9\), got -1"):
        model.fit(X, 2 * (CODES % 2) - 1, loss="hinge", verbose=0)
