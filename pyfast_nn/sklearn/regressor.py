"""The regressor."""

from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ..layers import Layer
from ..losses import Loss
from ..typing import Array, ArrayLike, Inputs
from .mlp import MLP, check_steps
from .objective import LOSSES, Objective, of_values
from .types import RegressorMixin


class MLPRegressor(RegressorMixin, MLP):
    """scikit-learn's multi-layer perceptron for values, trained by the core.

    All parameters up to `max_fun` are those of `sklearn.neural_network.MLPRegressor`, in the same
    order; the defaults of the others change nothing.

    Parameters
    ----------
    loss : str or pyfast_nn.losses.Loss
        ``"squared_error"`` or ``"poisson"``, as there, whose outputs are logarithms of rates;
        ``"absolute_error"``, ``"huber"``, ``"log_cosh"`` or ``"quantile"`` (the median), summed
        over the outputs; or an object such as ``fnn.losses.Quantile(0.9)``.
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
    dropout : float
        Share of the hidden units that each step leaves out, from 0 to below 1; see
        `pyfast_nn.Dropout`.
    norm : layer or None
        A norm such as ``fnn.BatchNorm()``, of which each hidden layer has one in front of its
        activation.
    scoring : str, callable or None
        What early stopping looks at: a name or scorer of scikit-learn, or ``"loss"``. None is R^2.
    callbacks : list of Callback, or None
        Told of each epoch; see `pyfast_nn.Callback`. Not for "lbfgs".
    device : str
        What computes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, as for `Sequential`.

    Attributes
    ----------
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
    * With several outputs "lbfgs" minimises the sum over them of half of the squared error, whose
      gradient scikit-learn takes while it looks at the mean.

    Examples
    --------
    >>> from pyfast_nn.sklearn import MLPRegressor
    >>> regressor = MLPRegressor("huber", solver="lbfgs", tol=0.02, random_state=0)
    >>> regressor.fit(X, X.sum(axis=1)).score(Xt, Xt.sum(axis=1)) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), Loss],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
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
        dropout: float = 0.0,
        norm: Layer | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        device: str = "cpu",
    ) -> None:
        self.loss = loss
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
    ) -> "MLPRegressor":
        """Train on X and y, from the beginning unless `warm_start`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
        y : array_like (n,) or (n, n_outputs)
        sample_weight : array_like (n,), optional
            How much each example counts: a batch, and with it the penalty, is divided by the sum
            of its weights.
        X_val, y_val, sample_weight_val : optional
            Examples that are evaluated after each epoch, in place of a fraction of X and y. With
            `early_stopping` it is they that decide.

        Returns
        -------
        MLPRegressor
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
        self, X: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "MLPRegressor":
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        MLPRegressor
            Itself.

        Raises
        ------
        AttributeError
            With ``solver="lbfgs"``.
        ValueError
            As for `fit`; with ``early_stopping=True``.
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
        self._check_fitted()
        values = self._outputs(X, "exp" if self.out_activation_ == "exp" else "identity")
        return values[:, 0] if values.shape[1] == 1 else values

    def _prepare(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = self._check_training(X, y, reset=reset, y_numeric=True)
        self.n_outputs_: int = 1 if y.ndim == 1 else y.shape[1]
        return X, y

    def _prepare_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        return self._check_training(X, y, reset=False, y_numeric=True)

    def _objective(self) -> Objective:
        return of_values(self.loss, self.n_outputs_)

    def _encode(self, y: Any, dtype: Any) -> Array:
        values = np.ascontiguousarray(y, dtype).reshape(len(y), -1)
        loss = self._objective().loss
        possible = loss.accepts(values)
        if not possible.all():
            row = int(np.argwhere(~possible)[0, 0])
            raise ValueError(
                f"y: expected {loss.expected} under {loss.name!r}, got {y[row]} in row {row}"
            )
        return values
