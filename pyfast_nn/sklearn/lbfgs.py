"""Training by L-BFGS of SciPy on the loss and gradient of the core."""

import itertools
import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from ..data import Examples
from ..engine import PREDICTS
from ..models import Sequential, engine_of
from ..threads import shared
from ..typing import Array, Floats
from .networks import views
from .objective import Objective


class LBFGS:
    """The part of a perceptron that trains it with "lbfgs"."""

    model_: Sequential
    alpha: float
    max_fun: int
    max_iter: int
    tol: float
    verbose: Any
    loss_: float
    n_iter_: int

    def _fit_lbfgs(
        self, objective: Objective, X: Any, targets: Array, weights: Floats | None
    ) -> None:
        """Minimise the objective over all rows, in float64 whatever the dtype of the model."""
        model = self.model_
        engine_of(model).loss = objective.loss
        if model.dtype != np.float64:
            model = Sequential(model.layers, dtype="float64", seed=model.seed, device=model.device)
            model.build(self.model_.in_features)
            model.parameters, model.state = self.model_.parameters, self.model_.state
        engine, matrices = engine_of(model), views(model)[0]
        mean_weights = None if weights is None else weights / weights.mean()
        total = len(targets) if weights is None else weights.sum()
        if targets.dtype.kind == "f":
            targets = targets.astype(np.float64)
        examples = Examples(X, targets, targets, mean_weights)
        values = {"data": np.nan, "penalty": np.nan}

        def value_and_gradient(parameters: Floats) -> tuple[float, Floats]:
            take_share()
            engine.parameters[:] = parameters
            value, gradient = engine.loss_and_grad(examples, objective.loss, PREDICTS)
            penalty = 0.5 * self.alpha / total * sum(np.vdot(w, w) for w in matrices)
            values.update(data=value, penalty=penalty)
            gradient *= objective.scale
            for name, slope in engine.named_parameters(gradient).items():
                if slope.ndim == 2:
                    slope += self.alpha / total * engine.named_parameters()[name]
            return objective.scale * value + penalty, gradient

        numbers = itertools.count(1)

        def show(_: Floats) -> None:
            loss = objective.scale * values["data"] + values["penalty"]
            print(f"Iteration {next(numbers)}, loss = {loss:.8f}")

        with shared() as take_share:
            result = scipy.optimize.minimize(
                value_and_gradient,
                engine.parameters.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=show if self.verbose else None,
                options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
            )
            value_and_gradient(result.x)
        self.model_.parameters = result.x
        constant = objective.constant(targets)
        beside = 0.0 if constant is None else float(np.average(constant, weights=weights))
        self.loss_ = float(objective.reported * values["data"] + values["penalty"] + beside)
        self.n_iter_ = min(result.nit, self.max_iter)
        if result.status != 0:
            warnings.warn(
                _failure(result, self.n_iter_, self.max_iter), ConvergenceWarning, stacklevel=4
            )


def _failure(result: Any, n_iter: int, max_iter: int) -> str:
    """Return scikit-learn's message of a run that ended before it converged."""
    more = (
        f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        if n_iter == max_iter
        else ""
    )
    return (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n"
        f"{result.message}\n{more}\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
