"""Losses, with the names, formulas and reductions of `torch.nn`.

Whatever takes ``loss=`` takes a name or an object: ``"huber"`` is ``Huber()``, and
``Huber(delta=2)`` has a parameter of its own. With the outputs ``z`` and the targets ``y``:

========================  =========================  ============================================
name                      object                     targets
========================  =========================  ============================================
``cross_entropy``         `CrossEntropy`             labels (n,), or rows of probabilities
``multi_margin``          `MultiMargin`              labels (n,)
``binary_cross_entropy``  `BinaryCrossEntropy`       two labels, or probabilities of the second;
                                                     several outputs: 0 or 1 of each
``hinge``                 `Hinge`                    two labels; several outputs: -1 or 1 of each
``mse``                   `MSE`                      values
``mae``                   `MAE`                      values
``huber``                 `Huber`                    values
``poisson``               `Poisson`                  counts, at least 0
``log_cosh``              `LogCosh`                  values
``quantile``              `Quantile`                 values
========================  =========================  ============================================

`CrossEntropy` and `MultiMargin` are means over the examples, all others over all elements.
`CrossEntropy` and `BinaryCrossEntropy` take logits: the softmax or logistic function is part of the
loss. `MultiMargin` and `Hinge` take scores of either sign, `Poisson` logarithms of rates. A network
that ends with `Softmax` or `Sigmoid` is refused by these five; the others take any outputs.

What `Sequential.predict` returns is on the scale of the targets: labels, values, and under
`Poisson` rates ``exp(z)``. Metrics are computed of that. `Sequential.forward` always gives ``z``.

At a kink (`MAE`, `Quantile`, `Hinge`, `MultiMargin`) the gradient is 0, and the second derivative
of a straight piece is 0; that of `Huber` at exactly ``delta`` is 1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import checks
from .config import Configured, Setting
from .graph import Graph
from .guidance import written
from .layers import Layer
from .typing import Array, Real

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "LogCosh",
    "MultiMargin",
    "Poisson",
    "Quantile",
]


def __dir__() -> list[str]:
    return __all__


class Loss(Configured):
    """What losses have in common."""

    name = ""  # the core's
    task = "values"  # or outputs are scores: of "classes", or "binary", each for or against
    outputs = "values"  # what they are, in words; only these may be probabilities
    link = "identity"  # what makes probabilities or rates of the outputs, as the core calls it
    codes: tuple[int, ...] = ()  # binary: the targets that stand for no and yes
    expected = "finite numbers"  # as targets
    mixes = True  # whether what lies between two targets is one

    @property
    def gives_probabilities(self) -> bool:
        """Whether the link makes probabilities of the outputs."""
        return self.link in ("softmax", "sigmoid")

    def classes(self, out_features: int) -> Array | None:
        """Return the labels that numbers stand for, in order; None if targets are no labels."""
        if self.task == "classes":
            return np.arange(out_features)
        return np.array(self.codes) if self.task == "binary" and out_features == 1 else None

    def accepts(self, targets: Array) -> Array:
        """Return which of the finite targets (n, out_features) are possible, as bools."""
        return np.ones(targets.shape, bool)

    def spec(self) -> tuple[str, dict[str, float]]:
        """Return (name, {parameter: float}) as the core takes it."""
        return self.name, self.get_config()


class CrossEntropy(Loss):
    """Softmax cross-entropy, ``-sum_j y_j log softmax(z)_j``, averaged over the examples.

    Parameters
    ----------
    label_smoothing : float
        In [0, 1): the share of the uniform distribution that is mixed into the targets.
    confidence_penalty : float
        At least 0: this many times the entropy of the prediction is subtracted.

    Raises
    ------
    TypeError, ValueError
        If a parameter is impossible.

    References
    ----------
    C. Szegedy et al. (2016), "Rethinking the inception architecture for computer vision", CVPR,
    https://arxiv.org/abs/1512.00567 (label smoothing).
    G. Pereyra et al. (2017), "Regularizing neural networks by penalizing confident output
    distributions", https://arxiv.org/abs/1701.06548 (confidence penalty).

    Examples
    --------
    >>> history = model.fit(X, y, loss=fnn.losses.CrossEntropy(label_smoothing=0.1))
    """

    name = "cross_entropy"
    task = "classes"
    outputs = "logits"
    link = "softmax"

    label_smoothing: Setting[float] = Setting(partial(checks.real, minimum=0, below=1))
    confidence_penalty: Setting[float] = Setting(partial(checks.real, minimum=0))

    def __init__(self, *, label_smoothing: Real = 0.0, confidence_penalty: Real = 0.0) -> None:
        self._set(label_smoothing=label_smoothing, confidence_penalty=confidence_penalty)


class MultiMargin(Loss):
    """Hinge loss of several classes, ``sum_{j != y} max(0, margin - z_y + z_j) / out_features``.

    Averaged over the examples.

    Parameters
    ----------
    margin : float
        Greater than 0.

    References
    ----------
    K. Crammer, Y. Singer (2001), "On the algorithmic implementation of multiclass kernel-based
    vector machines", JMLR 2, https://jmlr.org/papers/v2/crammer01a.html; summed over the classes
    as torch does.
    """

    name = "multi_margin"
    task = "classes"
    outputs = "scores"
    mixes = False

    margin: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, margin: Real = 1.0) -> None:
        self._set(margin=margin)


class BinaryCrossEntropy(Loss):
    """Logistic loss, ``-y log p - (1 - y) log(1 - p)`` with ``p = 1 / (1 + exp(-z))``.

    Averaged over all elements. One output tells two classes apart; several outputs are as many
    labels of an example, each 0 or 1.
    """

    name = "binary_cross_entropy"
    task = "binary"
    outputs = "logits"
    link = "sigmoid"
    codes: tuple[int, ...] = (0, 1)
    expected = "0 and 1, or probabilities from 0 to 1"

    def accepts(self, targets: Array) -> Array:
        return (targets >= 0) & (targets <= 1)


class Hinge(Loss):
    """Hinge loss of two classes, ``max(0, 1 - y z)``, averaged over all elements.

    References
    ----------
    C. Cortes, V. Vapnik (1995), "Support-vector networks", Machine Learning 20,
    https://doi.org/10.1007/BF00994018.
    """

    name = "hinge"
    task = "binary"
    outputs = "scores"
    codes: tuple[int, ...] = (-1, 1)
    expected = "-1 and 1"
    mixes = False

    def accepts(self, targets: Array) -> Array:
        return (targets == -1) | (targets == 1)


class MSE(Loss):
    """Squared error, ``(z - y)^2``, averaged over all elements."""

    name = "mse"


class MAE(Loss):
    """Absolute error, ``|z - y|``, averaged over all elements."""

    name = "mae"


class Huber(Loss):
    """Squared error ``(z - y)^2 / 2`` up to a distance ``delta``, then straight on.

    Beyond, it is ``delta (|z - y| - delta / 2)``. Averaged over all elements.

    Parameters
    ----------
    delta : float
        Greater than 0.

    References
    ----------
    P. J. Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical
    Statistics 35, https://doi.org/10.1214/aoms/1177703732.
    """

    name = "huber"

    delta: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, delta: Real = 1.0) -> None:
        self._set(delta=delta)


class Poisson(Loss):
    """Negative log-likelihood of counts, ``exp(z) - y z``, averaged over all elements.

    The outputs are logarithms of rates; the term ``log y!``, which they do not change, is left out.
    `Sequential.predict` returns the rates.
    """

    name = "poisson"
    outputs = "logarithms of rates"
    link = "exp"
    expected = "counts, at least 0"

    def accepts(self, targets: Array) -> Array:
        return targets >= 0


class LogCosh(Loss):
    """``log(cosh(z - y))``, averaged over all elements: a smooth relative of `Huber`."""

    name = "log_cosh"


class Quantile(Loss):
    """Pinball loss, ``max(q (y - z), (1 - q) (z - y))``, averaged over all elements.

    It is smallest where z is the q-quantile of y.

    Parameters
    ----------
    q : float
        Between 0 and 1.

    References
    ----------
    R. Koenker, G. Bassett (1978), "Regression quantiles", Econometrica 46,
    https://doi.org/10.2307/1913643.
    """

    name = "quantile"

    q: Setting[float] = Setting(partial(checks.real, below=1, above=0))

    def __init__(self, q: Real = 0.5) -> None:
        self._set(q=q)


_BY_NAME = {
    loss.name: loss
    for loss in (
        CrossEntropy,
        MultiMargin,
        BinaryCrossEntropy,
        Hinge,
        MSE,
        MAE,
        Huber,
        Poisson,
        LogCosh,
        Quantile,
    )
}
NAMES = tuple(_BY_NAME)


def check(loss: object) -> Loss:
    """Return the Loss that `loss`, one of NAMES or a Loss, means."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return _BY_NAME[checks.choice(loss, "loss", NAMES)]()
    raise TypeError(
        f"loss: expected an object of pyfast_nn.losses or one of {', '.join(NAMES)}, "
        f"got {checks.describe(loss)}{written(loss)}"
    )


def last_units(layers: Sequence[Layer]) -> int | None:
    """Return how many outputs a network of these layers has; None if as many as inputs."""
    return Graph(tuple(layers)).features or None


def check_last_layer(loss: Loss, layers: Sequence[Layer]) -> None:
    """Raise ValueError if the outputs of `layers` are not what `loss` takes."""
    if loss.task == "classes" and last_units(layers) == 1:
        binary = "binary_cross_entropy" if loss.name == "cross_entropy" else "hinge"
        raise ValueError(
            f"loss: expected an output for each class, for {loss.name!r}, got a network with one; "
            f"take {binary!r} for two classes, or end it with Dense(2)"
        )
    ends = [layer for layer in Graph(tuple(layers)).ends() if layer.makes_probabilities]
    if loss.outputs != "values" and ends:
        theirs = ": the loss and predict_proba apply it themselves"
        why = theirs if loss.gives_probabilities else ""
        raise ValueError(
            f"loss: expected a network that ends with {loss.outputs}, for {loss.name!r}, got one "
            f"that ends with {ends[0]!r}; remove it{why}"
        )


def to_config(loss: str | Loss | None) -> Any:
    """Return `loss`, a name, a Loss or None, as plain values for the model file."""
    return {"type": loss.name, **loss.get_config()} if isinstance(loss, Loss) else loss


def from_config(description: object) -> str | Loss | None:
    """Return the loss that `to_config` described; TypeError or ValueError on anything else."""
    if not isinstance(description, dict):
        return None if description is None else checks.choice(description, "loss", NAMES)
    arguments = dict(description)
    return _BY_NAME[checks.choice(arguments.pop("type", None), "loss type", NAMES)](**arguments)
