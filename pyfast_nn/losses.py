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
``info_nce``              `InfoNCE`                  labels (n,) that rows share
``supcon``                `SupCon`                   labels (n,) that rows share
``n_pair``                `NPair`                    labels (n,) that rows share
``nce``                   `NCE`                      labels (n,) that rows share
``contrastive``           `Contrastive`              labels (n,) that rows share
``triplet``               `Triplet`                  labels (n,) that rows share
========================  =========================  ============================================

`CrossEntropy` and `MultiMargin` are means over the examples, all others over all elements.
`CrossEntropy` and `BinaryCrossEntropy` take logits: the softmax or logistic function is part of the
loss. `MultiMargin` and `Hinge` take scores of either sign, `Poisson` logarithms of rates. A network
that ends with `Softmax` or `Sigmoid` is refused by these five; the others take any outputs.

What `Sequential.predict` returns is on the scale of the targets: labels, values, and under
`Poisson` rates ``exp(z)``. Metrics are computed of that. `Sequential.forward` always gives ``z``.

The last six are losses of pairs of rows, which make a network put rows with the same label near
each other, and others far apart. A label is a class, or the number of an original of which the rows
are views; whole numbers, bool or strings. Every row of a batch is an anchor once: rows with its
label are its positives, all others its negatives, and its loss is the mean over its positives (of
`Contrastive`, over all pairs). The loss of the batch is the mean over its rows; one without any
positive adds nothing as an anchor. With `sample_weight` it is the mean over weighted anchors. Where
outputs have positions, each of them is a row, with a label of its own (n, positions): what of one
example belongs together, as a caption and its image, or what belongs to another (`NPair`).

In `Sequential.fit` a batch is ``batch_size`` rows, and `groups` or `per_class` bring rows that
belong together into one batch. Everywhere else (`Sequential.evaluate`, validation data,
`Sequential.loss_and_grad`, `Sequential.hvp`, operators of curvature) all rows are one batch. Time
is proportional to the square of its rows; memory only to its rows, but under `Triplet`. What needs
the loss of one example by itself (exact traces, diagonals, gradients of each example, the empirical
Fisher matrix) is refused. These losses are not convex in the outputs: a Gauss-Newton matrix takes
similarities, and distances that are to grow, as linear in them, and has no negative eigenvalues.

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
    "NCE",
    "BinaryCrossEntropy",
    "Contrastive",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "InfoNCE",
    "LogCosh",
    "MultiMargin",
    "NPair",
    "Poisson",
    "Quantile",
    "SupCon",
    "Triplet",
]


def __dir__() -> list[str]:
    return __all__


class Loss(Configured):
    """What losses have in common."""

    name = ""  # the core's
    # What outputs are: "values"; scores, of "classes" or "binary", each for or against; or rows of
    # which "pairs" have the same label or not.
    task = "values"
    outputs = "values"  # what they are, in words; only these may be probabilities
    link = "identity"  # what makes probabilities or rates of the outputs, as the core calls it
    codes: tuple[int, ...] = ()  # binary: the targets that stand for no and yes
    expected = "finite numbers"  # as targets
    mixes = True  # whether what lies between two targets is one

    @property
    def gives_probabilities(self) -> bool:
        """Whether the link makes probabilities of the outputs."""
        return self.link in ("softmax", "sigmoid")

    @property
    def gives_labels(self) -> bool:
        """Whether outputs stand for labels, which are right or wrong."""
        return self.task in ("classes", "binary")

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


class _OfPairs(Loss):
    """What losses of pairs of rows have in common."""

    task = "pairs"
    mixes = False

    normalize: Setting[bool] = Setting(checks.boolean)

    def spec(self) -> tuple[str, dict[str, float]]:
        return self.name, {name: float(value) for name, value in self.get_config().items()}


class InfoNCE(_OfPairs):
    """NT-Xent: which of the other rows is the positive, by a softmax over similarities.

    With ``s`` the product of two rows over the temperature, an anchor's loss is the mean over its
    positives p of ``-log(exp(s_p) / (exp(s_p) + sum_n exp(s_n)))``, n over its negatives.

    Parameters
    ----------
    temperature : float
        Greater than 0.
    normalize : bool
        Whether rows are divided by their lengths first, so that products are cosines. Then
        Euclidean distances give the same loss: ``-|u - v|^2 / 2`` is the cosine less 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is impossible.

    References
    ----------
    A. van den Oord, Y. Li, O. Vinyals (2018), "Representation learning with contrastive predictive
    coding", https://arxiv.org/abs/1807.03748.
    T. Chen et al. (2020), "A simple framework for contrastive learning of visual representations",
    ICML, https://arxiv.org/abs/2002.05709 (two views of each original).

    Examples
    --------
    Two views of each image, whose label is the number of the image:

    >>> encoder = fnn.Sequential([fnn.GaussianNoise(0.1), fnn.Dense(32), fnn.ReLU(), fnn.Dense(8)])
    >>> views, image = np.repeat(X, 2, axis=0), np.repeat(np.arange(len(X)), 2)
    >>> loss = fnn.losses.InfoNCE(temperature=0.2)
    >>> history = encoder.fit(views, image, loss=loss, groups=image, epochs=2)
    """

    name = "info_nce"

    temperature: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, temperature: Real = 0.1, *, normalize: bool = True) -> None:
        self._set(temperature=temperature, normalize=normalize)


class SupCon(_OfPairs):
    """Supervised contrastive loss: all other rows are in the denominator, positives too.

    With ``s`` as for `InfoNCE`, an anchor's loss is the mean over its positives p of
    ``-log(exp(s_p) / sum_a exp(s_a))``, a over all rows but itself. With one positive for each row
    the two are the same.

    Parameters
    ----------
    temperature, normalize
        As for `InfoNCE`.

    References
    ----------
    P. Khosla et al. (2020), "Supervised contrastive learning", NeurIPS,
    https://arxiv.org/abs/2004.11362 (its equation 2, "out").

    Examples
    --------
    >>> history = model.fit(X, y, loss="supcon", per_class=4)
    """

    name = "supcon"

    temperature: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, temperature: Real = 0.1, *, normalize: bool = True) -> None:
        self._set(temperature=temperature, normalize=normalize)


class NPair(_OfPairs):
    """N-pair loss: the first row of each label against the second rows, and the other way round.

    Formula and parameters are those of `InfoNCE`, but rows of one view are not compared: the first
    of each label in the batch are one view, the second the other. K. Sohn takes the former as the
    anchors; here the latter are so as well, and the loss is the mean of both. With `normalize` and
    a temperature it is the loss of CLIP.

    References
    ----------
    K. Sohn (2016), "Improved deep metric learning with multi-class N-pair loss objective", NeurIPS.
    A. Radford et al. (2021), "Learning transferable visual models from natural language
    supervision", ICML, https://arxiv.org/abs/2103.00020 (CLIP).
    A. van den Oord, Y. Li, O. Vinyals (2018), "Representation learning with contrastive predictive
    coding", https://arxiv.org/abs/1807.03748.

    Examples
    --------
    Contrastive predictive coding: from the beginning of a series one part of a network says where
    the other puts its end, and is to tell it from the ends of others. Here series are the rows of
    an image. Both rows that an example puts out have one label.

    >>> series = fnn.datasets.load_digits()[0][:200] / 16
    >>> context = [fnn.Reshape((6, 8)), fnn.GRU(32, outputs="last"), fnn.Dense(16)]
    >>> encoder = [fnn.Dense(32), fnn.Tanh(), fnn.Dense(16)]
    >>> parts = fnn.Columns([(slice(48), context), (slice(56, 64), encoder)])
    >>> model = fnn.Sequential([parts, fnn.Reshape((2, 16))], seed=0)
    >>> pairs = np.repeat(np.arange(200)[:, None], 2, axis=1)
    >>> loss = fnn.losses.NPair(0.2, normalize=True)
    >>> adam = fnn.optim.Adam(lr=0.01)
    >>> history = model.fit(series, pairs, loss=loss, optimizer=adam, epochs=20)
    >>> history["loss"][-1] < 0.8 * history["loss"][0]
    True
    """

    name = "n_pair"

    temperature: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, temperature: Real = 1.0, *, normalize: bool = False) -> None:
        self._set(temperature=temperature, normalize=normalize)


class NCE(_OfPairs):
    """Noise-contrastive estimation: of each other row, is it a positive, or noise?

    With ``s`` as for `InfoNCE`, and ``k`` negatives for each positive of the batch, a row is a
    positive with the odds ``exp(s) / k``. An anchor's loss is the negative logarithm of the
    probability of what its positives and negatives are, over the number of its positives. Each
    similarity is judged by itself, not against others: it comes to be the logarithm of how much
    more often a row is a positive than in noise.

    Parameters
    ----------
    temperature, normalize
        As for `InfoNCE`.

    References
    ----------
    M. Gutmann, A. Hyvärinen (2010), "Noise-contrastive estimation: a new estimation principle for
    unnormalized statistical models", AISTATS, https://proceedings.mlr.press/v9/gutmann10a.html.
    """

    name = "nce"

    temperature: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, temperature: Real = 0.1, *, normalize: bool = True) -> None:
        self._set(temperature=temperature, normalize=normalize)


class Contrastive(_OfPairs):
    """``d^2 / 2`` of two rows with one label, ``max(0, margin - d)^2 / 2`` of others.

    ``d`` is their Euclidean distance; averaged over all pairs of the batch.

    Parameters
    ----------
    margin : float
        Greater than 0.
    normalize : bool
        Whether rows are divided by their lengths first; then distances are at most 2.

    References
    ----------
    R. Hadsell, S. Chopra, Y. LeCun (2006), "Dimensionality reduction by learning an invariant
    mapping", CVPR, https://doi.org/10.1109/CVPR.2006.100.
    """

    name = "contrastive"

    margin: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, margin: Real = 1.0, *, normalize: bool = False) -> None:
        self._set(margin=margin, normalize=normalize)


_MINING = ("all", "hard", "semi-hard")  # in the order of the core


class Triplet(_OfPairs):
    """``max(0, d_p - d_n + margin)``: a positive p is to be nearer than a negative n.

    ``d`` are Euclidean distances from the anchor.

    Parameters
    ----------
    margin : float
        Greater than 0.
    mining : {"all", "hard", "semi-hard"}
        Which triplets of an anchor count: all, averaged; its furthest positive with its nearest
        negative; or each positive with the nearest negative that is further away, and with the
        furthest if none is, averaged over the positives.
    normalize : bool
        Whether rows are divided by their lengths first; then distances are at most 2.

    Notes
    -----
    Memory is proportional to the square of the rows of a batch.

    References
    ----------
    F. Schroff, D. Kalenichenko, J. Philbin (2015), "FaceNet: a unified embedding for face
    recognition and clustering", CVPR, https://arxiv.org/abs/1503.03832 (semi-hard).
    A. Hermans, L. Beyer, B. Leibe (2017), "In defense of the triplet loss for person
    re-identification", https://arxiv.org/abs/1703.07737 (all and hard).
    """

    name = "triplet"

    margin: Setting[float] = Setting(partial(checks.real, above=0))
    mining: Setting[str] = Setting(partial(checks.choice, choices=_MINING))

    def __init__(self, margin: Real = 1.0, *, mining: str = "all", normalize: bool = False) -> None:
        self._set(margin=margin, mining=mining, normalize=normalize)

    def spec(self) -> tuple[str, dict[str, float]]:
        numbers = {"mining": float(_MINING.index(self.mining))}
        return self.name, {
            name: float(value) for name, value in (self.get_config() | numbers).items()
        }


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
        InfoNCE,
        SupCon,
        NPair,
        NCE,
        Contrastive,
        Triplet,
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
