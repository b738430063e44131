"""Reading an estimator from its file."""

from typing import Any

from .. import checks, modelfile
from ..loading import decode
from ..modelfile import ModelFileError
from ..optim import Optimizer
from ..tabular.loading import decode as decode_tabular
from ..typing import Path
from .classifier import MLPClassifier
from .descent import Descent
from .files import FIELDS, FORMAT_VERSION, KEY, value_of
from .neural import NeuralClassifier, NeuralRegressor
from .regressor import MLPRegressor
from .tabular import TabularClassifier, TabularRegressor

KINDS: tuple[type[Any], ...] = (
    MLPClassifier,
    MLPRegressor,
    NeuralClassifier,
    NeuralRegressor,
    TabularClassifier,
    TabularRegressor,
)
TABULAR = ("TabularClassifier", "TabularRegressor")
ESTIMATORS = {kind.__name__: kind for kind in KINDS}


def load(path: Path) -> Any:
    """Read an estimator that its method ``save`` wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    estimator
        As it was, with all parameters and attributes: `partial_fit` goes on from there.

    Raises
    ------
    ModelFileError
        If the file is not intact, or has no estimator; a subclass of ValueError.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> from pyfast_nn.sklearn import MLPClassifier, load
    >>> classifier = MLPClassifier(max_iter=20, tol=0.5, random_state=0).fit(X, y)
    >>> classifier.save("classifier.safetensors")
    >>> np.array_equal(load("classifier.safetensors").predict(Xt), classifier.predict(Xt))
    True
    """
    path = checks.path(path)
    with open(path, "rb") as file:
        raw = file.read()
    try:
        modelfile.read_tensors(raw)
        description = modelfile.describe(raw, KEY, FIELDS, FORMAT_VERSION)
        model: Any
        optimizer = None
        if description["estimator"] in TABULAR:
            model = decode_tabular(raw)
        else:
            model, optimizer = decode(raw, wanted=False)
        try:
            return _made_of(description, model, optimizer)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise ModelFileError(f"its estimator is not valid: {error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__


def _made_of(description: dict[str, Any], model: Any, optimizer: Optimizer | None) -> Any:
    kind = ESTIMATORS[checks.choice(description["estimator"], "estimator", tuple(ESTIMATORS))]
    parameters = {k: value_of(v) for k, v in description["parameters"].items()}
    attributes = {k: value_of(v) for k, v in description["attributes"].items()}
    estimator = kind(**parameters)
    if "_optimizer" in attributes and optimizer is not None:
        attributes["_optimizer"] = Descent.resumed(optimizer, attributes["_optimizer"])
    elif optimizer is not None:
        attributes["optimizer_"] = optimizer
    estimator.__setstate__(attributes | {"model_": model})
    return estimator
