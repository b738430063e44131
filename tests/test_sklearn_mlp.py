"""The perceptrons beside scikit-learn's: the same numbers, and what there is besides."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

sklearn = pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

import joblib  # noqa: E402
from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.inspection import permutation_importance  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_validate  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

import pyfast_nn as fnn  # noqa: E402
from pyfast_nn.sklearn import MLPClassifier, MLPRegressor, load  # noqa: E402

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

OURS = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
SMOOTH = {"activation": "tanh", "hidden_layer_sizes": (7, 5), "max_iter": 12, "random_state": 3}


def data(kind, dtype=np.float64, n=130):
    """X, y and weights of a task that both libraries know."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, 6))
    weights = rng.uniform(0.2, 3, n)
    weights[::9] = 0
    hidden = X @ rng.normal(size=(6, 3)) + 0.3 * rng.normal(size=(n, 3))
    y = {
        "binary": np.array(["no", "yes"])[(hidden[:, 0] > 0).astype(int)],
        "classes": hidden.argmax(axis=1) * 2 + 5,
        "labels": (hidden > 0).astype(int),
        "value": hidden[:, 0],
        "values": hidden,
        "counts": rng.poisson(np.exp(hidden / 3)),
        "rates": rng.poisson(np.exp(hidden[:, 0] / 3)).astype(float),
    }[kind]
    return X.astype(dtype), y, weights


def estimators(kind, **parameters):
    """scikit-learn's estimator for a task, and ours."""
    name = "MLPClassifier" if kind in ("binary", "classes", "labels") else "MLPRegressor"
    if kind in ("counts", "rates"):
        parameters["loss"] = "poisson"
    parameters = SMOOTH | parameters
    return getattr(neural_network, name)(**parameters), OURS[name](**parameters)


KINDS = ["binary", "classes", "labels", "value", "values", "counts", "rates"]
SOLVERS = {
    "adam": {"learning_rate_init": 0.01},
    "adam, other numbers": {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "alpha": 0.3},
    "full batch": {"batch_size": 130, "learning_rate_init": 0.01},
    "not shuffled": {"shuffle": False, "batch_size": 40},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 32},
    "heavy": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "batch_size": 50},
    "plain": {"solver": "sgd", "momentum": 0, "alpha": 2.0, "learning_rate_init": 0.01},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 0.05,
        "n_iter_no_change": 2,
        "max_iter": 40,
        "learning_rate_init": 0.02,
    },
    "early stopping": {"early_stopping": True, "tol": 0.02, "n_iter_no_change": 3, "max_iter": 60},
    "logistic": {"activation": "logistic", "alpha": 0.1},
    "relu": {"activation": "relu"},
    "identity": {"activation": "identity", "hidden_layer_sizes": (4,)},
    "without hidden layers": {"hidden_layer_sizes": (), "alpha": 0.1},
}


def assert_alike(theirs, ours, X, rtol=1e-10):
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    for name in ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"):
        expected = getattr(theirs, name, None)
        if expected is None:
            assert getattr(ours, name, None) is None
        else:
            np.testing.assert_allclose(getattr(ours, name), expected, rtol, rtol, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for actual, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(actual, expected, rtol, rtol, err_msg=name)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    expected, actual = theirs.predict(X), ours.predict(X)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, rtol, rtol)
    else:
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol, rtol)
        logarithms = theirs.predict_log_proba(X)
        np.testing.assert_allclose(ours.predict_log_proba(X), logarithms, 1e-6, rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_training(solver, kind):
    X, y, weights = data(kind)
    theirs, ours = estimators(kind, **SOLVERS[solver])
    assert_alike(theirs.fit(X, y), ours.fit(X, y), X)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-9)
    theirs, ours = estimators(kind, **SOLVERS[solver] | {"batch_size": 40})
    assert_alike(theirs.fit(X, y, sample_weight=weights), ours.fit(X, y, weights), X)


@pytest.mark.parametrize("kind", KINDS)
def test_lbfgs(kind):
    """Few iterations, as rounding grows; of one output where scikit-learn's gradient is right."""
    X, y, weights = data(kind)
    for extra in ((), (weights,)):
        theirs, ours = estimators(kind, solver="lbfgs", max_iter=8, alpha=0.5)
        theirs.fit(X, y, *extra)
        ours.fit(X, y, *extra)
        if kind == "values":
            sums = [0.5 * np.sum((each.predict(X) - y) ** 2) for each in (theirs, ours)]
            assert sums[1] < 1.1 * sums[0]
        else:
            assert_alike(theirs, ours, X, 1e-7)
            assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)


def test_lbfgs_in_float32_is_that_of_float64_rounded():
    X, y, _ = data("classes", np.float32)
    double, single = (
        MLPClassifier(solver="lbfgs", **SMOOTH),
        MLPClassifier(solver="lbfgs", **SMOOTH),
    )
    double.fit(X.astype(np.float64), y)
    single.fit(X, y)
    assert single.coefs_[0].dtype == np.float32 and single.loss_ == pytest.approx(
        double.loss_, 1e-3
    )


def test_messages_of_lbfgs(capsys):
    X, y, _ = data("binary")
    theirs, ours = estimators("binary", solver="lbfgs", max_iter=3)
    with pytest.warns(ConvergenceWarning) as expected:
        theirs.fit(X, y)
    with pytest.warns(ConvergenceWarning) as came:
        ours.set_params(verbose=True).fit(X, y)
    assert str(came[0].message) == str(expected[0].message)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit(kind):
    X, y, weights = data(kind)
    for solver in ("sgd", "adam"):
        theirs, ours = estimators(kind, solver=solver, batch_size=20, learning_rate="invscaling")
        classes = {}
        if hasattr(ours, "predict_proba"):
            classes = {"classes": np.arange(3) if kind == "labels" else np.unique(y)}
        for first in (0, 30, 60):
            rows = slice(first, first + 60)
            for each in (theirs, ours):
                each.partial_fit(X[rows], y[rows], sample_weight=weights[rows], **classes)
        assert_alike(theirs, ours, X)


def test_warm_start():
    X, y, _ = data("classes")
    for solver in ("sgd", "adam"):
        theirs, ours = estimators("classes", solver=solver, warm_start=True, batch_size=50)
        for _ in range(3):
            assert_alike(theirs.fit(X, y), ours.fit(X, y), X)
        for each in (theirs, ours):
            with pytest.raises(ValueError, match="warm_start can only be used where `y` has the"):
                each.fit(X, np.where(y == 5, 6, y))
    with pytest.raises(ValueError, match="warm_start, partial_fit: expected the parameters of"):
        ours.set_params(hidden_layer_sizes=4).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, np.asfortranarray]
)
def test_inputs_of_any_kind(make, dtype):
    X, y, _ = data("value", dtype)
    X[X < 0.3] = 0
    ours = MLPRegressor(**SMOOTH)
    expected = clone(ours).fit(X, y).predict(X)
    actual = ours.fit(make(X), y).predict(make(X))
    assert actual.dtype == expected.dtype == dtype
    np.testing.assert_allclose(actual, expected, 1e-4 if dtype == np.float32 else 1e-12)


def test_verbose_says_the_same(capsys):
    X, y, _ = data("binary")
    options = {"verbose": True, "solver": "sgd", "tol": 0.1, "n_iter_no_change": 2}
    for more in ({}, {"learning_rate": "adaptive"}, {"early_stopping": True}):
        texts = []
        for each in estimators("binary", **options, **more):
            each.fit(X, y)
            texts.append(capsys.readouterr().out)
        assert texts[0] == texts[1] and "Iteration 1, loss = " in texts[0]


def test_the_random_state_is_left_where_scikit_learn_leaves_it():
    X, y, _ = data("binary")
    after = []
    for each in estimators("binary", early_stopping=True):
        state = np.random.RandomState(5)
        each.set_params(random_state=state).fit(X, y)
        after.append(state.randint(2**31))
    assert after[0] == after[1]


def test_sparse_indicators_and_one_class():
    X, y, _ = data("labels")
    theirs, ours = estimators("labels")
    sparse = scipy.sparse.csr_matrix(y)
    actual, expected = (each.fit(X, sparse).predict(X) for each in (ours, theirs))
    assert scipy.sparse.issparse(actual) and (actual != expected).nnz == 0
    for each in estimators("binary"):
        each.fit(X, np.full(len(X), "one"))
        assert set(each.predict(X)) == {"one"} and each.predict_proba(X).shape == (len(X), 2)


# ----------------------------------------------------------------------- objects


def test_weights_are_views():
    X, y, _ = data("value")
    ours = MLPRegressor(**SMOOTH).fit(X, y)
    before = ours.predict(X)
    assert np.shares_memory(ours.coefs_[0], ours.model_.parameters)
    ours.model_.parameters[:] = 0
    assert not ours.coefs_[0].any() and not ours.predict(X).any()
    weights = clone(ours).fit(X, y)
    ours.coefs_, ours.intercepts_ = weights.coefs_, weights.intercepts_  # as scikit-learn allows
    np.testing.assert_array_equal(ours.predict(X), before)
    ours.intercepts_[-1][...] += 1
    np.testing.assert_allclose(ours.predict(X), before + 1)


@pytest.mark.parametrize("through", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_copies_go_on_alone(through, solver):
    X, y, _ = data("classes")
    ours = MLPClassifier(solver=solver, warm_start=True, **SMOOTH).fit(X, y)
    other = through(ours)
    assert other.get_params() == ours.get_params()
    before = ours.predict_proba(X)
    np.testing.assert_array_equal(other.predict_proba(X), before)
    assert np.shares_memory(other.coefs_[0], other.model_.parameters)
    if solver != "lbfgs":
        other.partial_fit(X, y)
        np.testing.assert_array_equal(ours.predict_proba(X), before)
        ours.partial_fit(X, y)
        np.testing.assert_array_equal(ours.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize("kind", KINDS)
def test_files(tmp_path, kind):
    X, y, _ = data(kind)
    _, ours = estimators(kind, early_stopping=True)
    ours.set_params(norm=fnn.LayerNorm(), activation=fnn.GELU()).fit(X, y)
    ours.save(tmp_path / "mlp.safetensors")
    again = load(tmp_path / "mlp.safetensors")
    assert type(again) is type(ours) and again.get_params() == ours.get_params()
    known = {
        k: v for k, v in vars(ours).items() if k.endswith("_") and isinstance(v, (list, float))
    }
    assert all(len(getattr(again, k)) == len(v) for k, v in known.items() if isinstance(v, list))
    assert again.loss_curve_ == ours.loss_curve_
    np.testing.assert_array_equal(again.predict(X), ours.predict(X))
    for each in (ours, again):
        each.set_params(early_stopping=False).partial_fit(X, y)
    np.testing.assert_array_equal(again.coefs_[0], ours.coefs_[0])
    network = fnn.load(tmp_path / "mlp.safetensors")
    np.testing.assert_array_equal(
        network.parameters, fnn.load(tmp_path / "mlp.safetensors").parameters
    )


def test_files_of_others(tmp_path):
    X, y, _ = data("value")
    ours = MLPRegressor(solver=fnn.optim.AdamW(lr=fnn.schedules.Cosine(1e-2, 100)), **SMOOTH)
    with pytest.raises(NotFittedError):
        ours.save(tmp_path / "no")
    ours.fit(X, y).save(tmp_path / "mlp")
    assert repr(load(tmp_path / "mlp").solver) == repr(ours.solver)
    ours.set_params(scoring=lambda *_: 0.0)
    with pytest.raises(ValueError, match="scoring: expected what a file can hold"):
        ours.save(tmp_path / "mlp")
    ours.model_.save(tmp_path / "model")
    with pytest.raises(fnn.ModelFileError, match="of a model, which"):
        load(tmp_path / "model")
    (tmp_path / "broken").write_bytes((tmp_path / "mlp").read_bytes()[:-9])
    with pytest.raises(fnn.ModelFileError, match="not an intact safetensors file"):
        load(tmp_path / "broken")


def test_the_network_itself():
    X, y, _ = data("classes")
    ours = MLPClassifier(solver="lbfgs", **SMOOTH).fit(X, y)
    np.testing.assert_array_equal(ours.model_.predict(X), ours.predict(X))
    gradient = ours.model_.loss_and_grad(X, y)[1]
    H = ours.hessian(X, y)
    v = np.linspace(-1, 1, H.shape[0])
    there = copy.deepcopy(ours.model_)
    there.parameters += 1e-5 * v
    np.testing.assert_allclose((there.loss_and_grad(X, y)[1] - gradient) / 1e-5, H @ v, atol=1e-4)
    for kind in ("binary", "labels", "value", "values", "rates"):
        X, y, weights = data(kind)
        _, ours = estimators(kind)
        assert ours.fit(X, y).hessian(X, y, weights).shape == (ours.model_.n_parameters,) * 2
        np.testing.assert_array_equal(ours.model_.predict(X), ours.predict(X))


def test_what_stands_around_estimators():
    """Pipelines, calibration, targets that are transformed, importances, metadata routing."""
    X, y, weights = data("binary")
    classifier = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", **SMOOTH))
    assert CalibratedClassifierCV(classifier, cv=2).fit(X, y).score(X, y) > 0.8
    assert permutation_importance(classifier.fit(X, y), X, y, n_repeats=2).importances.any()
    values = data("value")[1]
    scaled = TransformedTargetRegressor(
        MLPRegressor(solver="lbfgs", **SMOOTH), transformer=StandardScaler()
    )
    assert scaled.fit(X, 1e4 * values).score(X, 1e4 * values) > 0.5
    with sklearn.config_context(enable_metadata_routing=True):
        ours = MLPClassifier(solver="lbfgs", **SMOOTH)
        ours.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(ours, X, y, params={"sample_weight": weights}, cv=2)
        assert found["test_score"].shape == (2,)


# ----------------------------------------------------------------------- threads


TWO_FITS = """
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyfast_nn as fnn
from pyfast_nn.sklearn import MLPRegressor

most, both = fnn.get_num_threads(), threading.Barrier(2)

class Seen(fnn.Callback):
    def __init__(self):
        self.threads = []

    def on_epoch_end(self, model, epoch, record):
        if epoch in (0, 2):  # until then both have begun, and none has ended
            both.wait(60)
        self.threads.append(fnn.get_num_threads())

def fit(seen):
    X = np.random.RandomState(0).normal(size=(90, 4))
    mlp = MLPRegressor(callbacks=seen, max_iter=3, random_state=0, tol=1e9).fit(X, X[:, 0])
    return mlp.coefs_[0], fnn.get_num_threads()

seen = [Seen(), Seen()]
with ThreadPoolExecutor(2) as pool:
    (first, after), (second, also_after) = pool.map(fit, seen)
assert [each.threads[1] for each in seen] == [max(1, most // 2)] * 2, [s.threads for s in seen]
assert after == also_after == most == fnn.get_num_threads() == 4
assert np.array_equal(first, second)
"""


def test_fits_in_threads_share_the_processors():
    """In a process of its own, where nobody has called set_num_threads, which would hold."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TWO_FITS],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "4"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_searches_in_parallel(backend):
    X, y, _ = data("classes")
    search = GridSearchCV(MLPClassifier(**SMOOTH), {"alpha": [0.0, 1.0]}, cv=2, n_jobs=2)
    with joblib.parallel_config(backend):
        scores = search.fit(X, y).cv_results_["mean_test_score"]
        threads = joblib.Parallel(n_jobs=2)(joblib.delayed(fnn.get_num_threads)() for _ in "ab")
    np.testing.assert_array_equal(
        scores, search.set_params(n_jobs=1).fit(X, y).cv_results_["mean_test_score"]
    )
    if backend == "loky":
        assert max(threads) <= max(1, joblib.cpu_count() // 2)
