"""What both perceptrons have in common: their fit, with the attributes that scikit-learn gives."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..layers import Layer
from ..models import Sequential, engine_of
from ..optim import Optimizer
from ..typing import Array, ArrayLike, Floats, Inputs, Integers
from . import networks
from .base import Estimator, check_weights
from .lbfgs import LBFGS
from .objective import Objective
from .stochastic import NOT_FINITE, Stochastic, Task
from .validation import Validation, split

if TYPE_CHECKING:
    from ..curvature import Hessian


def check_steps(mlp: Any) -> bool:
    """Say whether an estimator trains by steps; AttributeError if not, as scikit-learn does."""
    if isinstance(mlp.solver, str) and mlp.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


class MLP(Stochastic, LBFGS, Estimator):
    """A multi-layer perceptron."""

    activation: Any
    device: str
    dropout: float
    hidden_layer_sizes: Any
    norm: Any
    random_state: Any
    scoring: Any
    validation_fraction: float
    warm_start: bool
    coefs_: list[Array]
    intercepts_: list[Array]
    n_layers_: int
    n_outputs_: int
    out_activation_: str

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(networks.ACTIVATIONS)), Layer, list, tuple],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose", StrOptions({"bar"})],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "norm": [None, Layer],
        "scoring": [None, str, callable],
        "callbacks": "no_validation",
        "device": [str],
    }

    # ------------------------------------------------------------------ fit

    def _check_parameters(self, incremental: bool) -> None:
        fitted = incremental and hasattr(self, "model_")
        if not fitted and not get_config()["skip_parameter_validation"]:
            self._validate_params()

    def _objective(self) -> Objective:
        raise NotImplementedError

    def _prepare(self, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Return checked X and y; what the outputs are, is known then."""
        raise NotImplementedError

    def _prepare_validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return the same of data that are not trained on."""
        raise NotImplementedError

    def _encode(self, y: Any, dtype: Any) -> Array:
        """Return y as the core takes it."""
        raise NotImplementedError

    def _known_classes(self) -> Array | None:
        """Return what the network calls the classes, if it does."""
        return None

    def _weigh(self, y: Any, weights: Floats | None) -> Floats | None:
        """Return the weights of examples that are trained on."""
        return weights

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any] = (None, None, None),
        *,
        incremental: bool,
    ) -> None:
        self._check_parameters(incremental)
        hidden = self._hidden_sizes()
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._prepare(X, y, incremental=incremental, reset=first)
        weights = check_weights(sample_weight, X.shape[0])
        self._random_state = check_random_state(self.random_state)
        objective = self._objective()
        if first:
            self._initialize(objective, hidden, X)
        else:
            self._go_on(hidden)
        model = self._synced().to(self.device)
        targets = self._encode(y, model.dtype)
        all_weights = self._weigh(y, weights)
        if self.solver == "lbfgs":
            self._check_lbfgs(held_out)
            self._fit_lbfgs(objective, X, targets, all_weights)
        else:
            if self.early_stopping and incremental:
                raise ValueError("partial_fit does not support early_stopping=True")
            rows, examined = self._hold_out(objective, X, y, targets, weights, held_out)
            task = Task(objective, X, targets, all_weights, rows, examined)
            self._fit_stochastic(task, incremental)
        if not np.isfinite(model.parameters).all():
            raise ValueError(NOT_FINITE)

    def _check_lbfgs(self, held_out: tuple[Any, Any, Any]) -> None:
        """Raise ValueError if something is asked for that is done between steps over batches."""
        net = engine_of(self.model_).network()
        wrong = {
            "X_val": held_out[0] is not None,
            "callbacks": bool(self.callbacks),
            "dropout": net.is_random,
            "norm": net.couples_rows,
        }
        for name, given in wrong.items():
            if given:
                raise ValueError(
                    f"{name}: expected none with solver='lbfgs', whose steps look at all rows as "
                    "predictions do; take 'adam' or 'sgd'"
                )

    def _hold_out(
        self,
        objective: Objective,
        X: Any,
        y: Any,
        targets: Array,
        weights: Floats | None,
        held_out: tuple[Any, Any, Any],
    ) -> tuple[Integers, Validation | None]:
        """Return the rows to train on, and what is evaluated after each epoch."""
        X_val, y_val, weights_val = held_out
        if (X_val is None) != (y_val is None) or (X_val is None and weights_val is not None):
            raise ValueError("X_val, y_val: expected both or none of them, got one alone")
        if X_val is not None:
            X_val, y_val = self._prepare_validation(X_val, y_val)
            targets = self._encode(y_val, targets.dtype)
            weights = check_weights(weights_val, X_val.shape[0])
            return np.arange(X.shape[0]), Validation(
                self, objective, X_val, y_val, targets, weights
            )
        if not self.early_stopping:
            return np.arange(X.shape[0]), None
        # scikit-learn shares out the two classes of one output alone.
        shared = targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, others = split(X.shape[0], self.validation_fraction, shared, self._random_state)
        return rows, Validation(self, objective, X, y, targets, weights, others)

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _initialize(self, objective: Objective, hidden: list[int], X: Any) -> None:
        """Make the network, and the attributes that fits add to."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(hidden) + 2
        self.out_activation_ = objective.out_activation
        self.model_ = self._make_model(hidden, X.dtype, X.shape[1])
        networks.draw(self.model_, self.activation, self._random_state)
        if self.dropout > 0:  # else nothing is drawn that scikit-learn does not draw
            engine_of(self.model_).seed = int(self._random_state.randint(2**31))
        self.coefs_, self.intercepts_ = networks.views(self.model_)
        if self.solver != "lbfgs":
            self._begin_curves()

    def _make_model(self, hidden: list[int], dtype: Any, in_features: int) -> Sequential:
        names = getattr(self, "feature_names_in_", None)
        return networks.make_model(
            self._make_layers(hidden), dtype, in_features, names, self._known_classes()
        )

    def _make_layers(self, hidden: list[int]) -> list[Layer]:
        return networks.make_layers(
            hidden, self.n_outputs_, self.activation, self.norm, self.dropout
        )

    def _go_on(self, hidden: list[int]) -> None:
        """Compare the network with what the parameters ask for now; make it of weights alone."""
        if not hasattr(self, "model_"):  # coefs_ and intercepts_ are the user's
            dtype = np.result_type(self.coefs_[0])
            self.model_: Sequential = self._make_model(hidden, dtype, self.n_features_in_)
        layers = self._make_layers(hidden)
        if list(self.model_.layers) != layers:
            raise ValueError(
                "warm_start, partial_fit: expected the parameters of the network (hidden layers, "
                "activation, norm, dropout) and the columns of y as in the fit before, got "
                f"{layers} after {list(self.model_.layers)}; a fit without warm_start begins anew"
            )

    def _synced(self) -> Sequential:
        """Return the network, with weights that the user may have put in place of its views."""
        for own, views in zip(
            (self.coefs_, self.intercepts_), networks.views(self.model_), strict=True
        ):
            for i, view in enumerate(views):
                if own[i] is not view:
                    view[...] = own[i]
                    own[i] = view
        return self.model_

    # ------------------------------------------------------------------ what is known then

    def _check_fitted(self) -> None:
        check_is_fitted(self)

    def _outputs(self, X: Inputs, link: str = "identity") -> Array:
        """Return the outputs for rows of X, which are checked."""
        X = self._check_X(X)
        return engine_of(self._synced()).outputs(X, link)

    def hessian(
        self, X: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None, **options: Any
    ) -> "Hessian":
        """Return the Hessian of the mean loss in the weights, as an operator of SciPy.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
        y : array_like (n,) or (n, n_outputs)
            As for `fit`.
        sample_weight : array_like (n,), optional
        **options
            As for `pyfast_nn.curvature.Hessian`: ``damping``, ``restrict``, ``dtype``, ...

        Returns
        -------
        pyfast_nn.curvature.Hessian
            Of the mean over examples and outputs of ``model_.loss``, in the order of
            ``model_.parameters``, without the penalty.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        from ..curvature import Hessian

        check_is_fitted(self)
        X, y = self._prepare_validation(X, y)
        model = self._synced()
        targets = self._encode(y, model.dtype)
        if targets.ndim == 1 and model.classes_ is not None:
            targets = np.asarray(model.classes_)[targets]
        return Hessian(model, X, targets, sample_weight=sample_weight, **options)

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "model_"):
            self._synced()
        state: dict[str, Any] = super().__getstate__()
        if "model_" in state:  # of which these are views
            state = {k: v for k, v in state.items() if k not in ("coefs_", "intercepts_")}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            self.coefs_, self.intercepts_ = networks.views(self.model_)
