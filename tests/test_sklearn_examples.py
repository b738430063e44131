"""How scikit-learn's gallery uses its perceptrons, with ours: the same scores."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra sklearn is not installed")

from sklearn import neural_network
from sklearn.datasets import (
    load_digits,
    make_circles,
    make_classification,
    make_moons,
    make_regression,
)
from sklearn.inspection import partial_dependence
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

from pyfast_nn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def planes():
    """The three tasks in two dimensions that several examples share."""
    X, y = make_classification(
        n_features=2, n_redundant=0, n_informative=2, random_state=0, n_clusters_per_class=1
    )
    X += 2 * np.random.RandomState(2).uniform(size=X.shape)
    return [
        make_moons(noise=0.3, random_state=0),
        make_circles(noise=0.2, factor=0.5, random_state=1),
        (X, y),
    ]


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_varying_regularization(alpha):
    """plot_mlp_alpha"""
    for X, y in planes():
        X, Xt, y, yt = train_test_split(X, y, test_size=0.4, random_state=42)
        scores = []
        for kind in (neural_network.MLPClassifier, MLPClassifier):
            mlp = kind(
                solver="lbfgs",
                alpha=alpha,
                random_state=1,
                max_iter=200,
                early_stopping=True,
                hidden_layer_sizes=[10, 10],
            )
            classifier = make_pipeline(StandardScaler(), mlp).fit(X, y)
            assert classifier.predict_proba(Xt)[:, 1].shape == yt.shape
            scores.append(classifier.score(Xt, yt))
        assert abs(scores[0] - scores[1]) <= 2.5 / len(yt)  # the ways part by rounding


def test_classifier_comparison():
    for X, y in planes():
        X, Xt, y, yt = train_test_split(X, y, test_size=0.4, random_state=42)
        scores = [
            make_pipeline(StandardScaler(), kind(alpha=1, max_iter=1000, random_state=42))
            .fit(X, y)
            .score(Xt, yt)
            for kind in (neural_network.MLPClassifier, MLPClassifier)
        ]
        assert scores[0] == scores[1]


STRATEGIES = [
    {"learning_rate": "constant", "momentum": 0, "learning_rate_init": 0.2},
    {"learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": False},
    {"learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": True},
    {"learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.2},
    {"learning_rate": "invscaling", "momentum": 0.9, "nesterovs_momentum": False},
    {"learning_rate": "invscaling", "momentum": 0.9, "nesterovs_momentum": True},
    {"solver": "adam", "learning_rate_init": 0.01},
]


@pytest.mark.parametrize("strategy", range(len(STRATEGIES)))
def test_learning_strategies(strategy):
    """plot_mlp_training_curves"""
    strategy = {"solver": "sgd", "learning_rate_init": 0.2} | STRATEGIES[strategy]
    digits = load_digits(return_X_y=True)
    for X, y, epochs in [(*digits, 15), *((*plane, 100) for plane in planes()[:2])]:
        X = MinMaxScaler().fit_transform(X)
        theirs, ours = (
            kind(random_state=0, max_iter=epochs, **strategy).fit(X, y)
            for kind in (neural_network.MLPClassifier, MLPClassifier)
        )
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, 1e-6)
        assert ours.score(X, y) == theirs.score(X, y) and ours.loss_ == ours.loss_curve_[-1]


def test_weights_as_images(capsys):
    """plot_mnist_filters"""
    X, y = load_digits(return_X_y=True)
    mlp = MLPClassifier(
        hidden_layer_sizes=(40,),
        max_iter=8,
        alpha=1e-4,
        solver="sgd",
        verbose=10,
        random_state=1,
        learning_rate_init=0.2,
    )
    mlp.fit(X[:1000] / 16, y[:1000])
    assert mlp.score(X[1000:] / 16, y[1000:]) > 0.85
    assert len(capsys.readouterr().out.splitlines()) == 8
    assert [unit.reshape(8, 8).shape for unit in mlp.coefs_[0].T] == [(8, 8)] * 40


def test_partial_dependence():
    """plot_partial_dependence"""
    X, y = make_regression(400, 5, n_informative=3, noise=1.0, random_state=0)
    curves = []
    for kind in (neural_network.MLPRegressor, MLPRegressor):
        mlp = kind(
            hidden_layer_sizes=(30, 15),
            learning_rate_init=0.01,
            early_stopping=True,
            random_state=0,
        )
        pipe = make_pipeline(QuantileTransformer(n_quantiles=100), mlp).fit(X, y)
        curves.append(partial_dependence(pipe, X, [0], grid_resolution=10)["average"])
    np.testing.assert_allclose(curves[1], curves[0], 1e-5)
