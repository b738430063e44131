"""Norms of weights, by which theory measures how much a network may know."""

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import (
    ELU,
    Dense,
    Dropout,
    Hardtanh,
    Identity,
    Layer,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Tanh,
)
from ..models import Sequential
from ..pictures import axes_or_new, tick_layers
from ..shapes import Flatten
from ..typing import ArrayLike, Floats
from .beginning import reference_parameters
from .stages import layer_names, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LIPSCHITZ_1 = (ReLU, Tanh, Hardtanh, Softplus, Identity, Dropout, Flatten)


def norm_measures(model: Sequential, *, reference: ArrayLike | None = None) -> "NormMeasures":
    """Return norms of the weights of a chain of dense layers.

    Parameters
    ----------
    model : Sequential
        Built: `Dense` layers one after the other, with `ReLU`, `LeakyReLU`, `Tanh`, `Hardtanh`,
        `ELU`, `Softplus`, `Sigmoid`, `Identity`, `Dropout` or `Flatten` between them. Layers that
        are applied to inputs do not count.
    reference : array_like (n_parameters,), optional
        Parameters from which distances are measured, chosen without data; by default the initial
        ones, functions of the model's layers and seed.

    Returns
    -------
    NormMeasures

    Raises
    ------
    TypeError, ValueError
        If there are other layers, or `reference` is no vector of parameters.
    RuntimeError
        If the model is not built.

    Notes
    -----
    Biases count in the path norm alone, as weights of a unit that is always 1: the papers have
    none. Costs a singular value decomposition of each weight.

    References
    ----------
    .. [1] P. L. Bartlett, D. J. Foster, M. Telgarsky (2017), "Spectrally-normalized margin bounds
       for neural networks", NeurIPS, https://arxiv.org/abs/1706.08498.
    .. [2] B. Neyshabur, R. Tomioka, N. Srebro (2015), "Norm-based capacity control in neural
       networks", COLT, https://arxiv.org/abs/1503.00036.
    .. [3] Y. Jiang, B. Neyshabur, H. Mobahi, D. Krishnan, S. Bengio (2020), "Fantastic
       generalization measures and where to find them", ICLR, https://arxiv.org/abs/1912.02178.

    Examples
    --------
    >>> norms = fnn.inspect.norm_measures(model)
    >>> norms.names, norms.spectral.shape
    (('0 Dense', '2 Dense'), (2,))
    >>> bool(np.all(norms.spectral <= norms.frobenius))
    True
    """
    before = copy.copy(model)  # with parameters of its own
    before.parameters = reference_parameters(model, reference, "reference")
    numbers, norms, lipschitz = [], [], 1.0
    paths: Any = None
    for (i, stage), (_, other) in zip(stages(model), stages(before), strict=True):
        if i < 0:
            continue
        layer = model.layers[i]
        if not isinstance(layer, Dense):
            lipschitz *= _lipschitz(i, layer)
            continue
        if len(stage.in_shape) > 1:
            raise ValueError(
                f"layers[{i}]: expected Dense of vectors, got one at positions, shape "
                f"{stage.in_shape}; Flatten makes vectors"
            )
        weight, bias = (each.astype(np.float64) for each in stage.named_parameters().values())
        way = weight - other.named_parameters()["0.weight"]
        numbers.append(i)
        distance, two_one = np.linalg.norm(way), np.linalg.norm(way, axis=0).sum()
        norms.append((np.linalg.norm(weight, 2), np.linalg.norm(weight), distance, two_one))
        paths = (np.ones(len(weight)) if paths is None else paths) @ weight**2 + bias**2
    if paths is None:
        raise ValueError(f"model: expected a Dense layer, got {model!r}")
    spectral, frobenius, distance, distance_2_1 = np.array(norms, np.float64).T
    return NormMeasures(
        names=layer_names(model, numbers),
        spectral=spectral,
        frobenius=frobenius,
        distance=distance,
        distance_2_1=distance_2_1,
        lipschitz=lipschitz,
        path_norm=math.sqrt(paths.sum()),
    )


class NormMeasures:
    """What `norm_measures` returns.

    Attributes
    ----------
    names : tuple of str
        ``"0 Dense"``, ...; one for each number in the arrays.
    spectral : ndarray, float64
        The largest singular value of each weight.
    frobenius : ndarray, float64
        The root of the sum of its squares.
    distance : ndarray, float64
        The same of its difference from the reference.
    distance_2_1 : ndarray, float64
        The sum over units of the lengths of these differences of their incoming weights, the (2, 1)
        norm of Bartlett et al.
    lipschitz : float
        The product of the Lipschitz constants of the activations.
    path_norm : float
        The root of the sum, over all ways through the network, of the product of the squared
        weights on it.
    """

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        spectral: Floats,
        frobenius: Floats,
        distance: Floats,
        distance_2_1: Floats,
        lipschitz: float,
        path_norm: float,
    ) -> None:
        self.names = names
        self.spectral = spectral
        self.frobenius = frobenius
        self.distance = distance
        self.distance_2_1 = distance_2_1
        self.lipschitz = lipschitz
        self.path_norm = path_norm

    @property
    def spectral_product(self) -> float:
        """The product of spectral norms and Lipschitz constants, no less than the network's."""
        return float(self.lipschitz * np.prod(self.spectral))

    @property
    def spectral_complexity(self) -> float:
        """Bartlett's ``spectral_product * sum((distance_2_1 / spectral)^(2/3))^(3/2)`` (float)."""
        others = [np.prod(np.delete(self.spectral, i)) for i in range(len(self.spectral))]
        # The product stands within the sum, where no weight of zeros divides.
        terms = (self.distance_2_1 * np.array(others)) ** (2 / 3)
        return float(self.lipschitz * terms.sum() ** 1.5)

    def __repr__(self) -> str:
        return (
            f"NormMeasures({len(self.names)} layers, spectral_product={self.spectral_product:.3g}, "
            f"spectral_complexity={self.spectral_complexity:.3g}, path_norm={self.path_norm:.3g})"
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the norms of each layer, on a logarithmic scale.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        for values, label in (
            (self.spectral, "spectral"),
            (self.frobenius, "Frobenius"),
            (self.distance, "Frobenius, from the reference"),
            (self.distance_2_1, "(2, 1), from the reference"),
        ):
            ax.semilogy(values, "o-", markersize=4, label=label)
        tick_layers(ax, self.names)
        ax.set(ylabel="norm of the weight")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
        return ax


def _lipschitz(number: int, layer: Layer) -> float:
    if isinstance(layer, _LIPSCHITZ_1):
        return 1.0
    if isinstance(layer, LeakyReLU):
        return max(1.0, abs(layer.negative_slope))
    if isinstance(layer, ELU):
        return max(1.0, abs(layer.alpha))
    if isinstance(layer, Sigmoid):
        return 0.25
    raise ValueError(
        f"layers[{number}]: expected Dense or an activation whose Lipschitz constant is known, got "
        f"{layer!r}"
    )
