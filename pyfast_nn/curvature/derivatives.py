"""A snapshot of a model and its data, of which the core makes products; needs no SciPy."""

from typing import Any

import numpy as np

from .. import _core, checks, data
from ..engine import Engine
from ..losses import Loss
from ..typing import Array, ArrayLike, Integer, Restrict


class Derivatives:
    """Derivatives in some of a model's parameters, as columns or rows of an operator.

    Attributes
    ----------
    kind : str
        The core's name of the operator.
    core : _core.Operator
    net : _core.Network
    loss : Loss or None
    keys, all_keys : list of str
        Of the parameters that vary, and of all, in their order.
    slices : dict of slice
        Where in the flat vector of all those that vary are.
    n, n_rows : int
        How many numbers vary; how many examples there are.
    damping : None, float or ndarray (n,)
        What is added to the diagonal.
    """

    def __init__(
        self,
        engine: Engine,
        kind: str,
        examples: data.Examples,
        loss: Loss | None,
        restrict: Restrict,
        dtype: np.dtype[Any],
        memory_budget: Integer,
        run: _core.Run,
    ) -> None:
        budget = checks.integer(memory_budget, "memory_budget", 0, 2**62)
        self.kind: str = kind
        self.loss: Loss | None = loss
        self.core: _core.Operator
        self.net: _core.Network
        self.core, self.net = engine.operator(kind, examples, loss, dtype, budget, run)
        self.dtype = dtype
        self.all_keys: list[str] = list(engine.named_parameters())
        self.slices: dict[str, slice] = _slices(engine.named_parameters(), restrict)
        self.keys: list[str] = list(self.slices)
        self.n: int = sum(piece.stop - piece.start for piece in self.slices.values())
        self.n_rows: int = examples.n
        self.damping: Any = None
        self._engine = engine
        self._training = run.training

    def damp(self, damping: ArrayLike) -> None:
        """Add `damping`, checked, to the diagonal."""
        self.damping = _damping(damping, self.n)

    def whole(self, V: ArrayLike) -> Array:
        """Return rows (k, n_parameters) that are V (n, k), and zero for all other parameters."""
        V = check_columns(V, self.n)
        if len(self.keys) == len(self.all_keys):
            return as_rows(V, self.dtype)
        whole = np.zeros((V.shape[1], self.net.n_parameters), self.dtype)
        for piece, own in zip(self.slices.values(), self.blocks().values(), strict=True):
            whole[:, piece] = as_rows(V[own], self.dtype)
        return whole

    def part(self, rows: Array) -> Array:
        """Return the columns (n, k) that belong to the parameters of rows (k, n_parameters)."""
        if len(self.keys) == len(self.all_keys):
            return rows.T
        pieces = list(self.slices.values())
        return np.concatenate([rows[..., piece] for piece in pieces], axis=-1).T

    def blocks(self) -> dict[str, slice]:
        """Return {key: slice of v (n,)} of the parameters that vary."""
        ends = np.cumsum([piece.stop - piece.start for piece in self.slices.values()])
        starts = [0, *ends[:-1]]
        return {key: slice(a, b) for key, a, b in zip(self.keys, starts, ends, strict=True)}

    def check_each_row(self, name: str, cure: str) -> None:
        """Raise ValueError unless it is known what each example adds to traces and gradients."""
        check_each_loss(self.loss)
        if self._training and self.net.couples_rows:
            raise ValueError(
                "training: expected False where each row counts for itself, got True for a "
                "network whose rows depend on each other in training, by BatchNorm"
            )
        if self.net.inexact:
            raise ValueError(
                f"{name}: expected a network of which it is known what each example adds, got one "
                f"where {self.net.inexact}; {cure}"
            )

    def bent_layer(self) -> str:
        """Return the first layer that is not piecewise linear, as a text for messages."""
        return self._engine.first_bent_layer()


def check_each_loss(loss: Loss | None) -> None:
    """Raise ValueError if no loss is that of one example."""
    if loss is not None and loss.task == "pairs":
        raise ValueError(
            f"loss: expected one of each example by itself, got {loss.name!r}, one of pairs of rows"
        )


def check_columns(V: ArrayLike, n: int) -> Array:
    """Return `V` as an array, and raise unless it is real and (n, k)."""
    V = np.asarray(V)
    if V.dtype.kind not in "fiub":
        raise TypeError(f"V: expected real numbers, got dtype {V.dtype}")
    if V.ndim != 2 or V.shape[0] != n:
        raise ValueError(f"V: expected shape ({n}, k), got {V.shape}")
    return V


def as_rows(V: Array, dtype: np.dtype[Any]) -> Array:
    """Return the columns of `V` (n, k) as rows (k, n), contiguous, aligned and of `dtype`."""
    if V.flags.f_contiguous:
        return np.require(V.T, dtype, ["C", "A"])
    _core.transpose(np.require(V, dtype, ["C", "A"]), out := np.empty(V.shape[::-1], dtype))
    return out


def _damping(damping: Any, n: int) -> Any:
    """Return `damping` as a number or float64 array (n,); None for none."""
    if np.ndim(damping) == 0:
        damping = checks.real(damping, "damping", minimum=0)
        return None if damping == 0 else damping
    damping = data.contiguous(damping, np.float64, "damping")
    if damping.shape != (n,):
        raise ValueError(f"damping: expected a number or shape ({n},), got {damping.shape}")
    if not (np.isfinite(damping).all() and damping.min(initial=0) >= 0):
        raise ValueError(
            f"damping: expected finite numbers >= 0, got {damping.min()} to {damping.max()}"
        )
    return damping.copy()


def _slices(named: dict[str, Array], restrict: Any) -> dict[str, slice]:
    """Return {key: slice of the flat vector} of the parameters that `restrict` picks."""
    slices, first = {}, 0
    for key, view in named.items():
        slices[key] = slice(first, first + view.size)
        first += view.size
    if restrict is None:
        return slices
    picks = [restrict] if isinstance(restrict, (int, np.integer, str)) else restrict
    if not isinstance(picks, (list, tuple)) or not picks:
        raise TypeError(
            "restrict: expected the number of a layer, the key of a parameter, or a list of those, "
            f"got {checks.describe(restrict)}"
        )
    chosen = set()
    for pick in picks:
        keys = [key for key in slices if pick == key or key.startswith(f"{pick}.")]
        if isinstance(pick, bool) or not isinstance(pick, (int, np.integer, str)) or not keys:
            raise ValueError(
                f"restrict: expected layers or keys among {', '.join(slices)}, got {pick!r}"
            )
        chosen.update(keys)
    return {key: piece for key, piece in slices.items() if key in chosen}
