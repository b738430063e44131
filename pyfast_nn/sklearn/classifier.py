"""The classifier."""

from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .. import outcome
from ..engine import PREDICTS
from ..layers import Layer
from ..models import engine_of
from ..typing import Array, ArrayLike, Floats, Inputs
from .base import Classifying, weigh_classes
from .mlp import MLP, check_steps
from .objective import Objective, of_labels
from .types import ClassifierMixin


class MLPClassifier(ClassifierMixin, Classifying, MLP):
    """scikit-learn's multi-layer perceptron for labels, trained by the core.

    It minimises the log-loss. All parameters up to `max_fun` are those of
    `sklearn.neural_network.MLPClassifier`, in the same order; the defaults of the others change
    nothing.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, activation, or list of those
        Of the hidden layers: a name, an object such as ``fnn.GELU()``, or one for each of them.
    solver : {"adam", "sgd", "lbfgs"} or pyfast_nn.optim.Optimizer
        Any optimizer of ours made without params, as ``fnn.optim.AdamW(lr=fnn.schedules.Cosine(
        1e-3, 5000), clip_norm=1.0)``: its own settings hold then, in place of the parameters
        below that are for "sgd" or "adam". It is copied for each fit. Averages that it keeps
        (``ema``, ``swa``) are the weights at the end of `fit`, and what is validated.
    alpha : float
        The penalty is ``alpha / 2`` times the sum of the squared weights, divided by the number of
        rows (or the sum of their weights) of a batch; biases have none. (Decay that does not depend
        on it is that of an optimizer, as ``AdamW(weight_decay=0.01)``.)
    batch_size : int or "auto"
        Rows of a step; ``"auto"`` is ``min(200, n)``. Not for "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}
        For "sgd": as it is; ``learning_rate_init / (t_ + 1) ** power_t`` after each epoch; or
        divided by 5 whenever `n_iter_no_change` epochs bring nothing.
    learning_rate_init : float
        For "sgd" and "adam".
    power_t : float
        For "sgd" with "invscaling".
    max_iter : int
        Epochs, or iterations of "lbfgs", at most.
    shuffle : bool
        Whether each epoch has a new order of rows. Not for "lbfgs".
    random_state : int, RandomState or None
        What first weights, row orders and held-out rows are drawn from, as scikit-learn does.
    tol : float
        By how much the loss (or score) is to improve; for "lbfgs" the largest slope at the end.
    verbose : bool, int or "bar"
        Print each epoch; ``"bar"`` draws a bar on a terminal or in a notebook.
    warm_start : bool
        Whether `fit` goes on from the weights of the fit before.
    momentum, nesterovs_momentum : float, bool
        For "sgd".
    early_stopping : bool
        Hold out `validation_fraction` of the rows, stop when their score no longer improves, and
        return to the best weights. Not for "lbfgs".
    validation_fraction : float
        See `early_stopping`.
    beta_1, beta_2, epsilon : float
        For "adam".
    n_iter_no_change : int
        After how many epochs without an improvement by `tol` a fit ends.
    max_fun : int
        For "lbfgs": evaluations of the loss at most.
    class_weight : dict, "balanced" or None
        How much the examples of each class count, times `sample_weight`.
    dropout : float
        Share of the hidden units that each step leaves out, from 0 to below 1; see
        `pyfast_nn.Dropout`.
    norm : layer or None
        A norm such as ``fnn.BatchNorm()``, of which each hidden layer has one in front of its
        activation.
    scoring : str, callable or None
        What early stopping looks at: a name or scorer of scikit-learn, or ``"loss"``. None is
        the accuracy.
    callbacks : list of Callback, or None
        Told of each epoch; see `pyfast_nn.Callback`. Not for "lbfgs".
    device : str
        What computes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, as for `Sequential`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    model_ : Sequential
        The network itself, which all of pyfast_nn may look into.
    coefs_, intercepts_ : list of ndarray
        Weights (in, out) and biases (out,) of each layer: writable views of ``model_.parameters``.
    loss_curve_ : list of float
        The mean loss of each epoch with the penalty, in scikit-learn's scale. Not for "lbfgs".
    loss_, best_loss_ : float
        The last of them; the least, None with early stopping.
    validation_scores_, validation_loss_curve_ : list of float, or None
        Of the validation data after each epoch, where there are any; the loss is without penalty.
    best_validation_score_ : float or None
        With early stopping.
    n_iter_, t_ : int
        Epochs (iterations) of the last fit; rows seen by all that count as one training.
    n_layers_, n_outputs_ : int
    out_activation_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    Notes
    -----
    With the same `random_state` and float64 data, losses, weights and predictions are those of
    scikit-learn up to rounding, for all solvers. float32 data are trained in float32. What differs:

    * Log-losses are exact where scikit-learn clips probabilities at the rounding unit.
    * A fit whose loss overflows ends at once: with the best weights before and a
      ``ConvergenceWarning`` where there is early stopping, and otherwise with a ValueError.
    * `warm_start` and `partial_fit` with other layers than before raise ValueError.
    * `partial_fit` with ``solver="lbfgs"`` does not exist.

    Examples
    --------
    >>> from pyfast_nn.sklearn import MLPClassifier
    >>> classifier = MLPClassifier((64,), early_stopping=True, random_state=0).fit(X, y)
    >>> classifier.predict_proba(Xt).shape
    (300, 10)
    """

    loss = "log_loss"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLP._parameter_constraints,
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: float = 0.0,
        norm: Layer | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        device: str = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.class_weight = class_weight
        self.dropout = dropout
        self.norm = norm
        self.scoring = scoring
        self.callbacks = callbacks
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
    ) -> "MLPClassifier":
        """Train on X and y, from the beginning unless `warm_start`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
        y : array_like (n,), or (n, n_labels) of 0 and 1
            Labels, or which of several labels each example has.
        sample_weight : array_like (n,), optional
            How much each example counts: a batch, and with it the penalty, is divided by the sum
            of its weights.
        X_val, y_val, sample_weight_val : optional
            Examples that are evaluated after each epoch, in place of a fraction of X and y. With
            `early_stopping` it is they that decide.

        Returns
        -------
        MLPClassifier
            Itself.

        Raises
        ------
        ValueError
            If an argument or a parameter is impossible, or the weights overflow.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)
        return self

    @available_if(check_steps)
    def partial_fit(
        self,
        X: Inputs,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> "MLPClassifier":
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like (n_classes,)
            All labels there will be; needed in the first call only.

        Returns
        -------
        MLPClassifier
            Itself.

        Raises
        ------
        AttributeError
            With ``solver="lbfgs"``.
        ValueError
            As for `fit`; with ``early_stopping=True`` or ``class_weight="balanced"``, which need
            all data at once.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight: expected a dict or None for partial_fit, got "
                f"{self.class_weight!r}, which needs all labels at once; "
                "sklearn.utils.class_weight.compute_class_weight makes numbers of it"
            )
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
            A sparse matrix where `fit` got one.
        """
        outputs = self._outputs(X)
        return self._labels.decode(outputs)

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
        engine = engine_of(self._synced())
        return outcome.probabilities(engine, X, self._objective().loss, [PREDICTS])

    def predict_log_proba(self, X: Inputs) -> Array:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)

        Returns
        -------
        ndarray (n, n_classes)
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _prepare(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_labels(y)
        else:
            self._compare_labels(y, all_of_them=self.warm_start)
        self.n_outputs_: int = self._labels.n_outputs
        return X, y

    def _prepare_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=False)
        self._compare_labels(y, all_of_them=False)
        return X, y

    def _objective(self) -> Objective:
        return of_labels(self._labels)

    def _encode(self, y: Any, dtype: Any) -> Array:
        return self._labels.encode(y, dtype)

    def _weigh(self, y: Any, weights: Floats | None) -> Floats | None:
        return weigh_classes(self.class_weight, y, self._labels, weights)

    def _known_classes(self) -> Array | None:
        return self._labels.of_model
