"""Sets: what does not depend on the order of positions."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from . import checks
from .branches import Branch, Unbuilt, as_layers
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Layer
from .pooling import GlobalPool

Pool: TypeAlias = Literal["sum", "mean", "max"]


def _check_pool(value: object, name: str) -> Any:
    return checks.choice(value, name, ("sum", "mean", "max"))


class SetPool(GlobalPool):
    """The sum, mean or maximum over the elements of a set, channel by channel.

    Parameters
    ----------
    pool : {"sum", "mean", "max"}

    Raises
    ------
    ValueError
        If it is none of that; when the network is built, if examples have no positions.

    Notes
    -----
    Examples are sets of shape (elements, channels). Where they come with their lengths, elements
    from there on do not count; of none it is zero.

    Examples
    --------
    >>> fnn.Sequential([fnn.SetPool("max")]).build((50, 3)).out_shape
    (3,)
    """

    pool: Setting[Pool] = Setting(_check_pool)

    def __init__(self, pool: Pool = "sum") -> None:
        self._set(pool=pool)

    @property
    def kind(self) -> str:  # type: ignore[override]
        return f"{self.pool}_positions"


class DeepSet(Layer):
    """A function of sets: ``rho(pool(phi(x)))``, with `phi` applied to each element.

    Parameters
    ----------
    phi : sequence of Layer
        One after the other, for each element alone: their weights are those of all elements.
    rho : sequence of Layer
        What is made of the pooled elements.
    pool : {"sum", "mean", "max"}
        How they are pooled, see `SetPool`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if examples are no sets.

    Notes
    -----
    Examples are (elements, channels), and the output does not depend on the order of the elements.
    Where they come with their lengths, elements from there on do not count. With sums, every
    continuous function of sets of bounded size has this form (Zaheer et al.).

    The parameters of its layers are called ``"0.phi.0.weight"`` and ``"0.rho.0.weight"`` where it
    is the layer 0 of the model.

    References
    ----------
    M. Zaheer, S. Kottur, S. Ravanbakhsh, B. Poczos, R. Salakhutdinov, A. Smola (2017), "Deep sets",
    NeurIPS, https://arxiv.org/abs/1703.06114.

    Examples
    --------
    >>> phi, rho = [fnn.Dense(64), fnn.ReLU(), fnn.Dense(64)], [fnn.Dense(64), fnn.ReLU()]
    >>> model = fnn.Sequential([fnn.DeepSet(phi, rho), fnn.Dense(1)]).build((50, 3))
    >>> list(model.named_parameters())[::2]
    ['0.phi.0.weight', '0.phi.2.weight', '0.rho.0.weight', '1.weight']
    """

    pool: Setting[Pool] = Setting(_check_pool)

    def __init__(
        self,
        phi: Iterable[Branch] | Unbuilt,
        rho: Iterable[Branch] | Unbuilt,
        pool: Pool = "sum",
    ) -> None:
        self._set(pool=pool)
        vars(self)["phi"] = as_layers(phi, "phi")
        vars(self)["rho"] = as_layers(rho, "rho")

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in (*vars(self)["phi"], *vars(self)["rho"]))

    @property
    def units(self) -> int:
        return Graph((self,)).features

    def get_config(self) -> dict[str, Any]:
        parts = {name: list(vars(self)[name]) for name in ("phi", "rho")}
        return parts | super().get_config()

    def lay(self, network: Graph, path: str, value: int) -> int:
        for i, layer in enumerate(vars(self)["phi"]):
            value = network.lay(layer, f"{path}.phi.{i}", value)
        value = network.lay(SetPool(self.pool), f"{path}.pool", value)
        for i, layer in enumerate(vars(self)["rho"]):
            value = network.lay(layer, f"{path}.rho.{i}", value)
        return value

    def __hash__(self) -> int:
        return hash((type(self), *vars(self)["phi"], *vars(self)["rho"], self.pool))


LAYERS.extend([SetPool, DeepSet])
