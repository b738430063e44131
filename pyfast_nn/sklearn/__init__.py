"""Estimators for scikit-learn: its multi-layer perceptrons, trained by the core.

Everything that scikit-learn does with an estimator it does with these: pipelines, searches,
calibration, metadata routing, pickles, joblib. Needs scikit-learn, the extra ``sklearn``.

==================== ===============================================================
`MLPClassifier`      `sklearn.neural_network.MLPClassifier`, with the same answers
`MLPRegressor`       `sklearn.neural_network.MLPRegressor`, likewise
`NeuralClassifier`   any network as a classifier
`NeuralRegressor`    any network as a regressor
`TabularClassifier`  a pack of networks that learns from a table as it comes
`TabularRegressor`   likewise, of values
`from_sklearn`       a fitted perceptron of scikit-learn as one of ours
`load`               an estimator from a file that its method ``save`` wrote
==================== ===============================================================

Examples
--------
>>> from pyfast_nn.sklearn import MLPClassifier
>>> classifier = MLPClassifier(learning_rate_init=0.01, tol=1e-3, random_state=0).fit(X, y)
>>> classifier.score(Xt, yt) > 0.9
True
"""


def _need_scikit_learn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"pyfast_nn.sklearn needs scikit-learn: pip install 'pyfast-nn[sklearn]' ({error})",
            name=error.name,
        ) from error


_need_scikit_learn()

from .classifier import MLPClassifier  # noqa: E402
from .exchange import from_sklearn  # noqa: E402
from .loading import load  # noqa: E402
from .neural import NeuralClassifier, NeuralRegressor  # noqa: E402
from .regressor import MLPRegressor  # noqa: E402
from .tabular import TabularClassifier, TabularRegressor  # noqa: E402

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "NeuralClassifier",
    "NeuralRegressor",
    "TabularClassifier",
    "TabularRegressor",
    "from_sklearn",
    "load",
]


def __dir__() -> list[str]:
    return __all__
