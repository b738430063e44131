"""How large activations and gradients are from layer to layer."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, intake
from ..losses import Loss
from ..models import Sequential, engine_of
from ..pictures import axes_or_new, tick_layers
from ..typing import Array, ArrayLike, ClassWeight, Floats, Inputs
from .stages import layer_names, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def layer_variances(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    *,
    loss: str | Loss | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
) -> "LayerVariances":
    """Return the variances of what passes each layer, forward and back.

    Made to look at a model that is built and not trained: an initialisation that fits the
    activation keeps both of the same size over all layers [1]_ [2]_.

    Parameters
    ----------
    model : Sequential
    X : array_like (n, in_features)
        At least one row.
    y, loss, sample_weight, class_weight
        As for `Sequential.evaluate`. An example of weight 2 counts as two of weight 1.

    Returns
    -------
    LayerVariances

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    Costs a forward and a backward pass, and memory for the activations of all layers at all rows.

    References
    ----------
    .. [1] X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS, https://proceedings.mlr.press/v9/glorot10a.html.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers", ICCV,
       https://arxiv.org/abs/1502.01852.

    Examples
    --------
    >>> layers = [layer for _ in range(9) for layer in (fnn.Dense(100), fnn.ReLU())]
    >>> deep = fnn.Sequential([*layers, fnn.Dense(10)], seed=0)
    >>> variances = fnn.inspect.layer_variances(deep, X, y, loss="cross_entropy")
    >>> variances.names[:3]
    ('input', '0 Dense', '1 ReLU')
    >>> bool(0.1 < variances.activations[-2] / variances.activations[1] < 10)
    True
    """
    engine = engine_of(model)
    loss = intake.check_loss(engine, loss)
    X = intake.features(engine, X)
    if not X.shape[0]:
        raise ValueError(f"X: expected at least one row, got shape {X.shape}")
    examples = intake.examples(engine, X, y, loss, sample_weight, class_weight)
    if examples.rows is not None:
        X = X[examples.rows]
    own = examples.own()
    y, weights = own.targets, own.weights
    if weights is not None:  # of examples
        weights = weights.reshape(-1, own.positions).mean(axis=1)
    numbers, pullbacks, activations = [], [], []
    out = engine.as_examples(X)
    for number, stage in stages(model):
        out, pullback = stage.vjp(out)
        numbers.append(number)
        pullbacks.append(pullback)
        activations.append(_variance(out, weights))
    rows = out.reshape(-1, out.shape[-1])
    gradient = _core.loss(loss.spec(), rows, y, None, None)[1] * len(rows)  # of each row's own loss
    gradient = gradient.reshape(out.shape)
    gradients = [_variance(gradient, weights)]
    for pullback in pullbacks[:0:-1]:
        gradient = pullback(gradient)[1]
        gradients.append(_variance(gradient, weights))
    names = layer_names(model, numbers)
    return LayerVariances(names, np.array(activations), np.array(gradients[::-1]))


class LayerVariances:
    """What `layer_variances` returns.

    Attributes
    ----------
    names : tuple of str
        ``"input"``, as it comes out of `Rescale` and `Standardize`, ``"0 Dense"``, ...; one for
        each number in the arrays.
    activations : ndarray, float64
        Of the output of each layer, over all rows and units.
    gradients : ndarray, float64
        The same of the gradient of each example's own loss in that output.
    """

    def __init__(self, names: tuple[str, ...], activations: Floats, gradients: Floats) -> None:
        self.names = names
        self.activations = activations
        self.gradients = gradients

    def __repr__(self) -> str:
        layers = (
            f"{name}: {forward:.3g}, {back:.3g}"
            for name, forward, back in zip(
                self.names, self.activations, self.gradients, strict=True
            )
        )
        return f"LayerVariances({'; '.join(layers)})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw both over the layers, on a logarithmic scale.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        ax.semilogy(self.activations, "o-", markersize=4, label="activations")
        ax.semilogy(self.gradients, "s-", markersize=4, label="gradients")
        tick_layers(ax, self.names)
        ax.set(ylabel="variance")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
        return ax


def _variance(values: Array, weights: Array | None) -> Any:
    values = values.reshape(len(values), -1).astype(np.float64)
    mean = np.average(values.mean(axis=1), weights=weights)
    return np.average(((values - mean) ** 2).mean(axis=1), weights=weights)
