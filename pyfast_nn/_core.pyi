"""The compiled module: private; see csrc/bindings."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Update = tuple[str, dict[str, float]]  # in Network.train also arrays (steps,)
_Loss = tuple[str, dict[str, float]]
_LanczosState = tuple[float, float, float, float, bool]

class Run:
    def __init__(
        self,
        *,
        training: bool = False,
        random: bool = False,
        learns_state: bool = False,
        seed: int = 0,
        step: int = 0,
        first: int = 0,
    ) -> None: ...
    @property
    def training(self) -> bool: ...
    @property
    def seed(self) -> int: ...

class Network:
    def __init__(
        self,
        dtype: str,
        in_features: int,
        layers: list[dict[str, Any]],
        fused: bool = True,
        device: str = "cpu",
        compute_dtype: str | None = None,
        missing: str = "",
    ) -> None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def in_features(self) -> int: ...
    @property
    def encodes_inputs(self) -> bool: ...
    @property
    def out_features(self) -> int: ...
    @property
    def out_positions(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_trainable(self) -> int: ...
    @property
    def n_state(self) -> int: ...
    @property
    def parameter_layout(self) -> list[tuple[str, str, int, tuple[int, ...]]]: ...
    @property
    def state_layout(self) -> list[tuple[str, str, int, tuple[int, ...]]]: ...
    @property
    def output_features(self) -> list[int]: ...
    @property
    def output_shapes(self) -> list[tuple[int, int, int]]: ...
    @property
    def inexact(self) -> str: ...
    @property
    def nonlinear(self) -> str: ...
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
        *,
        link: str = "identity",
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        run: Run = ...,
    ) -> None: ...
    def values(
        self,
        parameters: _Array,
        X: Any,
        outs: list[_Array | None],
        *,
        model_state: _Floats | None = None,
    ) -> None: ...
    def input_gradient(
        self, X: Any, d: _Array, dX: _Array, *, model_state: _Floats | None = None
    ) -> None: ...
    def input_columns(
        self,
        X: Any,
        input: int,
        first: int,
        out: _Floats,
        *,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
    ) -> None: ...
    def evaluate(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        *,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        run: Run = ...,
        out: _Array | None = None,
        link: str = "identity",
    ) -> tuple[float, float]: ...
    def losses_along(
        self,
        parameters: _Array,
        directions: _Array,
        steps: _Floats,
        X: Any,
        y: _Array,
        loss: _Loss,
        losses: _Floats,
        *,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
    ) -> None: ...
    def loss_and_grad(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        grad: _Array,
        *,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        run: Run = ...,
        forward: bool = False,
    ) -> float: ...
    def loss_and_slope(
        self,
        parameters: _Array,
        v: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        *,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        run: Run = ...,
    ) -> tuple[float, float]: ...
    def vjp(
        self,
        parameters: _Array,
        X: Any,
        out: _Array,
        *,
        model_state: _Floats | None = None,
        run: Run = ...,
    ) -> Pullback: ...
    def jvp(
        self,
        parameters: _Array,
        v: _Array,
        X: Any,
        out: _Array,
        dout: _Array,
        *,
        model_state: _Floats | None = None,
        run: Run = ...,
    ) -> None: ...
    def hvp(
        self,
        parameters: _Array,
        v: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        hv: _Array,
        *,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        run: Run = ...,
    ) -> None: ...
    def keep_memory(
        self, keeps: bool, examples: list[tuple[Any, _Array, _Integers | None]] = ...
    ) -> None: ...
    def calibrate(self, parameters: _Array, X: Any, model_state: _Floats) -> None: ...
    def train(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        *,
        order: _Integers,
        batch_size: int,
        lr: float | _Floats,
        update: _Update,
        state: list[_Array],
        step: int,
        report: _Floats,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        batches_per_step: int = 1,
        ridge: float | _Floats = 0.0,
        mixup: float = 0.0,
        forward: bool = False,
        run: Run = ...,
    ) -> None: ...
    def train_stepwise(
        self,
        parameters: _Array,
        X: Any,
        y: _Array,
        loss: _Loss,
        *,
        order: _Integers,
        batch_size: int,
        gradient: _Array,
        take_step: Callable[[bool], bool],
        report: _Floats,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        batches_per_step: int = 1,
        ridge: float | _Floats = 0.0,
        mixup: float = 0.0,
        forward: bool = False,
        run: Run = ...,
    ) -> None: ...

class Pullback:  # made by Network.vjp alone
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __call__(self, dout: _Array, dparameters: _Array, dX: _Array) -> None: ...

def isa() -> str: ...
def available_isas() -> list[str]: ...
def use_isa(name: str) -> None: ...

class DeviceMemory:
    def __init__(self, device: str, bytes: int) -> None: ...
    @property
    def address(self) -> int: ...
    def write(self, array: _Array) -> None: ...
    def read(self, array: _Array) -> None: ...
    @property
    def number(self) -> int: ...
    def wait(self) -> None: ...
    def lend(
        self, shape: list[int], strides: list[int], itemsize: int, versioned: bool
    ) -> object: ...

class BorrowedArray:
    def __init__(self, capsule: object) -> None: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

def open_device(path: str) -> None: ...
def is_open_device(kind: str) -> bool: ...
def count_devices(kind: str) -> int: ...
def device_model(name: str) -> str: ...
def use_cublaslt(device: str, path: str, always: bool) -> None: ...
def build_config() -> dict[str, Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def set_own_threads(n: int) -> None: ...
def get_own_threads() -> int: ...

class Stop:
    def __init__(self) -> None: ...
    def set(self) -> None: ...
    def is_set(self) -> bool: ...

def obey(stop: Stop | None) -> None: ...
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
def transpose(A: _Array, out: _Array) -> None: ...
def lanczos_step(
    Q: _Array,
    probe: int,
    Aq: _Array,
    factor: float,
    negligible: float,
    before: _LanczosState,
) -> tuple[float, _LanczosState]: ...
def random_uniform(seed: int, stream: int, out: _Array) -> None: ...
def random_normal(seed: int, stream: int, out: _Array) -> None: ...
def random_beta(alpha: float, seed: int, stream: int, out: _Floats) -> None: ...
def permutation(seed: int, stream: int, n: int) -> _Integers: ...
def first_non_finite_row(X: _Array, dtype: str, order: _Integers | None = None) -> int | None: ...
def column_statistics(
    X: Any, mean: _Floats, std: _Floats, order: _Integers | None = None
) -> None: ...
def update(
    update: _Update, params: _Array, grads: _Array, state: list[_Array], lr: float, step: int
) -> None: ...
def fma_peak(seconds: float, threads: int) -> float: ...
def memory_bandwidth(seconds: float, threads: int) -> float: ...
def allocations() -> int: ...
def fail_allocation(k: int) -> None: ...
def fail_in_team(k: int) -> None: ...
def unsettle_teams(on: bool) -> None: ...

class Tensors:
    def __init__(self, params: object, convert: Callable[[object, str, int], _Array]) -> None: ...
    @property
    def arrays(self) -> list[_Array]: ...
    @property
    def paths(self) -> list[str]: ...
    @property
    def keys(self) -> list[str]: ...
    @property
    def are_fortran(self) -> list[bool]: ...
    @property
    def device(self) -> str: ...

class Updater:
    def __init__(self, tensors: Tensors, group_of: list[int], n_groups: int) -> None: ...
    def set_updates(
        self, updates: list[tuple[_Update, float | _Floats] | None], steps: int
    ) -> None: ...
    def set_rates(self, rates: list[float]) -> None: ...
    def set_states(self, states: list[list[_Array | None]]) -> None: ...
    steps: int
    missed: list[int]
    def step(self, grads: object, stream: int = 0, waits: bool = False) -> None: ...

class Around:
    def __init__(self, updater: Updater) -> None: ...
    def set_options(
        self,
        *,
        maximize: bool,
        clip_norm: float | None,
        clip_value: float | None,
        clip_units: float | None,
        unit_axis: int,
        skip_nonfinite: bool,
        accumulate: int,
        ema: float | None,
        swa: int | None,
        lookahead: tuple[int, float] | None,
        sam: float | None,
    ) -> None: ...
    skipped: int
    accumulated: int
    averaged: int
    since_lookahead: int
    @property
    def grad_norm(self) -> float | None: ...
    def step(self, grads: object) -> None: ...
    def ascend(self, grads: object) -> None: ...
    def descend(self) -> None: ...
    def check_at_rest(self, what: str) -> None: ...
    def buffers(self) -> dict[str, list[_Array | None]]: ...
    def set_buffer(self, name: str, arrays: list[_Array | None]) -> None: ...

class Averaged:
    def __init__(self, around: Around) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *args: object) -> None: ...

class Operator:
    def __init__(
        self,
        net: Network,
        kind: str,
        parameters: _Array,
        X: Any,
        *,
        y: _Array | None = None,
        loss: _Loss | None = None,
        weights: _Array | None = None,
        model_state: _Floats | None = None,
        order: _Integers | None = None,
        memory_budget: float = 0.0,
        run: Run = ...,
    ) -> None: ...
    @property
    def kept_chunks(self) -> int: ...
    def products(self, V: _Array, out: _Array) -> None: ...
    def quadratic_forms(self, V: _Array, out: _Floats) -> None: ...
    def jacobian_products(self, V: _Array, out: _Array) -> None: ...
    def jacobian_transposed_products(self, U: _Array, out: _Array) -> None: ...
    def traces(self, signs: _Array | None = None) -> tuple[list[float], list[float]]: ...
    def diagonal(self, out: _Array, signs: _Array | None = None) -> None: ...
    def example_gradients(self, out: _Array) -> None: ...
