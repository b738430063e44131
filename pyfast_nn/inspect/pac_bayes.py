"""A bound on the error on new examples that holds for a network as it was trained."""

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import _core, checks, intake, optim, schedules
from ..data import Examples
from ..engine import Engine
from ..losses import Loss
from ..models import Sequential, engine_of
from ..pictures import axes_or_new
from ..typing import ArrayLike, Floats, Inputs, Integer, Real
from .beginning import reference_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST, _PRECISION = 1.0, 100  # the prior's variance is one of _LARGEST exp(-j / _PRECISION)
_RATE_OF_STD = 3  # times lr: logarithms of deviations have further to go than weights
_LEAST_STD = 1e-2  # to begin with, where the parameters hardly differ from the prior's


def pac_bayes_bound(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    delta: Real = 0.05,
    loss: str | Loss | None = None,
    steps: Integer = 5000,
    batch_size: Integer = 128,
    lr: Real = 3e-3,
    samples: Integer = 2000,
    seed: Integer | None = 0,
) -> "PACBayesBound":
    """Return a bound on the error of a network drawn around this one, on new examples.

    The network is randomised: its parameters are drawn from a normal law Q, the *posterior*, which
    is looked for around those of the model. With probability ``1 - delta`` over the draw of the m
    rows, its error e on new examples satisfies [1]_ ::

        kl(empirical error of Q, e) <= (KL(Q | P) + log(2 sqrt(m) / delta')) / m

    where kl is that of two coins, and P, the *prior*, a normal law that does not depend on the
    rows. As Dziugaite and Roy [2]_, P has the variance lambda I around the initial parameters,
    where lambda is chosen from a grid, which costs a union bound, and Q has a deviation for each
    parameter. Q is found by Adam on a bound of that bound, with cross-entropy in the place of the
    error and gradients through ``mean + std * noise``; its empirical error is estimated by draws,
    with a bound of its own.

    Parameters
    ----------
    model : Sequential
        A trained classifier; is not changed. Without state that is learned of data (`Standardize`,
        `BatchNorm`), which the bound would not account for. Parameters that are not trained stay as
        they are: they are a part of the prior, which says that they were not learned of these rows.
    X, y
        The rows that it was trained on, drawn independently from where new ones come from.
    prior : array_like (n_parameters,), optional
        The centre of P, from anywhere but these rows: parameters that were trained on *other* rows
        give far better bounds. By default the initial parameters, which are functions of the
        model's layers and seed. Of parameters that are not trained it has the values of the model:
        where these are not initial ones, it has to be given.
    delta : float
        In (0, 1): the chance that the bound does not hold. Half is for the rows, half for the
        draws.
    loss : str or pyfast_nn.losses.Loss, optional
        ``"cross_entropy"`` or ``"binary_cross_entropy"``; by default that of the last fit.
    steps, batch_size, lr
        Of the search for Q by Adam; the rate falls to 0 along a cosine.
    samples : int
        Draws of Q, each measured on `batch_size` rows, or all if there are fewer.
    seed : int or None
        Of all random numbers. None draws one.

    Returns
    -------
    PACBayesBound

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, or the loss is not finite on the way.

    Notes
    -----
    The bound is about networks drawn from Q, whose error is as a rule above that of the model. It
    holds whatever the search finds; more steps find a better one.

    Costs `steps` gradients and `samples` forward passes of `batch_size` rows, and about as many
    draws of n_parameters normal numbers.

    What is minimised is ``(sqrt(c + b / 2) + sqrt(b / 2))^2`` with the cross-entropy c in bits and
    the right side b above, which is at least what inverting kl gives [3]_; lambda is the best at
    each step, in closed form, and rounded to the grid at the end. From the draws to the mean over Q
    it is Chernoff's inequality.

    References
    ----------
    .. [1] A. Maurer (2004), "A note on the PAC Bayesian theorem",
       https://arxiv.org/abs/cs/0411099.
    .. [2] G. K. Dziugaite, D. M. Roy (2017), "Computing nonvacuous generalization bounds for deep
       (stochastic) neural networks with many more parameters than training data", UAI,
       https://arxiv.org/abs/1703.11008.
    .. [3] M. Pérez-Ortiz, O. Rivasplata, J. Shawe-Taylor, C. Szepesvári (2021), "Tighter risk
       certificates for neural networks", JMLR 22, https://jmlr.org/papers/v22/20-879.html.

    Examples
    --------
    >>> half = fnn.Sequential([fnn.Dense(1)], seed=0).build(64)
    >>> options = {"loss": "binary_cross_entropy", "epochs": 50, "verbose": 0}
    >>> history = half.fit(X[:600], y[:600] > 4, **options)
    >>> prior = half.parameters.copy()  # of the first rows, for a bound by the others
    >>> found = fnn.inspect.pac_bayes_bound(half, X[600:], y[600:] > 4, prior=prior, steps=300)
    >>> bool(found.error < found.bound < 0.5), found.confidence
    (True, 0.95)
    """
    engine = engine_of(model)
    delta = checks.real(delta, "delta", above=0, below=1)
    steps = checks.integer(steps, "steps", minimum=1)
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    lr = checks.real(lr, "lr", above=0)
    samples = checks.integer(samples, "samples", minimum=1)
    rng = np.random.default_rng(checks.seed(seed))
    loss = intake.check_loss(engine, loss)
    if not loss.gives_probabilities:
        raise ValueError(
            f"loss: expected 'cross_entropy' or 'binary_cross_entropy', got {loss.name!r}"
        )
    X = intake.features(engine, X, allow_nonfinite=False)
    _check(engine, X)
    centre = reference_parameters(model, prior, "prior")
    own = copy.copy(model)  # with parameters of its own, which are moved
    engine = engine_of(own)
    examples = intake.examples(engine, X, y, loss)
    drawn = _Drawn(engine, examples, type(loss)(), batch_size, rng)  # without penalties
    _check_frozen(model, centre, drawn.trained, prior is None)
    posterior = _Posterior(own.parameters, centre, drawn.trained, examples.n, delta / 2)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        objective = posterior.search(drawn, steps, lr)
        kl, variance, complexity = posterior.on_the_grid()
        std = posterior.std
        error = float(np.mean([drawn.error(posterior.mean, std) for _ in range(samples)]))
    error_bound = kl_inverse(error, math.log(2 / delta) / samples)
    mean, deviation = model.parameters.astype(np.float64), np.zeros(model.n_parameters)
    mean[drawn.trained], deviation[drawn.trained] = posterior.mean, std
    return PACBayesBound(
        bound=kl_inverse(error_bound, complexity),
        error=error,
        error_bound=error_bound,
        kl=kl,
        prior_variance=variance,
        confidence=1 - delta,
        mean=mean,
        std=deviation,
        objective=objective,
    )


class PACBayesBound:
    """What `pac_bayes_bound` returns.

    Attributes
    ----------
    bound : float
        On the error on new examples, of networks drawn from the posterior.
    error : float
        Of those networks on the rows, the mean over the draws that were made.
    error_bound : float
        On the mean over all draws.
    kl : float
        The divergence of the posterior from the prior, in nats.
    prior_variance : float
        Of the prior, for each parameter.
    confidence : float
        The probability with which the bound holds, ``1 - delta``.
    mean, std : ndarray (n_parameters,), float64
        Of the posterior; parameters that are not trained have std 0.
    objective : ndarray (steps,), float64
        What was minimised, at the batch and the draw of each step.
    """

    def __init__(
        self,
        *,
        bound: float,
        error: float,
        error_bound: float,
        kl: float,
        prior_variance: float,
        confidence: float,
        mean: Floats,
        std: Floats,
        objective: Floats,
    ) -> None:
        self.bound = bound
        self.error = error
        self.error_bound = error_bound
        self.kl = kl
        self.prior_variance = prior_variance
        self.confidence = confidence
        self.mean = mean
        self.std = std
        self.objective = objective

    def __repr__(self) -> str:
        return (
            f"PACBayesBound(bound={self.bound:.3g}, error={self.error:.3g}, kl={self.kl:.4g}, "
            f"confidence={self.confidence:g})"
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw what was minimised over the steps, the bound, and the error on the rows.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        ax.semilogy(self.objective, linewidth=0.5, color="0.7", label="minimised, at each step")
        ax.axhline(self.bound, color="C0", label=f"bound {self.bound:.3f}")
        ax.axhline(self.error, color="C1", linestyle="--", label=f"on the rows {self.error:.3f}")
        ax.set(xlabel="step", ylabel="error")
        ax.legend(fontsize=8)
        return ax


def kl_inverse(q: float, c: float) -> float:
    """Return the largest p in [q, 1] whose coin is at most c away, ``kl(q, p) <= c``.

    From above: what is returned is no less than that.
    """
    low, high = q, 1.0
    while True:
        p = (low + high) / 2
        if not low < p < high:
            return high
        distance = q * math.log(q / p) if q > 0 else 0.0
        if q < 1:
            distance += (1 - q) * math.log((1 - q) / (1 - p))
        low, high = (p, high) if distance <= c else (low, p)


class _Drawn:
    """Losses, gradients and errors of networks whose parameters are drawn."""

    def __init__(
        self,
        engine: Engine,
        examples: Examples,
        loss: Loss,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        self._engine, self._examples, self._loss = engine, examples, loss
        self._size = min(batch_size, examples.n)
        self._rng = rng
        trained = np.zeros(len(engine.parameters), bool)
        for part in engine.trained_parameters(trained).values():
            part[...] = True
        if not trained.any():
            raise ValueError("model: expected parameters that are trained, got none")
        self.trained: NDArray[np.bool_] = trained

    def _draw(self, mean: Floats, std: Floats) -> tuple[Floats, Examples]:
        noise = self._rng.standard_normal(len(mean))
        self._engine.parameters[self.trained] = mean + std * noise
        rows = self._rng.choice(self._examples.n, self._size, replace=False)
        return noise, self._examples._replace(rows=np.sort(rows))

    def loss(self, mean: Floats, std: Floats) -> tuple[float, Floats, Floats]:
        """Return a loss in bits, at least the share of errors, and its gradients in mean and std.

        A wrong answer has at most probability 1/2, that is at least one bit.
        """
        noise, batch = self._draw(mean, std)
        value, gradient = self._engine.loss_and_grad(batch, self._loss, _core.Run())
        _check_range(bool(np.isfinite(value) and np.isfinite(gradient).all()))
        dmean = gradient[self.trained].astype(np.float64) / math.log(2)
        return value / math.log(2), dmean, dmean * noise

    def error(self, mean: Floats, std: Floats) -> float:
        """Return the share of wrong answers."""
        _, batch = self._draw(mean, std)
        return 1 - self._engine.means(batch, self._loss)[1]


class _Posterior:
    """A normal law, its divergence from a prior whose variance is free, and what it costs."""

    def __init__(
        self,
        parameters: ArrayLike,
        centre: Floats,
        trained: NDArray[np.bool_],
        rows: int,
        delta: float,
    ) -> None:
        self.mean = np.asarray(parameters, np.float64)[trained]
        self._centre = centre[trained]
        way = math.sqrt(np.mean((self.mean - self._centre) ** 2))
        self._log_std = np.full(len(self.mean), math.log(max(way, _LEAST_STD)))
        self._rows, self._delta = rows, delta

    @property
    def std(self) -> Floats:
        """Its deviations (ndarray)."""
        return np.exp(self._log_std)

    def _best_variance(self) -> float:
        best = float(np.mean(np.exp(2 * self._log_std) + (self.mean - self._centre) ** 2))
        _check_range(0 < best < math.inf)
        return best

    def kl(self, variance: float) -> float:
        """Return its divergence from the prior of that variance."""
        relative = self._best_variance() / variance - 1 + math.log(variance)
        return float(len(self.mean) * relative / 2 - self._log_std.sum())

    def complexity(self, j: float) -> float:
        """Return the right side of the bound for the prior of number j of the grid.

        Its share of delta is 6 / (pi j)^2; these sum to 1.
        """
        cost = math.log(2 * math.sqrt(self._rows) * (math.pi * j) ** 2 / (6 * self._delta))
        return (self.kl(_variance(j)) + cost) / self._rows

    def _number(self) -> float:
        """Return where the best variance is between those of the grid."""
        return max(1.0, _PRECISION * math.log(_LARGEST / self._best_variance()))

    def on_the_grid(self) -> tuple[float, float, float]:
        """Return the divergence, the prior's variance, and the right side of the bound."""
        number = math.floor(self._number())
        complexity, j = min((self.complexity(j), j) for j in (number, number + 1))
        return self.kl(_variance(j)), _variance(j), complexity

    def search(self, drawn: _Drawn, steps: int, lr: float) -> Floats:
        """Minimise the bound; return what was minimised at each step."""
        adams = [
            optim.Adam([values], lr=schedules.Cosine(rate, steps))
            for values, rate in ((self.mean, lr), (self._log_std, _RATE_OF_STD * lr))
        ]
        objective = np.empty(steps)
        for step in range(steps):
            std, number = self.std, self._number()
            loss, dmean, dstd = drawn.loss(self.mean, std)
            half = self.complexity(number) / 2
            near, far = math.sqrt(loss + half), math.sqrt(half)
            objective[step] = (near + far) ** 2
            of_loss = 1 + far / near
            of_kl = (of_loss + 1 + near / far) / (2 * self._rows)
            variance = _variance(number)
            dmean = of_loss * dmean + of_kl * (self.mean - self._centre) / variance
            dlog_std = of_loss * dstd * std + of_kl * (std**2 / variance - 1)
            adams[0].step([dmean])
            adams[1].step([dlog_std])
        self._number()  # raises where the last step led too far
        return objective


def _check_frozen(
    model: Sequential, centre: Floats, trained: NDArray[np.bool_], is_initial: bool
) -> None:
    """Raise ValueError where what is not trained is not what the prior has of it."""
    away = ~trained & (centre != model.parameters)
    if away.any():
        came = "the initial parameters, which differ" if is_initial else "others"
        raise ValueError(
            f"prior: expected the model's own values of what is not trained, got {came} in "
            f"{np.count_nonzero(away)} places; parameters that were not learned of these rows are "
            "a part of the prior that is given"
        )


def _check_range(holds: bool) -> None:
    if not holds:
        raise ValueError(
            "lr: expected a rate at which all is finite, got losses, gradients or variances that "
            "are not; take a smaller one"
        )


def _variance(j: float) -> float:
    return _LARGEST * math.exp(-j / _PRECISION)


def _check(engine: Engine, X: NDArray[np.floating]) -> None:
    """Raise ValueError where the bound would not hold."""
    if not X.shape[0]:
        raise ValueError(f"X: expected at least one row, got shape {X.shape}")
    if engine.positions > 1:
        raise ValueError(
            f"model: expected one output for each example, as positions of one are not drawn "
            f"independently, got outputs of shape {engine.out_shape}"
        )
    state = engine.named_state()
    if state:
        path = next(iter(state)).rpartition(".")[0]
        raise ValueError(
            f"model: expected no state learned of data, which the bound does not account for, got "
            f"layers[{path}], {engine.layer_at(path)!r}; Rescale is one without"
        )
