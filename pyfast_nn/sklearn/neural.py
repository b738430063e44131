"""Estimators of any network: what `Sequential` and its `fit` take, as parameters."""

import copy
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .. import losses, optim
from ..history import History
from ..labels import check_classes
from ..layers import Dense, ReLU, Softmax, WeightNorm
from ..losses import Loss
from ..models import Sequential, engine_of
from ..optim.base import find as find_optimizer
from ..typing import Array, ArrayLike, Floats, Inputs
from . import nested
from .base import Classifying, Estimator, check_weights, weigh_classes
from .types import ClassifierMixin, RegressorMixin

OF_FIT = (
    *("epochs", "batch_size", "gradient_accumulation_steps", "mixup", "shuffle"),
    *("validation_split", "metrics", "train_metrics", "patience", "min_delta", "monitor"),
    "verbose",
)
HIDDEN = (Dense(100), ReLU())  # as scikit-learn's perceptrons have
NESTED = ("layers", "loss", "optimizer")  # parameters with settings of their own


class Neural(Estimator):
    """An estimator of a network that the user has made."""

    layers: Any
    loss: Any
    optimizer: Any
    callbacks: Any
    device: str
    random_state: Any
    warm_start: bool
    model_: Sequential
    optimizer_: optim.Optimizer

    # ------------------------------------------------------------------ parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, and with `deep` the settings of what is within some of them.

        Parameters
        ----------
        deep : bool

        Returns
        -------
        dict
            ``{"layers": ..., "layers__0": Dense(64), "layers__0__units": 64, ...}``
        """
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name in NESTED:
                params |= dict(nested.settings(params[name], name))
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters, and settings of what is within some of them.

        Parameters
        ----------
        **params
            By the names of `get_params`. Layers, losses and optimizers are replaced by changed
            copies.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        super().set_params(**{k: v for k, v in params.items() if "__" not in k})
        for name, value in params.items():
            head, *rest = name.split("__")
            if not rest:
                continue
            if head not in NESTED or name not in self.get_params():
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}: expected one "
                    f"of {', '.join(self.get_params())}"
                )
            setattr(self, head, nested.replaced(getattr(self, head), rest, value))
        return self

    def __sklearn_clone__(self) -> Any:
        clone = super().__sklearn_clone__()
        clone.layers = copy.deepcopy(self.layers)  # at once: what stands in two places still does
        return clone

    # ------------------------------------------------------------------ fit

    def _prepare(self, X: Any, y: Any, *, reset: bool, incremental: bool) -> tuple[Any, Any]:
        """Return checked X and y; what the outputs are, is known then."""
        raise NotImplementedError

    def _check_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return checked X and y that are not trained on."""
        raise NotImplementedError

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _units(self) -> int:
        """Return how many outputs there are."""
        raise NotImplementedError

    def _targets(self, y: Any) -> Any:
        """Return y as the network takes it."""
        return y

    def _weigh(self, y: Any, weights: Floats | None) -> Floats | None:
        """Return the weights of examples that are trained on."""
        return weights

    def _options(self) -> dict[str, Any]:
        """Return what the network is made with."""
        return {}

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any] = (None, None, None),
        *,
        incremental: bool,
    ) -> None:
        if incremental:
            self._check_incremental()
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y = self._prepare(X, y, reset=first, incremental=incremental)
        weights = self._weigh(y, check_weights(sample_weight, X.shape[0]))
        if first:
            self.model_ = self._make_model(X)
        self.model_.to(self.device)
        if not (incremental and hasattr(self, "optimizer_")) or first:
            given = optim.Adam() if self.optimizer is None else copy.deepcopy(self.optimizer)
            self.optimizer_ = find_optimizer(given)() if isinstance(given, str) else given
        options = {name: getattr(self, name) for name in OF_FIT}
        if incremental:
            options["epochs"] = 1
        self.model_.fit(
            X,
            self._targets(y),
            loss=self._loss(),
            optimizer=self.optimizer_,
            sample_weight=weights,
            validation_data=self._validation_data(*held_out),
            callbacks=() if self.callbacks is None else self.callbacks,
            **options,
        )

    def _check_incremental(self) -> None:
        for name in ("validation_split", "patience"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: expected None for partial_fit, an epoch of all rows, got "
                    f"{getattr(self, name)!r}"
                )

    def _validation_data(self, X: Any, y: Any, sample_weight: Any) -> Any:
        if (X is None) != (y is None) or (X is None and sample_weight is not None):
            raise ValueError("X_val, y_val: expected both or none of them, got one alone")
        if X is None:
            return None
        X, y = self._check_validation(X, y)
        weights = check_weights(sample_weight, X.shape[0])
        return (X, self._targets(y)) + (() if weights is None else (weights,))

    def _make_model(self, X: Any) -> Sequential:
        layers = copy.deepcopy(list(self.layers))
        if layers and isinstance(layers[-1], (Dense, Softmax, WeightNorm)):
            raise ValueError(
                f"layers: expected all but the last, as Dense({self._units()}) follows them, got "
                f"ones that end with {layers[-1]!r}; leave it out"
            )
        seed = check_random_state(self.random_state).randint(2**31)
        made = Sequential(
            [*layers, Dense(self._units())], dtype=X.dtype, seed=seed, **self._options()
        )
        names = getattr(self, "feature_names_in_", None)
        made.feature_names_in_ = None if names is None else np.array(names, object)
        return made

    # ------------------------------------------------------------------ what is known then

    @property
    def history_(self) -> History:
        """Of the last fit (History)."""
        check_is_fitted(self)
        history: History = self.model_.history
        return history

    @property
    def n_iter_(self) -> int:
        """Epochs of the last fit (int)."""
        return self.history_.epochs


def _check_probabilities(classifier: Any) -> bool:
    """Say whether there are some; AttributeError if not, as scikit-learn does."""
    if classifier.loss is not None and not losses.check(classifier.loss).gives_probabilities:
        raise AttributeError(f"probabilities are not what {classifier.loss!r} gives")
    return True


class NeuralClassifier(ClassifierMixin, Classifying, Neural):
    """Any network as a classifier of scikit-learn.

    Parameters
    ----------
    layers : sequence of Layer
        All but the last: a `Dense` layer follows, with an output for each class or label. Their
        settings are parameters, too: ``layers__0__units`` in a search.
    loss : str, pyfast_nn.losses.Loss or None
        Of labels. None is ``"cross_entropy"``, and ``"binary_cross_entropy"`` where an example may
        have several labels. ``"binary_cross_entropy"`` and ``"hinge"`` of two classes have one
        output.
    optimizer : str, pyfast_nn.optim.Optimizer or None
        As for `Sequential.fit`; it is copied for each fit. ``optimizer__lr`` is a parameter, too.
    epochs, batch_size, gradient_accumulation_steps, mixup, shuffle : optional
        As for `Sequential.fit`, as are all that follow up to `verbose`.
    validation_split, metrics, train_metrics, patience, min_delta, monitor : optional
        What is held out and watched. Data of one's own are ``X_val`` and ``y_val`` of `fit`.
    callbacks : list of Callback, or None
    verbose : int or "auto"
        0, the default here, is silent.
    class_weight : dict, "balanced" or None
        How much the examples of each class count, times `sample_weight`.
    warm_start : bool
        Whether `fit` goes on from the parameters of the fit before.
    random_state : int, RandomState or None
        What first parameters, row orders, held-out rows and dropout are functions of.
    device : str
        What computes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, as for `Sequential`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    model_ : Sequential
        The network itself, which all of pyfast_nn may look into.
    optimizer_ : pyfast_nn.optim.Optimizer
        With its state.
    history_ : History
        Of the last fit.
    n_iter_ : int
        Epochs of the last fit.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    Notes
    -----
    float32 data are trained in float32, all others in float64, as `MLPClassifier` does.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from pyfast_nn.sklearn import NeuralClassifier
    >>> block = fnn.Residual([fnn.LayerNorm(), fnn.Dense(32), fnn.ReLU(), fnn.Dense(32)])
    >>> classifier = NeuralClassifier([fnn.Dense(32), block, fnn.ReLU()], random_state=0)
    >>> search = GridSearchCV(classifier, {"optimizer": ["adam", "sgd"], "epochs": [2]}, cv=2)
    >>> search.fit(X, y).best_estimator_.predict_proba(Xt).shape
    (300, 10)
    """

    def __init__(
        self,
        layers: Any = HIDDEN,
        *,
        loss: Any = None,
        optimizer: Any = None,
        epochs: Any = None,
        batch_size: Any = None,
        gradient_accumulation_steps: int = 1,
        mixup: float = 0.0,
        shuffle: bool = True,
        validation_split: float | None = None,
        metrics: Any = (),
        train_metrics: bool = False,
        patience: int | None = None,
        min_delta: float = 0.0,
        monitor: str = "val_loss",
        callbacks: Any = None,
        verbose: Any = 0,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.mixup = mixup
        self.shuffle = shuffle
        self.validation_split = validation_split
        self.metrics = metrics
        self.train_metrics = train_metrics
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.callbacks = callbacks
        self.verbose = verbose
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Inputs,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Inputs | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> "NeuralClassifier":
        """Train on X and y, from the beginning unless `warm_start`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
        y : array_like (n,), or (n, n_labels) of 0 and 1
            Labels, or which of several labels each example has.
        sample_weight : array_like (n,), optional
            How much each example counts.
        X_val, y_val, sample_weight_val : optional
            Validation data.

        Returns
        -------
        NeuralClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is impossible.
        FloatingPointError
            If the loss overflows.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)
        return self

    def partial_fit(
        self,
        X: Inputs,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> "NeuralClassifier":
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like (n_classes,)
            All labels there will be; needed in the first call only.

        Returns
        -------
        NeuralClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As for `fit`; with `validation_split` or `patience`.
        """
        self._begin_partial_fit(y, classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Inputs) -> Any:
        """Return the most probable label of each row, or which labels it has.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)

        Returns
        -------
        ndarray (n,) or (n, n_labels)
            A sparse matrix of labels where `fit` got one.
        """
        outputs = self._outputs(X)
        if self._labels.several:
            return self._labels.decode(outputs)
        places = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
        return self.classes_[places.astype(np.intp)]

    @available_if(_check_probabilities)
    def predict_proba(self, X: Inputs) -> Array:
        """Return the probability of each class, or of each label.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)

        Returns
        -------
        ndarray (n, n_classes)
            Columns in the order of `classes_`.
        """
        X = self._check_X(X)
        return self.model_.predict_proba(X)

    def decision_function(self, X: Inputs) -> Array:
        """Return how much speaks for each class.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)

        Returns
        -------
        ndarray (n,) or (n, n_classes)
            The outputs; of two classes, what the second has more than the first.
        """
        outputs = self._outputs(X)
        if self._labels.several or len(self.classes_) > 2:
            return outputs
        return outputs[:, -1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]

    def _outputs(self, X: Inputs) -> Array:
        X = self._check_X(X)
        return engine_of(self.model_).outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _prepare(self, X: Any, y: Any, *, reset: bool, incremental: bool) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_labels(y)
        else:
            self._compare_labels(y, all_of_them=self.warm_start)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got one class, {self.classes_[0]}")
        return X, y

    def _check_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=False)
        self._compare_labels(y, all_of_them=False)
        return X, y

    def _loss(self) -> Loss:
        if self.loss is None:
            return losses.check("binary_cross_entropy" if self._labels.several else "cross_entropy")
        loss = losses.check(self.loss)
        needed = "binary" if self._labels.several else "classes"
        if loss.task not in ((needed,) if len(self.classes_) > 2 else (needed, "binary")):
            what = "several labels of an example" if self._labels.several else "several classes"
            raise ValueError(f"loss: expected one of {what}, got {self.loss!r}")
        return loss

    def _units(self) -> int:
        one = self._loss().task == "binary" and not self._labels.several
        return 1 if one else len(self.classes_)

    def _options(self) -> dict[str, Any]:
        names = self._names()
        return {} if names is None else {"classes": names}

    def _names(self) -> Array | None:
        """Return the labels as the network knows them, if it does."""
        if self._labels.several:
            return None
        try:
            return check_classes(self.classes_, self._units())
        except (TypeError, ValueError):
            return None

    def _targets(self, y: Any) -> Any:
        if self._labels.several:
            indicators = self._labels.encode(y, self.model_.dtype)
            return 2 * indicators - 1 if self._loss().codes == (-1, 1) else indicators
        places, names = np.searchsorted(self.classes_, y), self._names()
        return places if names is None else names[places]

    def _weigh(self, y: Any, weights: Floats | None) -> Floats | None:
        return weigh_classes(self.class_weight, y, self._labels, weights)


class NeuralRegressor(RegressorMixin, Neural):
    """Any network as a regressor of scikit-learn.

    Parameters
    ----------
    layers : sequence of Layer
        All but the last: a `Dense` layer follows, with an output for each column of y. Their
        settings are parameters, too: ``layers__0__units`` in a search.
    loss : str or pyfast_nn.losses.Loss
        Of values.
    optimizer : str, pyfast_nn.optim.Optimizer or None
        As for `Sequential.fit`; it is copied for each fit. ``optimizer__lr`` is a parameter, too.
    standardize_targets : bool
        As for `Sequential`.
    epochs, batch_size, gradient_accumulation_steps, mixup, shuffle : optional
        As for `Sequential.fit`, as are all that follow up to `verbose`.
    validation_split, metrics, train_metrics, patience, min_delta, monitor : optional
        What is held out and watched. Data of one's own are ``X_val`` and ``y_val`` of `fit`.
    callbacks : list of Callback, or None
    verbose : int or "auto"
        0, the default here, is silent.
    warm_start : bool
        Whether `fit` goes on from the parameters of the fit before.
    random_state : int, RandomState or None
        What first parameters, row orders, held-out rows and dropout are functions of.
    device : str
        What computes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, as for `Sequential`.

    Attributes
    ----------
    model_, optimizer_, history_, n_iter_, n_features_in_, feature_names_in_
        As of `NeuralClassifier`.
    n_outputs_ : int

    Notes
    -----
    float32 data are trained in float32, all others in float64, as `MLPRegressor` does.

    Examples
    --------
    >>> from pyfast_nn.sklearn import NeuralRegressor
    >>> X, y = fnn.datasets.make_noisy_sine(500, seed=0)
    >>> layers = [fnn.Dense(32), fnn.Tanh()]
    >>> regressor = NeuralRegressor(layers, optimizer=fnn.optim.AdamW(lr=0.01), random_state=0)
    >>> regressor.fit(X, y).predict(X).shape
    (500,)
    """

    def __init__(
        self,
        layers: Any = HIDDEN,
        *,
        loss: Any = "mse",
        optimizer: Any = None,
        standardize_targets: bool = False,
        epochs: Any = None,
        batch_size: Any = None,
        gradient_accumulation_steps: int = 1,
        mixup: float = 0.0,
        shuffle: bool = True,
        validation_split: float | None = None,
        metrics: Any = (),
        train_metrics: bool = False,
        patience: int | None = None,
        min_delta: float = 0.0,
        monitor: str = "val_loss",
        callbacks: Any = None,
        verbose: Any = 0,
        warm_start: bool = False,
        random_state: Any = None,
        device: str = "cpu",
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.standardize_targets = standardize_targets
        self.epochs = epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.mixup = mixup
        self.shuffle = shuffle
        self.validation_split = validation_split
        self.metrics = metrics
        self.train_metrics = train_metrics
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.callbacks = callbacks
        self.verbose = verbose
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Inputs,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Inputs | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> "NeuralRegressor":
        """Train on X and y, from the beginning unless `warm_start`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
        y : array_like (n,) or (n, n_outputs)
        sample_weight : array_like (n,), optional
            How much each example counts.
        X_val, y_val, sample_weight_val : optional
            Validation data.

        Returns
        -------
        NeuralRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is impossible.
        FloatingPointError
            If the loss overflows.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)
        return self

    def partial_fit(
        self, X: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "NeuralRegressor":
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        NeuralRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As for `fit`; with `validation_split` or `patience`.
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Inputs) -> Array:
        """Return the values of each row; with the Poisson loss the rates.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)

        Returns
        -------
        ndarray (n,) or (n, n_outputs)
        """
        X = self._check_X(X)
        return self.model_.predict(X)

    def _prepare(self, X: Any, y: Any, *, reset: bool, incremental: bool) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=reset, y_numeric=True)
        self.n_outputs_: int = 1 if y.ndim == 1 else y.shape[1]
        return X, y

    def _check_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        return self._check_training(X, y, reset=False, y_numeric=True)

    def _loss(self) -> Loss:
        loss = losses.check(self.loss)
        if loss.task != "values":
            raise ValueError(f"loss: expected one of values, got {self.loss!r}")
        return loss

    def _units(self) -> int:
        return self.n_outputs_

    def _options(self) -> dict[str, Any]:
        return {"standardize_targets": self.standardize_targets}
