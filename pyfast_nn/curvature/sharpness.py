"""How sharp a minimum is: three numbers that papers give."""

import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import checks
from ..typing import ArrayLike, ClassWeight, Floats, Inputs, Integer, Real
from .eigen import top_eigenpairs

if TYPE_CHECKING:
    from ..losses import Loss
    from ..models import Sequential

_FAR = 100  # sides of the box that the first step goes, in the mean
_RADII = {"box": 1e-3, "ball": 0.05}


def sharpness(
    model: "Sequential",
    X: Inputs,
    y: ArrayLike,
    kind: Literal["eigenvalue", "box", "ball"] = "eigenvalue",
    *,
    loss: "str | Loss | None" = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    radius: Real | None = None,
    max_iter: Integer = 10,
    seed: Integer | None = 0,
) -> float:
    """Return how sharp the mean loss f is at the model's parameters w, in one of three senses.

    * ``"eigenvalue"``: the largest eigenvalue of the Hessian.
    * ``"box"``: how much worse the loss gets in a small box around w [1]_, in per cent,
      ``100 (max f(w + z) - f(w)) / (1 + f(w))`` over ``|z_i| <= radius (|w_i| + 1)``, looked for
      from z = 0 by `max_iter` iterations of SciPy's L-BFGS-B.
    * ``"ball"``: how much worse it gets in a ball [2]_, ``max f(w + e) - f(w)`` over
      ``|e| <= radius``. The first of `max_iter` steps is that of sharpness-aware minimization,
      ``e = radius g / |g|`` with the gradient g at w, exact up to first order; each that follows
      is the same with the gradient at w + e, which for a convex loss never goes down [3]_.

    Parameters
    ----------
    model : Sequential
        Is not changed.
    X, y, loss, sample_weight, class_weight
        As for `Sequential.loss_and_grad`.
    kind : {"eigenvalue", "box", "ball"}
    radius : float, optional
        Of the box, 1e-3 by default (the paper takes 5e-4, too), or of the ball, 0.05.
    max_iter : int
        At least 1, of ``"box"`` and ``"ball"``. 10 is the paper's for the first; 1 is the paper's
        for the second.
    seed : int or None
        Of the first vector of the eigenvalue's iteration; and of a random direction to begin with
        where the gradient is exactly zero. None draws one.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, or the loss is not finite somewhere.
    RuntimeError
        If the eigenvalue does not converge within 1000 products; `top_eigenpairs` takes more.
    ImportError
        If SciPy is not there, except for ``"ball"``.

    Notes
    -----
    The largest loss in a box or a ball is not to be had for sure: what is returned is that of the
    worst point met, a lower bound, at least 0. At a minimum, where the gradient is small beside
    ``radius * H``, the one step of ``"ball"`` with ``max_iter=1`` may see little of it; the steps
    that follow turn towards the leading eigenvectors. In float32 differences below 1e-7 of the loss
    are rounding.

    For ``"box"`` z is measured in sides of the box, and the loss scaled so that the first step of
    L-BFGS-B reaches its faces. Unscaled, its steps at a minimum are as short as the gradient, and
    ten of them can end a hundredth of the way.

    None of the three is invariant: rescaling the weights of a ReLU network so that it computes the
    same function changes them all (L. Dinh et al. 2017, https://arxiv.org/abs/1703.04933).

    References
    ----------
    .. [1] N. S. Keskar, D. Mudigere, J. Nocedal, M. Smelyanskiy, P. T. P. Tang (2017), "On
       large-batch training for deep learning: generalization gap and sharp minima", ICLR,
       https://arxiv.org/abs/1609.04836, metric 2.1 with A = I.
    .. [2] P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur (2021), "Sharpness-aware minimization for
       efficiently improving generalization", ICLR, https://arxiv.org/abs/2010.01412.
    .. [3] M. Journée, Y. Nesterov, P. Richtárik, R. Sepulchre (2010), "Generalized power method for
       sparse principal component analysis", JMLR 11, https://jmlr.org/papers/v11/journee10a.html.

    Examples
    --------
    >>> fnn.curvature.sharpness(model, X, y, "ball", radius=0.1) > 0
    True
    """
    checks.choice(kind, "kind", ("eigenvalue", *_RADII))
    seed = checks.seed(seed)
    max_iter = checks.integer(max_iter, "max_iter", minimum=1)
    options: dict[str, Any] = {
        "loss": loss,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
    }
    if kind == "eigenvalue":
        if radius is not None:
            raise ValueError(f"radius: expected None for 'eigenvalue', got {radius!r}")
        from .operators import Hessian  # needs SciPy

        H = Hessian(model, X, y, **options)
        return float(top_eigenpairs(H, k=1, seed=seed)[0][0])
    radius = _RADII[kind] if radius is None else checks.real(radius, "radius", above=0)
    around = _Around(model, X, y, options)
    if kind == "ball":
        _ascend_in_ball(around, radius, max_iter, seed)
        return around.rise
    _ascend_in_box(around, radius, max_iter, seed)
    return 100 * around.rise / (1 + around.loss)


class _Around:
    """The loss around the model's parameters, and the worst that was met."""

    def __init__(
        self, model: "Sequential", X: Inputs, y: ArrayLike, options: dict[str, Any]
    ) -> None:
        self._model = copy.copy(model)  # with parameters of its own
        self._arguments = X, y, options
        self.centre = model.parameters.astype(np.float64)
        self._worst = -np.inf
        self.loss, self.grad = self(0)

    @property
    def rise(self) -> float:
        """How far the worst loss is above that at the centre (float)."""
        return self._worst - self.loss

    def __call__(self, z: Any) -> tuple[float, Floats]:
        """Return the loss at centre + z and its gradient, both float64."""
        X, y, options = self._arguments
        self._model.parameters = self.centre + z
        value, grad = self._model.loss_and_grad(X, y, **options)
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            where = (
                f"parameters that differ by up to {np.abs(z).max():.3g}" if np.any(z) else "them"
            )
            raise ValueError(
                f"parameters: expected a finite loss and gradient at {where}, got the loss {value}"
            )
        self._worst = max(self._worst, value)
        return value, grad.astype(np.float64)

    def uphill(self, seed: int) -> Floats:
        """Return the gradient at the centre, or a random vector where it is zero."""
        if self.grad.any():
            return self.grad
        return np.random.default_rng(seed).standard_normal(self.grad.size)


def _ascend_in_ball(around: _Around, radius: float, max_iter: int, seed: int) -> None:
    direction = around.uphill(seed)
    for _ in range(max_iter):
        length = np.linalg.norm(direction)
        if length == 0:  # a saddle or a maximum, from which no gradient leads away
            return
        direction = around(radius / length * direction)[1]


def _ascend_in_box(around: _Around, radius: float, max_iter: int, seed: int) -> None:
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise ImportError(
            f"kind: 'box' needs SciPy: pip install 'pyfast-nn[curvature]' ({error})",
            name=error.name,
        ) from None
    sides = radius * (np.abs(around.centre) + 1)
    if sides.size == 0:
        return
    uphill = sides * around.uphill(seed)
    # Minus the loss in u = z / sides. Its first step is -grad, which is to reach all faces but
    # those that the loss hardly depends on.
    scale = _FAR / float(np.mean(np.abs(uphill)))

    def descend(u: Floats) -> tuple[float, Floats]:
        value, grad = around(sides * u)
        return scale * (around.loss - value), -scale * sides * grad

    start = np.zeros_like(sides) if around.grad.any() else np.clip(scale * uphill, -1, 1)
    minimize(
        descend,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-1, 1)] * sides.size,
        options={"maxiter": max_iter, "ftol": 0, "gtol": 0},
    )
