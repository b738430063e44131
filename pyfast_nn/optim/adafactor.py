"""Adafactor."""

from typing import TYPE_CHECKING, Any

from .. import checks
from ..typing import Params, Rate, Real, Shape
from .around import Options
from .base import Optimizer
from .rule import Hyper, Update, check_nonnegative

if TYPE_CHECKING:
    from typing_extensions import Unpack


def check_decay(value: Any, name: str) -> float:
    value = checks.real(value, name)
    if value > 0:
        raise ValueError(f"{name}: expected a number <= 0, got {value!r}")
    return value


def check_eps(value: Any, name: str) -> tuple[float | None, float]:
    first, second = checks.pair(value, name, "the first may be None")
    if first is not None:
        first = checks.real(first, f"{name}[0]", minimum=0)
    return first, checks.real(second, f"{name}[1]", minimum=0)


class Adafactor(Optimizer):
    """Adafactor, as in torch: second moments kept as a row and a column.

    Per step ``t`` = 1, 2, ..., for each tensor ``p`` with gradient ``g``; means, ``max`` and
    products as in NumPy, ``rms(x) = sqrt(mean(x^2))``::

        rate = max(eps2, rms(p)) * min(lr, 1 / sqrt(t))
        p = p - lr * weight_decay * p
        beta2 = 1 - t^beta2_decay
        row = beta2 * row + (1 - beta2) * mean(g^2, axis=-1, keepdims=True)
        column = beta2 * column + (1 - beta2) * mean(g^2, axis=-2, keepdims=True)
        v = row * column / max(mean(row, axis=-2, keepdims=True), eps1)
        u = g / max(sqrt(v), eps1)
        p = p - rate * u / max(1, rms(u) / d)

    A tensor of less than two axes keeps ``v = beta2 * v + (1 - beta2) * g^2`` itself. State takes
    ``rows + columns`` numbers for a matrix, where Adam's takes ``2 * rows * columns``.

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own, as in torch. More than two axes
        are read as many matrices of the last two.
    lr : float, array or callable
        The largest step, relative to the size of the tensor: a number, one value per step, or a
        function from 0-based steps (int64 array, or one int where it does not take arrays) to
        values; finite and at least 0.
    beta2_decay : float
        Exponent of the decay rate of second moments, at most 0.
    eps : pair of float
        The first keeps the direction finite (None: the machine epsilon of the parameter's dtype),
        the second is the least size a tensor counts with; both at least 0.
    d : float
        Root mean square beyond which directions are clipped, at least 1.
    weight_decay : float
        Decay of all parameters per step and unit of learning rate, at least 0.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    Notes
    -----
    As in torch, and other than in the paper, the learning rate bounds the relative step (the paper
    has 0.01 there), and ``eps1`` guards the divisions instead of being added to ``g^2``.

    References
    ----------
    N. Shazeer, M. Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost",
    ICML, https://arxiv.org/abs/1804.04235.

    Examples
    --------
    >>> w = np.ones((300, 200))
    >>> optimizer = fnn.optim.Adafactor(w, lr=0.1)
    >>> optimizer.step(np.full_like(w, 5.0))
    >>> bool(np.allclose(w, 0.9))
    True
    """

    _elementwise = False

    beta2_decay: Hyper[Real, float] = Hyper(check_decay)
    eps: Hyper[tuple[Real | None, Real], tuple[float | None, float]] = Hyper(check_eps)
    d: Hyper[Real, float] = Hyper(lambda value, name: checks.real(value, name, minimum=1))
    weight_decay: Hyper[Real, float] = Hyper(check_nonnegative)

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-2,
        beta2_decay: Real = -0.8,
        eps: tuple[Real | None, Real] = (None, 1e-3),
        d: Real = 1.0,
        weight_decay: Real = 0.0,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, **options)
        self.lr = lr
        self.beta2_decay = beta2_decay
        self.eps = eps
        self.d = d
        self.weight_decay = weight_decay

    def _update(self, steps: int) -> Update:
        eps1, eps2 = self.eps
        hyper = {
            "beta2_decay": self.beta2_decay,
            "eps1": -1.0 if eps1 is None else eps1,
            "eps2": eps2,
            "d": self.d,
            "weight_decay": self.weight_decay,
        }
        return "adafactor", hyper

    def _state_names(self) -> tuple[str, ...]:
        return ("row_var", "col_var", "variance")

    def _state_shapes(self, shape: Shape) -> dict[str, Shape]:
        if len(shape) < 2:
            return {"variance": shape}
        return {"row_var": shape[:-1], "col_var": (*shape[:-2], shape[-1])}
