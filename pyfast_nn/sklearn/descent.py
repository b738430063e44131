"""The optimizer of a stochastic fit, and scikit-learn's rules for its learning rate."""

import copy
from contextlib import AbstractContextManager
from typing import Any

from ..optim import SGD, Adam, Optimizer
from ..typing import Array

SMALLEST_RATE = 1e-6  # below which "adaptive" gives up


class Descent:
    """An optimizer, and how its learning rate changes between epochs.

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
        Whose parameters say what it is.

    Attributes
    ----------
    optimizer : Optimizer
    """

    def __init__(self, mlp: Any) -> None:
        self.optimizer: Optimizer
        self._schedule = "constant"
        if mlp.solver == "adam":
            self.optimizer = Adam(
                lr=mlp.learning_rate_init,
                betas=(mlp.beta_1, mlp.beta_2),
                eps=mlp.epsilon,
                eps_mode="keras",
            )
        elif mlp.solver == "sgd":
            self.optimizer = SGD(
                lr=mlp.learning_rate_init,
                momentum=mlp.momentum,
                nesterov=mlp.nesterovs_momentum and mlp.momentum > 0,
            )
            self._schedule = mlp.learning_rate
        else:
            self.optimizer = copy.deepcopy(mlp.solver)  # what the user has given stays as it is
        self._first_rate, self._power = mlp.learning_rate_init, mlp.power_t

    def rates(self) -> dict[str, Any]:
        """Return, but for the optimizer, plain values from which `resumed` makes the same."""
        return {"dict": [[k, v] for k, v in vars(self).items() if k != "optimizer"]}

    @classmethod
    def resumed(cls, optimizer: Optimizer, rates: dict[str, Any]) -> "Descent":
        """Return what goes on with an optimizer, from the `rates` of then."""
        self = cls.__new__(cls)
        vars(self).update(rates, optimizer=optimizer)
        return self

    @property
    def learning_rate(self) -> Any:
        """The present one (float, or what the user's optimizer has)."""
        return self.optimizer.lr

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        """Change it as scikit-learn does, whose velocity keeps the rates of its past."""
        before, self.optimizer.lr = self.optimizer.lr, rate
        for velocity in self.optimizer.state:
            velocity *= before / rate

    def end_epoch(self, samples_seen: int) -> None:
        """Lower the rate where it follows the number of samples."""
        if self._schedule == "invscaling":
            self.learning_rate = float(self._first_rate) / (samples_seen + 1) ** self._power

    def standstill(self) -> tuple[bool, str]:
        """Lower the rate if that is what follows; return whether it is over, and how to say it."""
        if self._schedule != "adaptive":
            return True, "Stopping."
        if self.learning_rate <= SMALLEST_RATE:
            return True, "Learning rate too small. Stopping."
        self.learning_rate /= 5.0
        return False, f"Setting learning rate to {self.learning_rate:f}"

    @property
    def has_averages(self) -> bool:
        """Whether the optimizer keeps averages of the parameters (bool)."""
        return self.optimizer.ema is not None or self.optimizer.swa is not None

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the network has the averages."""
        return self.optimizer.averaged()

    def make_average(self, parameters: Array) -> None:
        """Let the parameters of the network be their averages."""
        if self.optimizer.step_count > 0:
            with self.averaged():
                averages = parameters.copy()
            parameters[:] = averages
