"""The compiled module: private; see csrc/bindings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Update = tuple[str, dict[str, float]]  # in Network.train also arrays (steps,)
_Loss = tuple[str, dict[str, float]]

class Network:
    def __init__(
        self, dtype: str, in_features: int, layers: list[tuple[str, int, tuple[float, ...]]]
    ) -> None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def in_features(self) -> int: ...
    @property
    def out_features(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_state(self) -> int: ...
    @property
    def parameter_layout(self) -> list[tuple[int, str, int, tuple[int, ...]]]: ...
    @property
    def state_layout(self) -> list[tuple[int, str, int, tuple[int, ...]]]: ...
    @property
    def couples_rows(self) -> bool: ...
    @property
    def is_random(self) -> bool: ...
    @property
    def has_state(self) -> bool: ...
    @property
    def piecewise_linear(self) -> bool: ...
    def forward(
        self,
        parameters: _Array,
        X: Any,
        out: _Array,
        link: str = "identity",
        model_state: _Floats | None = None,
        order: _Integers | None = None,
    ) -> None: ...
    def evaluate(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
    ) -> tuple[float, float]: ...
    def loss_and_grad(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        grad: _Array,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
    ) -> float: ...
    def vjp(
        self, parameters: _Array, X: Any, out: _Array, model_state: _Floats | None = None
    ) -> Pullback: ...
    def jvp(
        self,
        parameters: _Array,
        v: _Array,
        X: Any,
        out: _Array,
        dout: _Array,
        model_state: _Floats | None = None,
    ) -> None: ...
    def hvp(
        self,
        parameters: _Array,
        v: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        hv: _Array,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
    ) -> None: ...
    def train(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        order: _Integers,
        batch_size: int,
        lr: _Floats,
        update: _Update,
        state: list[_Array],
        step: int,
        report: _Floats,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        batches_per_step: int = 1,
    ) -> None: ...

class Pullback:  # made by Network.vjp alone
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __call__(self, dout: _Array, dparameters: _Array, dX: _Array) -> None: ...

def isa() -> str: ...
def available_isas() -> list[str]: ...
def use_isa(name: str) -> None: ...
def build_config() -> dict[str, Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def use_blas(sgemm: object, dgemm: object) -> None: ...
def gemm(
    a: _Array,
    b: _Array,
    out: _Array | None,
    alpha: float,
    beta: float,
    transpose_a: bool,
    transpose_b: bool,
) -> _Array: ...
def dense_forward(x: _Array, w: _Array, b: _Array, out: _Array | None) -> _Array: ...
def dense_backward(
    dz: _Array,
    x: _Array,
    w: _Array,
    dx: _Array | None,
    dw: _Array | None,
    db: _Array | None,
    input_gradient: bool,
) -> tuple[_Array | None, _Array, _Array]: ...
def softmax(z: _Array, logarithm: bool, out: _Array | None) -> _Array: ...
def softmax_backward(da: _Array, z: _Array, out: _Array | None) -> _Array: ...
def activation(name: str, values: Sequence[float], z: _Array, out: _Array | None) -> _Array: ...
def activation_backward(
    name: str, values: Sequence[float], da: _Array, z: _Array, out: _Array | None
) -> _Array: ...
def loss(
    loss: _Loss, z: _Array, y: _Array, weights: _Array | None, out: _Array | None
) -> tuple[float, _Array]: ...
def clip_grad_norm(grads: list[_Array], max_norm: float) -> float: ...
def unary(name: str, x: _Array) -> _Array: ...
def random_uniform(seed: int, stream: int, out: _Array) -> None: ...
def random_normal(seed: int, stream: int, out: _Array) -> None: ...
def permutation(seed: int, stream: int, n: int) -> _Integers: ...
def first_non_finite_row(X: _Array, dtype: str) -> int | None: ...
def column_statistics(X: Any, rows: _Integers | None, mean: _Floats, std: _Floats) -> None: ...
def update(
    update: _Update, params: _Array, grads: _Array, state: list[_Array], lr: float, step: int
) -> None: ...
def fma_peak(seconds: float, threads: int) -> float: ...
def memory_bandwidth(seconds: float, threads: int) -> float: ...
def allocations() -> int: ...
def fail_allocation(k: int) -> None: ...
def fail_in_team(k: int) -> None: ...
