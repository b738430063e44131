"""Any network as an estimator of scikit-learn: NeuralClassifier, NeuralRegressor."""

import pickle

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

import joblib
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyfast_nn.sklearn import NeuralClassifier, NeuralRegressor, load

pytestmark = pytest.mark.once
LABELS = {
    "int": np.array([3, 5, 11]),
    "str": np.array(["no", "perhaps", "yes"]),
    "float": np.array([0.0, 1.0, 2.0]),
}


def draw(rng, n=150, classes=3):
    centres = 3 * rng.standard_normal((classes, 5))
    places = rng.integers(0, classes, n)
    return centres[places] + rng.standard_normal((n, 5)), places


def small(**options):
    layers = [fnn.Dense(16), fnn.ReLU()]
    options = {"layers": layers, "epochs": 20, "batch_size": 32, "random_state": 0, **options}
    return NeuralClassifier(**{"optimizer": fnn.optim.Adam(lr=0.02), **options})


# Full batches, as the checks of weights compare sums.
@parametrize_with_checks(
    [
        NeuralClassifier(batch_size=512, epochs=100),
        NeuralRegressor(batch_size=512, epochs=100),
    ]
)
def test_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------------------- what it is trained to


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_fit_of_the_network(rng, dtype):
    X, y = draw(rng)
    X = X.astype(dtype)
    options = {"epochs": 5, "batch_size": 16, "validation_split": 0.2, "patience": 3}
    estimator = NeuralClassifier(
        [fnn.Dense(16), fnn.Dropout(0.2), fnn.Tanh()],
        optimizer=fnn.optim.AdamW(lr=0.01),
        random_state=7,
        **options,
    ).fit(X, y)
    layers = [fnn.Dense(16), fnn.Dropout(0.2), fnn.Tanh(), fnn.Dense(3)]
    seed = np.random.RandomState(7).randint(2**31)
    model = fnn.Sequential(layers, dtype=dtype, seed=seed)
    optimizer = fnn.optim.AdamW(lr=0.01)
    history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer, verbose=0, **options)
    assert_same_bits(estimator.model_.parameters, model.parameters)
    assert estimator.history_["loss"] == history["loss"]
    assert estimator.n_iter_ == history.epochs
    assert_same_bits(estimator.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(estimator.predict(X), model.predict(X))


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("loss", [None, "cross_entropy", "multi_margin", "hinge"])
@pytest.mark.parametrize("classes", [2, 3])
def test_labels(rng, kind, loss, classes):
    X, places = draw(rng, classes=classes)
    names = LABELS[kind][:classes]
    estimator = small(loss=loss)
    if loss == "hinge" and classes > 2:
        with pytest.raises(ValueError, match="loss: expected one of several classes, got 'hinge'"):
            estimator.fit(X, names[places])
        return
    estimator.fit(X, names[places])
    assert estimator.score(X, names[places]) > 0.95
    np.testing.assert_array_equal(estimator.classes_, names)
    scores = estimator.decision_function(X)
    assert scores.shape == ((len(X),) if classes == 2 else (len(X), classes))
    best = (scores > 0).astype(int) if classes == 2 else scores.argmax(1)
    np.testing.assert_array_equal(estimator.predict(X), names[best])
    assert hasattr(estimator, "predict_proba") == (loss in (None, "cross_entropy"))
    if kind != "float":
        np.testing.assert_array_equal(estimator.model_.predict(X), estimator.predict(X))


@pytest.mark.parametrize("loss", [None, "hinge"])
def test_several_labels(rng, loss):
    X, places = draw(rng)
    Y = np.eye(3, dtype=int)[places]
    Y[:, 1] |= X[:, 0] > 0
    estimator = small(loss=loss, epochs=60).fit(X, Y)
    assert (estimator.predict(X) == Y).mean() > 0.95
    if loss is None:
        assert estimator.predict_proba(X).shape == Y.shape
    with pytest.raises(ValueError, match="loss: expected one of several labels of an example"):
        small(loss="cross_entropy").fit(X, Y)


def test_weights_of_classes(rng):
    X, y = draw(rng, classes=2)
    heavy = small(class_weight={0: 1, 1: 20}, epochs=3).fit(X, y)
    weighted = small(epochs=3).fit(X, y, np.where(y == 1, 20.0, 1.0))
    assert_same_bits(heavy.model_.parameters, weighted.model_.parameters)


def test_validation_data_of_ones_own(rng):
    X, y = draw(rng)
    names = LABELS["str"][y]
    estimator = small(patience=2, epochs=50, metrics=["accuracy"])
    estimator.fit(X[:100], names[:100], X_val=X[100:], y_val=names[100:])
    assert estimator.history_.best_epoch is not None
    assert len(estimator.history_["val_accuracy"]) == estimator.n_iter_
    with pytest.raises(ValueError, match="X_val, y_val: expected both or none"):
        estimator.fit(X, names, X_val=X)


@pytest.mark.parametrize("loss", ["mse", "huber", "poisson"])
@pytest.mark.parametrize("outputs", [None, 2])
def test_values(rng, loss, outputs):
    X = rng.standard_normal((200, 4))
    y = np.exp(0.3 * X[:, 0]) if outputs is None else np.exp(0.3 * X[:, :outputs])
    layers, optimizer = [fnn.Dense(16), fnn.Tanh()], fnn.optim.Adam(lr=0.02)
    options = {"optimizer": optimizer, "epochs": 60, "batch_size": 20, "random_state": 0}
    estimator = NeuralRegressor(layers, loss=loss, **options).fit(X, y)
    assert estimator.predict(X).shape == y.shape
    assert estimator.score(X, y) > 0.9
    if loss == "poisson":
        assert_same_bits(estimator.predict(X), estimator.model_.predict(X))


def test_standardized_targets(rng):
    X = rng.standard_normal((200, 4))
    y = 1000 + 50 * X[:, 0]
    options = {"epochs": 30, "batch_size": 20, "random_state": 0}
    plain = NeuralRegressor(**options).fit(X, y)
    scaled = NeuralRegressor(standardize_targets=True, **options).fit(X, y)
    assert plain.score(X, y) < 0 < 0.9 < scaled.score(X, y)
    inner = NeuralRegressor(**options)
    around = TransformedTargetRegressor(inner, transformer=StandardScaler()).fit(X, y)
    np.testing.assert_allclose(scaled.predict(X), around.predict(X), rtol=1e-6)


# ---------------------------------------------------------------------------- going on


def test_partial_fit_is_fit_an_epoch_at_a_time(rng):
    X, y = draw(rng)
    whole = small(epochs=4).fit(X, y)
    parts = small()
    for _ in range(4):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    assert_same_bits(parts.model_.parameters, whole.model_.parameters)


@pytest.mark.parametrize("name", ["validation_split", "patience"])
def test_partial_fit_refuses_what_it_does_not_do(rng, name):
    X, y = draw(rng)
    estimator = small(**{name: {"validation_split": 0.1, "patience": 3}[name]})
    with pytest.raises(ValueError, match=f"{name}: expected None for partial_fit"):
        estimator.partial_fit(X, y, classes=[0, 1, 2])
    assert not hasattr(estimator, "model_")


def test_partial_fit_after_a_file(rng, tmp_path):
    X, y = draw(rng)
    first = small().partial_fit(X, y, classes=[0, 1, 2])
    first.save(tmp_path / "estimator")
    second = load(tmp_path / "estimator").partial_fit(X, y)
    first.partial_fit(X, y)
    assert_same_bits(second.model_.parameters, first.model_.parameters)


def test_warm_start(rng):
    X, y = draw(rng)
    estimator = small(warm_start=True, epochs=2).fit(X, y)
    model, before = estimator.model_, estimator.model_.parameters.copy()
    estimator.fit(X, y)
    assert estimator.model_ is model and not np.array_equal(before, model.parameters)
    assert small(epochs=2).fit(X, y).fit(X, y).model_.epochs_trained == 2


# ---------------------------------------------------------------------------- parameters


def test_settings_by_name():
    block = fnn.Residual([fnn.Dense(8), fnn.ReLU()])
    gate = fnn.Multiply(fnn.Dense(8), [fnn.Dense(8), fnn.Sigmoid()])
    estimator = NeuralClassifier(
        [fnn.Dense(8), block, gate],
        optimizer=fnn.optim.Adam(lr=0.1),
        loss=fnn.losses.CrossEntropy(),
    )
    params = estimator.get_params()
    assert params["layers__0"] == fnn.Dense(8) and params["layers__0__units"] == 8
    assert params["layers__1__layers__0__units"] == 8 and params["optimizer__lr"] == 0.1
    assert "layers__0" not in estimator.get_params(deep=False)
    given = [estimator.layers, estimator.optimizer, estimator.layers[1]]
    estimator.set_params(
        layers__0__units=16,
        layers__1__layers__0__units=16,
        layers__2__branches__1__layers__0__units=16,
        optimizer__lr=0.2,
        loss__label_smoothing=0.1,
        epochs=3,
    )
    assert estimator.layers[0] == fnn.Dense(16)
    assert estimator.layers[1] == fnn.Residual([fnn.Dense(16), fnn.ReLU()])
    expected = fnn.Multiply(fnn.Dense(8), [fnn.Dense(16), fnn.Sigmoid()])
    assert estimator.layers[2] == expected
    assert estimator.optimizer.lr == 0.2 and estimator.epochs == 3
    assert estimator.loss == fnn.losses.CrossEntropy(label_smoothing=0.1)
    # what the user gave is as it was
    assert given[0][0] == fnn.Dense(8) and given[1].lr == 0.1 and given[2] == block
    for name in ("layers__0__unit", "layers__7", "epochs__x", "depth", "optimizer__betas__0"):
        with pytest.raises(ValueError, match="Invalid parameter"):
            estimator.set_params(**{name: 1})


def test_a_layer_in_two_places_stays_one(rng, tmp_path):
    tied = fnn.Dense(5)
    estimator = small(epochs=1).set_params(layers=[tied, fnn.Tanh(), tied, fnn.ReLU()])
    X, y = draw(rng)
    for one in (clone(estimator), pickle.loads(pickle.dumps(estimator))):
        assert one.layers[0] is one.layers[2] and one.layers[0] is not tied
    estimator.fit(X, y).save(tmp_path / "estimator")
    for one in (estimator, load(tmp_path / "estimator")):
        assert len(one.model_.named_parameters()) == 4
    estimator.set_params(layers__2__init="he_normal")
    assert estimator.layers[0] is estimator.layers[2] is not tied


def test_the_last_layer_follows_by_itself(rng):
    X, y = draw(rng)
    for last in (fnn.Dense(3), fnn.WeightNorm(fnn.Dense(3)), fnn.Softmax()):
        with pytest.raises(ValueError, match=r"layers: expected all but the last, as Dense\(3\)"):
            NeuralClassifier([fnn.Dense(8), fnn.ReLU(), last]).fit(X, y)
    assert NeuralClassifier([], epochs=1).fit(X, y).model_.layers == (fnn.Dense(3),)


def test_impossible_parameters(rng):
    X, y = draw(rng)
    for options, message in [
        ({"epochs": 0}, "epochs: expected an integer from 1"),
        ({"optimizer": "adm"}, "optimizer: expected"),
        ({"layers": [8]}, r"layers\[0\]: expected a layer"),
        ({"loss": "mse"}, "loss: expected one of several classes, got 'mse'"),
        ({"verbose": "loud"}, "verbose: expected"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            small(**options).fit(X, y)
    with pytest.raises(ValueError, match="loss: expected one of values, got 'hinge'"):
        NeuralRegressor(loss="hinge").fit(X, y.astype(float))


# ---------------------------------------------------------------------------- within scikit-learn


def test_searches_pipelines_and_calibration(rng):
    X, y = draw(rng)
    names = LABELS["str"][y]
    pipeline = make_pipeline(StandardScaler(), small(epochs=10))
    grid = {"neuralclassifier__layers__0__units": [4, 8], "neuralclassifier__optimizer__lr": [0.02]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, names)
    assert search.best_score_ > 0.8
    assert len(search.best_estimator_[-1].model_.layers) == 3
    calibrated = CalibratedClassifierCV(small(epochs=5), cv=2).fit(X, names)
    assert calibrated.predict_proba(X).shape == (len(X), 3)
    importances = permutation_importance(search, X, names, n_repeats=2, random_state=0)
    assert importances.importances.shape == (5, 2)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(rng, backend):
    X, y = draw(rng)
    with joblib.parallel_backend(backend, n_jobs=2):
        scores = cross_val_score(small(epochs=3), X, y, cv=3)
    np.testing.assert_array_equal(scores, cross_val_score(small(epochs=3), X, y, cv=3))


def test_pickle_and_file(rng, tmp_path):
    X, y = draw(rng)
    layers = [fnn.Dense(8), fnn.BatchNorm(), fnn.ReLU()]
    classifier = NeuralClassifier(
        layers, epochs=2, optimizer=fnn.optim.AdamW(lr=0.01), batch_size=25, random_state=3
    ).fit(X, LABELS["str"][y])
    classifier.save(tmp_path / "estimator")
    for other in (pickle.loads(pickle.dumps(classifier)), load(tmp_path / "estimator")):
        assert_same_bits(other.predict_proba(X), classifier.predict_proba(X))
        np.testing.assert_array_equal(other.predict(X), classifier.predict(X))
        params = other.get_params()
        assert params["layers"] == layers and params["optimizer__lr"] == 0.01
        assert other.history_["loss"] == classifier.history_["loss"]
        other.partial_fit(X, LABELS["str"][y])
    assert_same_bits(fnn.load(tmp_path / "estimator").parameters, classifier.model_.parameters)
