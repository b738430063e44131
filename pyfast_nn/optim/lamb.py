"""LAMB."""

from typing import TYPE_CHECKING

from ..typing import Betas, Params, Rate, Real
from .adam import Moments
from .around import Options
from .rule import Update

if TYPE_CHECKING:
    from typing_extensions import Unpack


class LAMB(Moments):
    """LAMB: Adam's direction with a step of each tensor in proportion to its norm.

    Per step ``t`` = 1, 2, ..., for each tensor ``p`` with gradient ``g``::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * p
        p = p - lr * |p| / |u| * u

    with Euclidean norms, and 1 instead of ``|p| / |u|`` where one of them is zero.

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays
        What `step` updates in place: float32 or float64, see `Optimizer`; or a list of groups, each
        a dict with ``"params"`` and hyper-parameters of its own.
    lr : float, array or callable
        Learning rate: the length of a step relative to that of the tensor. A number, one value per
        step, or a function from 0-based steps (int64 array, or one int where it does not take
        arrays) to values; finite and at least 0.
    betas : pair of float, array or callable
        Decay rates of the two moments, each in [0, 1).
    eps : float
        At least 0.
    weight_decay : float
        Decay of all parameters, at least 0; the paper's 0.01.
    **options
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyper-parameter is impossible, or an array of `params` cannot be updated in place.

    References
    ----------
    Y. You et al. (2020), "Large batch optimization for deep learning: training BERT in 76
    minutes", ICLR, https://arxiv.org/abs/1904.00962, algorithm 2 with the identity as ``phi``.

    Examples
    --------
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(2)}
    >>> optimizer = fnn.optim.LAMB(params, lr=0.1, weight_decay=0.0)
    >>> optimizer.step({"w": np.full((3, 2), 5.0), "b": np.array([1.0, -1.0])})
    >>> params["w"][0].round(4), params["b"].round(4)
    (array([0.9, 0.9]), array([-0.1,  0.1]))
    """

    _elementwise = False

    def __init__(
        self,
        params: Params | None = None,
        *,
        lr: Rate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Real = 1e-6,
        weight_decay: Real = 1e-2,
        **options: "Unpack[Options]",
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, **options)

    def _update(self, steps: int) -> Update:
        return "lamb", self._moments(steps)
