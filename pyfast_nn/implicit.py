"""Layers whose output is the solution of an equation that a block of layers is a part of."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from . import checks
from .branches import Branch, Unbuilt, as_layers
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Layer
from .typing import Integer, Real

# The core's kinds that a block may have: what comes out for an example depends on nothing else, and
# is the same each time.
_KINDS = {
    *("dense", "weight_norm", "scale", "identity", "softmax", "spread", "cosine"),
    *("relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu", "tanh", "hardtanh"),
    *("sigmoid", "step", "sign", "prelu", "layer_norm", "rms_norm", "group_norm"),
    *("add", "multiply", "concatenate", "slice"),
    *("convolution", "max_pool", "avg_pool"),
}
# Those whose outputs are not, column by column, functions of the same column, above all.
_MIX_COLUMNS = {"dense", "weight_norm", "spread", "cosine", "concatenate", "slice"}


def _block(layers: Any, name: str) -> tuple[Layer, ...]:
    """Return the layers of a block; TypeError or ValueError if they are none that it may have."""
    found = as_layers([layers] if isinstance(layers, Layer) else layers, name)
    for place in Graph(found).places:
        if place.kind not in _KINDS:
            raise ValueError(
                f"{name}: expected layers that make of each example the same each time, and of "
                f"nothing else, such as Dense, activations, LayerNorm, Residual and Conv2d, got "
                f"{place.layer!r}"
            )
    return found


class _Reads(Layer):
    """What a block reads each time that it is evaluated: a part of such a layer."""

    kind = "evaluation"

    def __init__(self, units: int, text: str) -> None:
        vars(self).update(_units=units, _text=text)

    @property
    def units(self) -> int:
        units: int = vars(self)["_units"]
        return units

    def __repr__(self) -> str:
        text: str = vars(self)["_text"]
        return text


class _Solves(Layer):
    """What evaluates the block: a part of such a layer."""

    def __init__(self, kind: str, values: tuple[float, ...], text: str) -> None:
        vars(self).update(_kind=kind, _values=values, _text=text)

    @property
    def kind(self) -> str:  # type: ignore[override]
        kind: str = vars(self)["_kind"]
        return kind

    @property
    def values(self) -> tuple[float, ...]:
        values: tuple[float, ...] = vars(self)["_values"]
        return values

    def __repr__(self) -> str:
        text: str = vars(self)["_text"]
        return text


class _OfBlock(Layer):
    """What such layers have in common."""

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in vars(self)["block"])

    def get_config(self) -> dict[str, Any]:
        return {"block": list(vars(self)["block"])} | super().get_config()

    def _lay_block(self, network: Graph, path: str, value: int) -> int:
        """Put the block in its place; return what it puts out."""
        for i, layer in enumerate(vars(self)["block"]):
            value = network.lay(layer, f"{path}.{i}", value)
            del network.outputs[f"{path}.{i}"]
        return value

    def __hash__(self) -> int:
        return hash((type(self), *vars(self)["block"]))


Method: TypeAlias = Literal["euler", "midpoint", "rk4", "dopri5"]

# As rules/runge_kutta.h numbers them, with the evaluations of a step.
_METHODS = {"euler": 1, "midpoint": 2, "rk4": 4, "dopri5": 6}

# The adjoint goes back so many steps at a time, whose evaluations are in memory together.
_AT_A_TIME = 4


def _check_t(value: Any, name: str) -> tuple[float, float]:
    """Return where time starts and ends."""
    if isinstance(value, (tuple, list)):
        first, last = checks.pair(value, name, "(start, end)")
        times = checks.real(first, f"{name}[0]"), checks.real(last, f"{name}[1]")
    else:
        times = 0.0, checks.real(value, name)
    if times[0] == times[1]:
        raise ValueError(f"{name}: expected another end than the start, got {value!r}")
    return times


def _optional(check: Any) -> Any:
    return lambda value, name: None if value is None else check(value, name)


class NeuralODE(_OfBlock):
    """The solution at time `t` of the differential equation ``dy/dt = block(y)`` that starts as x.

    Parameters
    ----------
    block : Layer or sequence of Layer
        One after the other; they put out the shape that comes in. Each makes of an example
        something that depends on nothing else and is the same each time: `Dense`, activations,
        `LayerNorm` and its like, what joins them, convolutions and pooling whose padding keeps the
        positions, but no `Dropout`, `BatchNorm`, recurrence or attention.
    t : float or (float, float)
        The end of time, which starts with 0, or both.
    method : {"dopri5", "rk4", "midpoint", "euler"}
        Dormand and Prince's pair of orders 5 and 4, whose steps adapt; or steps of one size of
        Runge's and Kutta's method of order 4, the explicit midpoint method or Euler's.
    steps : int, optional
        How many steps are made, 10 unless given. With "dopri5" at most so many, those that are
        undone included, 100 unless given: an example that needs more comes out as NaN.
    rtol, atol : float, optional
        The error of a step of "dopri5" is held below ``atol + rtol * abs(y)``; 1e-3 and 1e-6 unless
        given. Other methods do not take them.
    time : bool
        Whether the block reads the time, too, as one more column, the last.
    adjoint : bool
        Whether gradients are those of the adjoint method: near the gradient of the exact flow, and
        with memory that does not grow with `steps`. Otherwise they are exact derivatives of what
        was computed.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if the block puts out another
        number of columns than comes in.

    Notes
    -----
    The sizes of steps are those of SciPy's ``solve_ivp(method="RK45")``, for each example by
    itself: what comes out for one does not depend on the others of its batch. Positions of an
    example are solved together.

    Gradients and products with curvature are those of the steps that were made, with their sizes as
    constants: exact to rounding as derivatives of what was computed, for which each evaluation of
    the block is kept. Memory is reserved for all steps that there may be, and used by those that
    there are.

    With `adjoint`, what `fit`, `loss_and_grad` and `vjp` compute is the adjoint method of Chen et
    al.: y and the derivative a of the loss in it are followed from the end of time to its start,
    where ``da/dt = -J' a`` with the Jacobian J of the block, by the same method with as many steps
    or with the same tolerances, `atol` in units of the root mean square that a has at the end. The
    gradient of the parameters is an integral along the same steps. The evaluations of 5 steps are
    in memory at a time. The error is of the order of the method; the gallery shows it beside the
    exact gradient. The way back is followed twice where something before the layer learns. An
    example whose way back needs more than `steps` makes the gradient NaN; a flow that forgets where
    it came from is lost on the way back, and needs the exact gradient. What moves along a
    direction, `jvp` and products with curvature, is exact in any case and keeps all evaluations.

    The parameters of the block are called ``"2.0.weight"`` where it is the layer 2 of the model.
    An evaluation costs what the block does, and "dopri5" takes 6 for each step, "rk4" 4. Exact
    traces and diagonals of curvature and gradients of single examples are refused.

    References
    ----------
    R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud (2018), "Neural ordinary differential
    equations", NeurIPS, https://arxiv.org/abs/1806.07366. J. R. Dormand, P. J. Prince (1980), "A
    family of embedded Runge-Kutta formulae", Journal of Computational and Applied Mathematics 6.

    Examples
    --------
    >>> field = [fnn.Dense(32), fnn.Tanh(), fnn.Dense(2)]
    >>> model = fnn.Sequential([fnn.NeuralODE(field), fnn.Dense(1)]).build(2)
    >>> list(model.named_parameters())
    ['0.0.weight', '0.0.bias', '0.2.weight', '0.2.bias', '1.weight', '1.bias']
    """

    t: Setting[tuple[float, float]] = Setting(_check_t)
    method: Setting[str] = Setting(partial(checks.choice, choices=_METHODS))
    steps: Setting[int | None] = Setting(_optional(partial(checks.integer, minimum=1)))
    rtol: Setting[float | None] = Setting(_optional(partial(checks.real, above=0)))
    atol: Setting[float | None] = Setting(_optional(partial(checks.real, above=0)))
    time: Setting[bool] = Setting(checks.boolean)
    adjoint: Setting[bool] = Setting(checks.boolean)

    def __init__(
        self,
        block: Branch | Iterable[Branch] | Unbuilt,
        t: Real | tuple[Real, Real] = 1.0,
        *,
        method: Method = "dopri5",
        steps: Integer | None = None,
        rtol: Real | None = None,
        atol: Real | None = None,
        time: bool = False,
        adjoint: bool = False,
    ) -> None:
        vars(self)["block"] = _block(block, "block")
        self._set(t=t, method=method, steps=steps, rtol=rtol, atol=atol, time=time, adjoint=adjoint)
        for name in ("rtol", "atol"):
            if self.method != "dopri5" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: expected none with method={self.method!r}, whose steps are of one "
                    f"size, got {getattr(self, name)!r}; steps says how many"
                )

    def _values(self) -> tuple[float, ...]:
        """Return the numbers that the core takes."""
        tolerances = (self.rtol or 1e-3, self.atol or 1e-6) if self.method == "dopri5" else (0, 0)
        together = self._kept_steps if self.adjoint else 0
        method = list(_METHODS).index(self.method)
        return (method, *self.t, self._steps, *tolerances, self.time, together)

    @property
    def _steps(self) -> int:
        return self.steps or (100 if self.method == "dopri5" else 10)

    @property
    def _kept_steps(self) -> int:
        return min(self._steps, _AT_A_TIME) if self.adjoint else self._steps

    def lay(self, network: Graph, path: str, value: int) -> int:
        width = network.width(value)
        text = "NeuralODE's y and t" if self.time else "NeuralODE's y"
        reads = _Reads(max(width, 1) + self.time, text)
        state = network.add(reads, path, reads.kind, (value,), width and reads.units)
        stages = _METHODS[self.method]
        with network.evaluating(self._steps * stages, self._kept_steps * stages):
            slope = self._lay_block(network, path, state)
        known = 0 not in (width, network.width(slope))
        if known and network.text(slope) != network.text(value):
            raise ValueError(
                f"layers[{path}]: expected a block that puts out {network.text(value)}, as come "
                f"in, got {network.text(slope)}; Dense({width}) at its end, and convolutions whose "
                "padding keeps the positions, do"
            )
        text = f"NeuralODE(t={self.t}, method={self.method!r})"
        solves = _Solves("neural_ode", tuple(map(float, self._values())), text)
        return network.add(solves, path, solves.kind, (value, slope), width)


SolverName: TypeAlias = Literal["anderson", "broyden"]

_SOLVERS = ("anderson", "broyden")


class _SolvesEquilibrium(_Solves):
    """What finds the fixed point of a block, within the root of the dtype's epsilon by default."""

    def __init__(self, layer: "DeepEquilibrium") -> None:
        text = f"DeepEquilibrium(solver={layer.solver!r})"
        values = (_SOLVERS.index(layer.solver), layer.tol or math.nan, layer.max_iter)
        super().__init__("equilibrium", tuple(map(float, values)), text)

    def values_in(self, dtype: DTypeLike) -> tuple[float, ...]:
        solver, tol, max_iter = self.values
        return solver, math.sqrt(np.finfo(dtype).eps) if math.isnan(tol) else tol, max_iter


def _rows_of_z(network: Graph, reads: int, units: int) -> dict[int, list[int]]:
    """Return {number of a place: rows of its matrix} that multiply columns of z.

    These are the first so many columns of the value `reads`, and of what is made of them column by
    column.
    """
    first = {reads: {0}}  # {value: where columns of z begin}
    rows = {}
    for number, place in enumerate(network.places[reads:], reads):
        before = 0
        starts: set[int] = set()
        for value in place.inputs:
            starts |= {before + start for start in first.get(value, ())}
            before += network.width(value) if place.kind == "concatenate" else 0
        if not starts:
            continue
        if place.kind in ("dense", "weight_norm"):
            rows[number] = sorted({start + i for start in starts for i in range(units)})
        elif place.kind == "concatenate" or place.kind not in _MIX_COLUMNS:
            first[number + 1] = starts
    return rows


class DeepEquilibrium(_OfBlock):
    """The fixed point ``z = block([z, x])`` of a block of layers that reads z and x side by side.

    It is what infinitely many layers with the same weights, each of which reads x, would put out.

    Parameters
    ----------
    block : Layer or sequence of Layer
        One after the other; they put out z, whose columns are those that `Dense` or its like at
        their end says, and read those of z first and then those of x. Each makes of an example
        something that depends on nothing else and is the same each time, as for `NeuralODE`.
    solver : {"anderson", "broyden"}
        Anderson's method, which remembers 5 moves, or Broyden's first with up to 10.
    tol : float, optional
        An example has arrived when ``norm(block([z, x]) - z) <= tol * norm(block([z, x]))``. The
        root of the dtype's epsilon unless given: 3.5e-4 in float32, 1.5e-8 in float64.
    max_iter : int
        So many evaluations of the block are made at most.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that, or if the columns of z are not known.

    Notes
    -----
    It begins with z = 0; each example is solved by itself. An example that has not arrived by
    `max_iter` comes out as it is then, and its derivatives are not those of a fixed point:
    `inspect.equilibrium_distances` returns how far examples are. A fit on arrays looks at up to
    256 of their rows when it is done, and warns if more than one in a hundred has not arrived.

    There is a fixed point that can be found where the block draws values of z together, and so it
    begins: of a matrix whose layer says no `init`, the rows that multiply z are drawn smaller,
    such that their largest singular value is about 1 / 4. Training may make a block out of it that
    has none, and near to that gradients are large; norms in the block, `Tanh`, weight decay and the
    `clip_norm` of optimizers help.

    Derivatives are those of the fixed point, by the implicit function theorem: the way back solves
    ``u = d + J' u``, where J is the derivative of the block in z, by the same solver, and so do
    tangents of both ways. So memory does not grow with the number of iterations. They are exact
    within `tol`. Exact traces and diagonals of curvature and gradients of single examples are
    refused.

    The parameters of the block are called ``"2.0.weight"`` where it is the layer 2 of the model.

    References
    ----------
    S. Bai, J. Z. Kolter, V. Koltun (2019), "Deep equilibrium models", NeurIPS,
    https://arxiv.org/abs/1909.01377. H. F. Walker, P. Ni (2011), "Anderson acceleration for
    fixed-point iterations", SIAM Journal on Numerical Analysis 49. C. G. Broyden (1965), "A class
    of methods for solving nonlinear simultaneous equations", Mathematics of Computation 19.

    Examples
    --------
    >>> deep = fnn.DeepEquilibrium([fnn.Dense(32), fnn.Tanh()])
    >>> model = fnn.Sequential([deep, fnn.Dense(3)]).build(4)
    >>> model.named_parameters()["0.0.weight"].shape
    (36, 32)
    """

    solver: Setting[str] = Setting(partial(checks.choice, choices=_SOLVERS))
    tol: Setting[float | None] = Setting(_optional(partial(checks.real, above=0)))
    max_iter: Setting[int] = Setting(partial(checks.integer, minimum=1))

    def __init__(
        self,
        block: Branch | Iterable[Branch] | Unbuilt,
        *,
        solver: SolverName = "anderson",
        tol: Real | None = None,
        max_iter: Integer = 50,
    ) -> None:
        vars(self)["block"] = _block(block, "block")
        self._set(solver=solver, tol=tol, max_iter=max_iter)
        if not self.units:
            raise ValueError(
                "block: expected layers that say how many columns they put out, such as a Dense at "
                f"their end, got {list(vars(self)['block'])!r}"
            )

    @property
    def units(self) -> int:
        return Graph(vars(self)["block"]).features

    def lay(self, network: Graph, path: str, value: int) -> int:
        width, units = network.width(value), self.units
        reads = _Reads(units + max(width, 1), "DeepEquilibrium's z and x")
        state = network.add(reads, path, reads.kind, (value,), width and reads.units)
        with network.evaluating(self.max_iter, 1):
            out = self._lay_block(network, path, state)
        network.returning |= _rows_of_z(network, state, units)
        solves = _SolvesEquilibrium(self)
        return network.add(solves, path, solves.kind, (value, out), units)


LAYERS.extend([NeuralODE, DeepEquilibrium])
