"""Fitted perceptrons of scikit-learn as ours: what they predict, know and go on from."""

import pickle

import numpy as np
import pytest
import scipy.sparse

sklearn = pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

import pyfast_nn as fnn  # noqa: E402
from pyfast_nn.sklearn import MLPClassifier, MLPRegressor, from_sklearn, load  # noqa: E402
from test_sklearn_mlp import KINDS, data, estimators  # noqa: E402

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def bound(dtype):
    return {"rtol": 1e-11, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}


def fitted(kind, dtype, **parameters):
    X, y, _ = data(kind, dtype)
    theirs, _ = estimators(kind, **parameters)
    return theirs.fit(X, y), X, y


def assert_alike(ours, theirs, X, dtype):
    expected = theirs.predict(X)
    actual = ours.predict(X)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, **bound(dtype))
    else:
        np.testing.assert_array_equal(actual, expected)
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), **bound(dtype))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_predictions(kind, activation, dtype):
    theirs, X, y = fitted(kind, dtype, activation=activation)
    ours = from_sklearn(theirs)
    assert type(ours) is (MLPClassifier if hasattr(theirs, "classes_") else MLPRegressor)
    assert ours.model_.dtype == theirs.coefs_[0].dtype
    assert_alike(ours, theirs, X, dtype)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-4)
    given = theirs.get_params()
    assert given == {name: ours.get_params()[name] for name in given}
    of_network = ours.model_.predict(X)
    if of_network.dtype.kind == "f":
        np.testing.assert_allclose(of_network, ours.predict(X))
    else:
        np.testing.assert_array_equal(of_network, ours.predict(X))


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("kind", ["classes", "value"])
def test_the_same_attributes(kind, parameters):
    theirs, _, _ = fitted(kind, "float64", **parameters)
    ours = from_sklearn(theirs)
    names = [name for name in vars(theirs) if name.endswith("_") and name[0] != "_"]
    assert {"coefs_", "loss_", "n_iter_", "t_", "out_activation_"} <= set(names)
    for name in names:
        np.testing.assert_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ours.coefs_[0] is not theirs.coefs_[0]
    before = [coef.copy() for coef in theirs.coefs_]
    ours.model_.parameters += 1
    assert ours.coefs_[0][0, 0] == before[0][0, 0] + 1
    np.testing.assert_equal(theirs.coefs_, before)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("kind", ["binary", "labels", "value"])
def test_it_goes_on(kind, parameters):
    """A fit from where the other one ended, as that one does."""
    theirs, X, y = fitted(kind, "float64", warm_start=True, **parameters)
    ours, other = from_sklearn(theirs), from_sklearn(theirs)
    if not parameters:  # with an optimizer that begins anew
        other.partial_fit(X, y).partial_fit(X, y)
        assert other.t_ == theirs.t_ + 2 * len(X) and other.loss_ < theirs.loss_
        assert other.loss_curve_[:-2] == theirs.loss_curve_
    ours.fit(X, y)
    theirs.fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-7)
    if "early_stopping" in parameters:  # where theirs trains on in its copy of the best weights
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-7)
    else:
        assert_alike(ours, theirs, X, "float32")
    assert not hasattr(clone(ours), "model_")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_kept(kind, tmp_path):
    theirs, X, _ = fitted(kind, "float64")
    ours = from_sklearn(theirs)
    ours.save(tmp_path / "m.safetensors")
    for each in (pickle.loads(pickle.dumps(ours)), load(tmp_path / "m.safetensors")):
        assert_alike(each, theirs, X, "float64")


def test_without_hidden_layers_and_with_one_class():
    X, y, _ = data("classes")
    theirs = neural_network.MLPClassifier((), max_iter=2).fit(X, y)
    assert_alike(from_sklearn(theirs), theirs, X, "float64")
    theirs = neural_network.MLPClassifier((3,), max_iter=2).fit(X, np.full(len(X), 4))
    np.testing.assert_array_equal(from_sklearn(theirs).predict(X), theirs.predict(X))


def test_several_labels_in_a_sparse_matrix():
    X, y, _ = data("labels")
    theirs = neural_network.MLPClassifier((3,), max_iter=2).fit(X, scipy.sparse.csr_matrix(y))
    ours = from_sklearn(theirs)
    assert scipy.sparse.issparse(ours.predict(X))
    np.testing.assert_array_equal(ours.predict(X).toarray(), theirs.predict(X).toarray())


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X, y, _ = data("value")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    theirs = neural_network.MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(frame, y)
    ours = from_sklearn(theirs)
    assert list(ours.feature_names_in_) == list("abcdef")
    assert list(ours.model_.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[list("bacdef")])


def test_what_cannot_be_taken():
    with pytest.raises(NotFittedError):
        from_sklearn(neural_network.MLPClassifier())
    for wrong in (3, MLPClassifier(), fnn.Sequential([fnn.Dense(2)])):
        with pytest.raises(TypeError, match=r"^mlp: expected an MLPClassifier or MLPRegressor of"):
            from_sklearn(wrong)
