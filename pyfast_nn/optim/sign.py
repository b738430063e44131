"""Optimizers that use no more of a gradient than its sign."""

from typing import TYPE_CHECKING, Any

from .. import checks
from ..typing import Betas, Params, Rate, Real
from .around import Options
from .base import Optimizer
from .rule import Changing, Hyper, Update, check_betas, check_nonnegative, next_betas

if TYPE_CHECKING:
    from typing_extensions import Unpack


def check_etas(etas: Any, name: str) -> tuple[float, float]:
    shrink, grow = checks.pair(etas, name, "a factor below and one above 1")
    return (
        checks.real(shrink, f"{name}[0]", above=0, below=1),
        checks.real(grow, f"{name}[1]", above=1),
    )


def check_step_sizes(sizes: Any, name: str) -> tuple[float, float]:
    smallest, largest = checks.pair(sizes, name, "the smallest and the largest")
    smallest = checks.real(smallest, f"{name}[0]", minimum=0)
    return smallest, checks.real(largest, f"{name}[1]", minimum=smallest)


class Rprop(Optimizer):
    """Resilient backpropagation, as in torch; for gradients of the whole data.

    Each parameter has a step size ``s`` of its own, at first `lr`. Per step, with gradient ``g``
    and that of the step before ``h``::

        s = s * etas[1] if g * h > 0 else s * etas[0] if g * h < 0 else s
        s = clip(s, *step_sizes)
        g = 0 if g * h < 0 else g
        p = p - sign(g) * s

    Only the signs of ``g`` and ``h`` count, also where their product would underflow.

    Parameters
    ----------
    params
        As for `SGD`.
    lr : float, array or callable
        What the step sizes start from, as in the first step.
    etas : pair of float
        Factors of a step size that shrinks, in (0, 1), and of one that grows, above 1.
    step_sizes : pair of float
        The smallest step size, at least 0, and the largest.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    M. Riedmiller, H. Braun (1993), "A direct adaptive method for faster backpropagation learning:
    the RPROP algorithm", ICNN, https://doi.org/10.1109/ICNN.1993.298623; without going back where
    the sign has changed, as iRprop- of C. Igel, M. Hüsken (2000).

    Examples
    --------
    >>> optimizer = fnn.optim.Rprop(lr=1e-3)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer, batch_size=len(X))
    """

    etas: Hyper[tuple[Real, Real], tuple[float, float]] = Hyper(check_etas)
    step_sizes: Hyper[tuple[Real, Real], tuple[float, float]] = Hyper(check_step_sizes)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-2,
        etas: tuple[Real, Real] = (0.5, 1.2),
        step_sizes: tuple[Real, Real] = (1e-6, 50.0),
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.etas = etas
        self.step_sizes = step_sizes

    def _update(self, steps: int) -> Update:
        (etaminus, etaplus), (smallest, largest) = self.etas, self.step_sizes
        return "rprop", {
            "etaminus": etaminus,
            "etaplus": etaplus,
            "step_min": smallest,
            "step_max": largest,
        }

    def _state_names(self) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _initial(self, name: str) -> float:
        return self._next(self.lr, "lr", 1) if name == "step_size" else 0.0


class Lion(Optimizer):
    """Lion, with decoupled weight decay.

    Per step, with gradient ``g``::

        p = p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m = beta2 * m + (1 - beta2) * g

    Parameters
    ----------
    params, lr
        As for `SGD`. The paper's advice: a third to a tenth of AdamW's learning rate, and a weight
        decay larger by the same factor.
    betas : pair of float, array or callable
        Weight of the average in the step, and decay rate of the average, each in [0, 1).
    weight_decay : float
        Decay of all parameters per step and unit of learning rate, at least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    X. Chen et al. (2023), "Symbolic discovery of optimization algorithms", NeurIPS,
    https://arxiv.org/abs/2302.06675.

    Examples
    --------
    >>> optimizer = fnn.optim.Lion(lr=1e-4, weight_decay=0.1)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=optimizer)
    """

    betas: Hyper[Betas, tuple[Changing, Changing]] = Hyper(check_betas)
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: Real = 0.0,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay

    def _update(self, steps: int) -> Update:
        return "lion", {**next_betas(self, steps), "weight_decay": self.weight_decay}

    def _state_names(self) -> tuple[str, ...]:
        return ("exp_avg",)
