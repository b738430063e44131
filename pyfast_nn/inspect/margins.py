"""How far the right answers of a classifier are from being wrong ones."""

from typing import TYPE_CHECKING

import numpy as np

from .. import checks, intake
from ..losses import Loss
from ..models import Sequential, engine_of
from ..pictures import axes_or_new
from ..typing import ArrayLike, Floats, Inputs
from .norms import norm_measures
from .stages import stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def margins(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    *,
    normalized: bool = False,
    reference: ArrayLike | None = None,
    loss: str | Loss | None = None,
) -> "MarginDistribution":
    """Return the margin of each example: the output of its class less the largest of the others.

    With one output z, for two classes, it is z or -z. It is negative where the answer is wrong.

    Parameters
    ----------
    model : Sequential
        A classifier.
    X : array_like (n, in_features)
        At least one row.
    y : array_like (n,)
        Labels.
    normalized : bool
        Divide by ``spectral_complexity * |X|_F / n``, with X as the first layer behind those of
        inputs reads it [1]_: by what the outputs may be large without knowing more. Networks of one
        task can be compared then, for which raw margins are of no use: they grow with the weights.
        For the networks that `norm_measures` takes.
    reference : array_like (n_parameters,), optional
        As for `norm_measures`.
    loss : str or pyfast_nn.losses.Loss, optional
        One of labels, by which they are read; by default that of the last fit.

    Returns
    -------
    MarginDistribution

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    Costs one forward pass.

    References
    ----------
    .. [1] P. L. Bartlett, D. J. Foster, M. Telgarsky (2017), "Spectrally-normalized margin bounds
       for neural networks", NeurIPS, https://arxiv.org/abs/1706.08498.

    Examples
    --------
    >>> found = fnn.inspect.margins(model, X, y)
    >>> accuracy = np.mean(found.values > 0)
    >>> bool(np.isclose(accuracy, model.evaluate(X, y)["accuracy"]))
    True
    """
    engine = engine_of(model)
    normalized = checks.boolean(normalized, "normalized")
    loss = intake.check_loss(engine, loss)
    rows = intake.features(engine, X)
    if not rows.shape[0]:
        raise ValueError(f"X: expected at least one row, got shape {rows.shape}")
    targets = intake.examples(engine, rows, y, loss).targets
    out = engine.outputs(rows).astype(np.float64)
    if engine.positions > 1:
        raise ValueError(f"model: expected one output for each example, got {engine.out_shape}")
    if loss.task == "classes" and targets.ndim == 1:
        each = np.arange(len(out))
        right = out[each, targets]
        out[each, targets] = -np.inf
        values = right - out.max(axis=1)
    elif loss.task == "binary" and out.shape[1] == 1 and np.isin(targets, loss.codes).all():
        values = np.where(targets.reshape(-1) == loss.codes[1], out[:, 0], -out[:, 0])
    else:
        raise ValueError(
            f"y: expected one label for each example, got targets of {loss.name!r}, shape "
            f"{targets.shape}"
        )
    if normalized:
        first = next(stages(model))[1].forward(engine.as_examples(rows)).astype(np.float64)
        with np.errstate(over="ignore"):  # it is refused
            complexity = norm_measures(model, reference=reference).spectral_complexity
            scale = complexity * np.sqrt(np.sum(first**2)) / len(first)
        if scale == 0 or scale == np.inf:
            raise ValueError(
                "normalized: expected weights, rows and a way from the reference that are not 0, "
                f"to divide by them, and finite norms, got {scale:g}; a model that was not trained "
                "is its own reference"
            )
        values /= scale
    elif reference is not None:
        raise ValueError("reference: expected None without normalized=True, got an array")
    return MarginDistribution(values, normalized)


class MarginDistribution:
    """What `margins` returns.

    Attributes
    ----------
    values : ndarray (n,), float64
        Of each example, in the order of X.
    normalized : bool
        Whether they are.
    """

    def __init__(self, values: Floats, normalized: bool) -> None:
        self.values = values
        self.normalized = normalized

    def __repr__(self) -> str:
        low, middle, high = np.quantile(self.values, [0, 0.5, 1])
        kind = "normalized, " if self.normalized else ""
        return f"MarginDistribution({kind}least {low:.3g}, median {middle:.3g}, largest {high:.3g})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw their distribution, and where answers begin to be right.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        ax.hist(self.values, 50, density=True, histtype="stepfilled", alpha=0.6)
        ax.axvline(0, color="k", linestyle=":", linewidth=1)
        ax.set(xlabel="normalized margin" if self.normalized else "margin", ylabel="density")
        return ax
