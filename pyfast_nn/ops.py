"""The kernels as functions of NumPy arrays, for people who write their own loops.

A network of two layers that learns to read digits:

>>> import numpy as np
>>> import pyfast_nn as fnn
>>> from pyfast_nn import ops

>>> X, y = fnn.datasets.load_digits()
>>> X, Xt, y, yt = X[300:] / 16, X[:300] / 16, y[300:], y[:300]

>>> rng = np.random.default_rng(0)
>>> w1, b1 = rng.normal(0, np.sqrt(2 / 64), (64, 64)), np.zeros(64)
>>> w2, b2 = rng.normal(0, np.sqrt(2 / 64), (64, 10)), np.zeros(10)
>>> parameters = [w1, b1, w2, b2]
>>> gradients, velocities = ([np.zeros_like(p) for p in parameters] for _ in range(2))

>>> def forward(x):
...     z1 = ops.dense_forward(x, w1, b1)
...     a1 = ops.relu(z1)
...     return z1, a1, ops.dense_forward(a1, w2, b2)

>>> def loss_and_gradients(x, labels):
...     z1, a1, z2 = forward(x)
...     loss, dz2 = ops.cross_entropy(z2, labels, out=z2)
...     da1, *_ = ops.dense_backward(dz2, a1, w2, out=(None, *gradients[2:]))
...     dz1 = ops.relu_backward(da1, z1, out=da1)
...     ops.dense_backward(dz1, x, w1, input_gradient=False, out=(None, *gradients[:2]))
...     return loss

>>> for epoch in range(10):
...     for rows in np.array_split(rng.permutation(len(X)), 24):
...         loss = loss_and_gradients(X[rows], y[rows])
...         norm = ops.clip_grad_norm(gradients, 1.0)
...         for p, g, v in zip(parameters, gradients, velocities):
...             v *= 0.9
...             v += g
...             p -= 0.1 * v

>>> accuracy = np.mean(forward(Xt)[2].argmax(axis=1) == yt)
>>> bool(accuracy > 0.9)
True

What holds for all of them:

- ``d...`` is the derivative of a loss in what follows: ``dz`` has the shape of ``z``.
- A layer or a loss has the formula and the parameters of its object (`pyfast_nn.LeakyReLU`,
  `pyfast_nn.losses.Huber`), where they are described.
- ``..._backward`` takes the derivative in what the function returned, and then what the function
  took: for activations always their input ``z``, not their value.
- Inputs may have any strides, byte order and real dtype, and are not modified. The computation is
  in float32 if every floating-point input is float32 or float16, and in float64 otherwise (integers
  alone: float64).
- ``out`` is an array of the right shape and of the dtype of the computation; it is never converted.
  It may have any strides that keep its elements apart, and may overlap the inputs: the result is as
  if it did not. Without `out` a new array is returned.
- They use the threads that `set_num_threads` allows, release the GIL, and end on Ctrl-C. The
  results are the same bits for any number of threads.

A wrong shape or value is a ValueError, a wrong type or dtype a TypeError, that names the argument,
what came and what was expected.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from . import _core, checks, config, data, layers, losses
from .typing import Array, ArrayLike, ClassWeight, Real

__all__ = [
    "binary_cross_entropy",
    "clip_grad_norm",
    "contrastive",
    "cross_entropy",
    "dense_backward",
    "dense_forward",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "gemm",
    "hardtanh",
    "hardtanh_backward",
    "hinge",
    "huber",
    "identity",
    "identity_backward",
    "info_nce",
    "leaky_relu",
    "leaky_relu_backward",
    "log_cosh",
    "log_softmax",
    "mae",
    "mse",
    "multi_margin",
    "n_pair",
    "nce",
    "poisson",
    "quantile",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "sign",
    "sign_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "step",
    "step_backward",
    "supcon",
    "tanh",
    "tanh_backward",
    "triplet",
]


def __dir__() -> list[str]:
    return __all__


def _numbers(**inputs: object) -> tuple[list[Array], np.dtype[Any]]:
    """Return the inputs as arrays that the core can read, and the dtype of the computation."""
    arrays = [data.as_numbers(value, name) for name, value in inputs.items()]
    sizes = {array.dtype.itemsize for array in arrays if array.dtype.kind == "f"}
    return arrays, np.dtype(np.float32 if sizes and max(sizes) <= 4 else np.float64)


def gemm(
    a: ArrayLike,
    b: ArrayLike,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    alpha: Real = 1.0,
    beta: Real = 0.0,
    out: Array | None = None,
) -> Array:
    """Return ``alpha * op(a) @ op(b) + beta * out``, where op transposes or not.

    Parameters
    ----------
    a, b : array_like (m, k) and (k, n), or their transposes
    trans_a, trans_b : bool
        Whether `a` is given as (k, m), `b` as (n, k).
    alpha, beta : float
        With `beta` 0, `out` is written without being read; otherwise it must be given.
    out : None or ndarray (m, n)

    Returns
    -------
    ndarray (m, n)

    Notes
    -----
    2 m n k operations. An `a` or `b` whose rows or columns do not lie together is copied.

    Examples
    --------
    >>> fnn.ops.gemm(np.eye(2), [[1.0, 2.0], [3.0, 4.0]], alpha=10)
    array([[10., 20.],
           [30., 40.]])
    """
    (a, b), dtype = _numbers(a=a, b=b)
    return _core.gemm(
        np.require(a, dtype, "A"),
        np.require(b, dtype, "A"),
        out,
        checks.real(alpha, "alpha"),
        checks.real(beta, "beta"),
        checks.boolean(trans_a, "trans_a"),
        checks.boolean(trans_b, "trans_b"),
    )


def dense_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``x @ w + b``.

    Parameters
    ----------
    x : array_like (n, in)
        Read in place whatever its strides and dtype.
    w : array_like (in, out)
    b : array_like (out,)
    out : None or ndarray (n, out)

    Returns
    -------
    ndarray (n, out)

    Examples
    --------
    >>> fnn.ops.dense_forward([[1.0, 2.0]], [[1.0], [1.0]], [0.5])
    array([[3.5]])
    """
    (x, w, b), dtype = _numbers(x=x, w=w, b=b)
    w, b = np.require(w, dtype, "A"), np.require(b, dtype, ["C", "A"])
    return _core.dense_forward(x, w, b, out)


def dense_backward(
    dz: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    input_gradient: bool = True,
    out: tuple[Array | None, Array | None, Array | None] | None = None,
) -> tuple[Any, Array, Array]:
    """Return the derivatives of a loss in the inputs of `dense_forward`, from that in its result.

    Parameters
    ----------
    dz : array_like (n, out)
    x : array_like (n, in)
        Read in place whatever its strides and dtype.
    w : array_like (in, out)
    input_gradient : bool
        False: dx, which the first layer of a network does not need, is not computed.
    out : None or tuple (dx, dw, db)
        Where each goes; None in a place: a new array.

    Returns
    -------
    dx : ndarray (n, in)
        ``dz @ w.T``, or None.
    dw : ndarray (in, out)
        ``x.T @ dz``
    db : ndarray (out,)
        ``dz.sum(axis=0)``
    """
    (dz, x, w), dtype = _numbers(dz=dz, x=x, w=w)
    checks.boolean(input_gradient, "input_gradient")
    if out is None:
        out = (None, None, None)
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        raise TypeError(f"out: expected a tuple (dx, dw, db), got {checks.describe(out)}")
    if not input_gradient and out[0] is not None:
        raise ValueError("out: expected None for dx, as input_gradient is False")
    return _core.dense_backward(
        np.require(dz, dtype, "A"), x, np.require(w, dtype, "A"), *out, input_gradient
    )


def _rows(z: ArrayLike) -> Array:
    """Return `z` as the core takes it where it reads element after element."""
    (z,), dtype = _numbers(z=z)
    return np.require(z, dtype, ["C", "A"])


def _both(da: ArrayLike, z: ArrayLike) -> tuple[Array, Array]:
    (da, z), dtype = _numbers(da=da, z=z)
    return np.require(da, dtype, ["C", "A"]), np.require(z, dtype, ["C", "A"])


def softmax(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``exp(z) / sum(exp(z))`` along the last axis, for any finite `z`.

    Parameters
    ----------
    z : array_like (..., k)
        At least one column.
    out : None or ndarray (..., k)

    Returns
    -------
    ndarray (..., k)

    Examples
    --------
    >>> fnn.ops.softmax([[1000.0, 1000.0]])
    array([[0.5, 0.5]])
    """
    return _core.softmax(_rows(z), False, out)


def softmax_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `softmax`, from that in its result."""
    return _core.softmax_backward(*_both(da, z), out)


def log_softmax(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the logarithm of `softmax`, accurate also where that is tiny.

    Parameters
    ----------
    z : array_like (..., k)
    out : None or ndarray (..., k)

    Returns
    -------
    ndarray (..., k)

    Examples
    --------
    >>> fnn.ops.log_softmax([[0.0, 1000.0]])
    array([[-1000.,     0.]])
    """
    return _core.softmax(_rows(z), True, out)


# Activations, element by element: z has any shape.


def _activate(layer: layers.Layer, z: ArrayLike, out: Array | None) -> Array:
    z = _rows(z)
    config.check_rounded(layer, z.dtype)
    return _core.activation(layer.kind, layer.values, z, out)


def _activate_backward(
    layer: layers.Layer, da: ArrayLike, z: ArrayLike, out: Array | None
) -> Array:
    da, z = _both(da, z)
    config.check_rounded(layer, z.dtype)
    return _core.activation_backward(layer.kind, layer.values, da, z, out)


def identity(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``z``, copied. See `pyfast_nn.Identity`."""
    return _activate(layers.Identity(), z, out)


def identity_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `identity`, from that in its result."""
    return _activate_backward(layers.Identity(), da, z, out)


def relu(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``max(z, 0)``. See `pyfast_nn.ReLU`."""
    return _activate(layers.ReLU(), z, out)


def relu_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `relu`, from that in its result."""
    return _activate_backward(layers.ReLU(), da, z, out)


def leaky_relu(z: ArrayLike, negative_slope: Real = 0.01, *, out: Array | None = None) -> Array:
    """Return ``z`` where it is positive, else ``negative_slope * z``. See `pyfast_nn.LeakyReLU`."""
    return _activate(layers.LeakyReLU(negative_slope), z, out)


def leaky_relu_backward(
    da: ArrayLike, z: ArrayLike, negative_slope: Real = 0.01, *, out: Array | None = None
) -> Array:
    """Return the derivative of a loss in the `z` of `leaky_relu`, from that in its result."""
    return _activate_backward(layers.LeakyReLU(negative_slope), da, z, out)


def elu(z: ArrayLike, alpha: Real = 1.0, *, out: Array | None = None) -> Array:
    """Return ``z`` where it is positive, else ``alpha * (exp(z) - 1)``. See `pyfast_nn.ELU`."""
    return _activate(layers.ELU(alpha), z, out)


def elu_backward(
    da: ArrayLike, z: ArrayLike, alpha: Real = 1.0, *, out: Array | None = None
) -> Array:
    """Return the derivative of a loss in the `z` of `elu`, from that in its result."""
    return _activate_backward(layers.ELU(alpha), da, z, out)


def softplus(z: ArrayLike, beta: Real = 1.0, *, out: Array | None = None) -> Array:
    """Return ``log(1 + exp(beta * z)) / beta``. See `pyfast_nn.Softplus`."""
    return _activate(layers.Softplus(beta), z, out)


def softplus_backward(
    da: ArrayLike, z: ArrayLike, beta: Real = 1.0, *, out: Array | None = None
) -> Array:
    """Return the derivative of a loss in the `z` of `softplus`, from that in its result."""
    return _activate_backward(layers.Softplus(beta), da, z, out)


def gelu(
    z: ArrayLike, approximate: Literal["none", "tanh"] = "none", *, out: Array | None = None
) -> Array:
    """Return ``z`` times the normal distribution function at ``z``. See `pyfast_nn.GELU`."""
    return _activate(layers.GELU(approximate), z, out)


def gelu_backward(
    da: ArrayLike,
    z: ArrayLike,
    approximate: Literal["none", "tanh"] = "none",
    *,
    out: Array | None = None,
) -> Array:
    """Return the derivative of a loss in the `z` of `gelu`, from that in its result."""
    return _activate_backward(layers.GELU(approximate), da, z, out)


def silu(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``z / (1 + exp(-z))``. See `pyfast_nn.SiLU`."""
    return _activate(layers.SiLU(), z, out)


def silu_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `silu`, from that in its result."""
    return _activate_backward(layers.SiLU(), da, z, out)


def tanh(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the hyperbolic tangent of ``z``. See `pyfast_nn.Tanh`."""
    return _activate(layers.Tanh(), z, out)


def tanh_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `tanh`, from that in its result."""
    return _activate_backward(layers.Tanh(), da, z, out)


def hardtanh(
    z: ArrayLike, min_val: Real = -1.0, max_val: Real = 1.0, *, out: Array | None = None
) -> Array:
    """Return ``z`` cut off at `min_val` and `max_val`. See `pyfast_nn.Hardtanh`."""
    return _activate(layers.Hardtanh(min_val, max_val), z, out)


def hardtanh_backward(
    da: ArrayLike,
    z: ArrayLike,
    min_val: Real = -1.0,
    max_val: Real = 1.0,
    *,
    out: Array | None = None,
) -> Array:
    """Return the derivative of a loss in the `z` of `hardtanh`, from that in its result."""
    return _activate_backward(layers.Hardtanh(min_val, max_val), da, z, out)


def sigmoid(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return ``1 / (1 + exp(-z))``. See `pyfast_nn.Sigmoid`."""
    return _activate(layers.Sigmoid(), z, out)


def sigmoid_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `sigmoid`, from that in its result."""
    return _activate_backward(layers.Sigmoid(), da, z, out)


def step(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return 1 where ``z > 0``, else 0. See `pyfast_nn.Step`."""
    return _activate(layers.Step(), z, out)


def step_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `step`, from that in its result."""
    return _activate_backward(layers.Step(), da, z, out)


def sign(z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return -1, 0 or 1: the sign of ``z``. See `pyfast_nn.Sign`."""
    return _activate(layers.Sign(), z, out)


def sign_backward(da: ArrayLike, z: ArrayLike, *, out: Array | None = None) -> Array:
    """Return the derivative of a loss in the `z` of `sign`, from that in its result."""
    return _activate_backward(layers.Sign(), da, z, out)


# Losses of the raw outputs z (n, k) of a network.


def _loss(
    loss: losses.Loss,
    z: ArrayLike,
    y: ArrayLike,
    out: Array | None,
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight | None = None,
) -> tuple[float, Array]:
    z = _rows(z)
    if z.ndim != 2:
        raise ValueError(f"z: expected 2 dimensions (n, k), got shape {z.shape}")
    config.check_rounded(loss, z.dtype)
    n, k = z.shape
    labels = loss.classes(k)
    sample_weight, rows = data.sample_weights(sample_weight, (n,))
    y = data.targets(y, loss, (n, k), None, z.dtype, rows=rows)
    examples = data.Examples(z, y, y, rows=rows)
    examples = data.weigh(examples, sample_weight, class_weight, loss, labels, z.dtype)
    return _core.loss(loss.spec(), z, y, examples.weights, out)


def cross_entropy(
    z: ArrayLike,
    y: ArrayLike,
    *,
    label_smoothing: Real = 0.0,
    confidence_penalty: Real = 0.0,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return the softmax cross-entropy and its derivative in `z`.

    All losses are called like this; with their own parameters, those of their objects.

    Parameters
    ----------
    z : array_like (n, k)
        The raw outputs of a network.
    y : array_like
        The targets: labels (n,), or rows of probabilities (n, k).
    label_smoothing, confidence_penalty : float
        See `pyfast_nn.losses.CrossEntropy`.
    sample_weight : None or array_like (n,)
        Weights of the rows, at least 0; the result is ``sum(w * loss) / sum(w)``.
    class_weight : None, dict, "balanced" or array_like (k,)
        Weights of the classes, times those of the rows, as `Sequential.fit` has them. For losses of
        labels only.
    out : None or ndarray (n, k)
        Where dz goes; may be `z` itself.

    Returns
    -------
    loss : float
        The mean over the rows.
    dz : ndarray (n, k)

    Examples
    --------
    >>> loss, dz = fnn.ops.cross_entropy([[0.0, 0.0]], [1])
    >>> round(loss, 4), dz
    (0.6931, array([[ 0.5, -0.5]]))
    """
    return _loss(
        losses.CrossEntropy(label_smoothing=label_smoothing, confidence_penalty=confidence_penalty),
        z,
        y,
        out,
        sample_weight,
        class_weight,
    )


def multi_margin(
    z: ArrayLike,
    y: ArrayLike,
    *,
    margin: Real = 1.0,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of the hinge loss of classes. See `pyfast_nn.losses.MultiMargin`."""
    return _loss(losses.MultiMargin(margin=margin), z, y, out, sample_weight, class_weight)


def binary_cross_entropy(
    z: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of the logistic loss. See `pyfast_nn.losses.BinaryCrossEntropy`."""
    return _loss(losses.BinaryCrossEntropy(), z, y, out, sample_weight, class_weight)


def hinge(
    z: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of the hinge loss of two classes. See `pyfast_nn.losses.Hinge`."""
    return _loss(losses.Hinge(), z, y, out, sample_weight, class_weight)


def mse(
    z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """Return (loss, dz) of the squared error. See `pyfast_nn.losses.MSE`."""
    return _loss(losses.MSE(), z, y, out, sample_weight)


def mae(
    z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """Return (loss, dz) of the absolute error. See `pyfast_nn.losses.MAE`."""
    return _loss(losses.MAE(), z, y, out, sample_weight)


def huber(
    z: ArrayLike,
    y: ArrayLike,
    *,
    delta: Real = 1.0,
    sample_weight: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of Huber's loss. See `pyfast_nn.losses.Huber`."""
    return _loss(losses.Huber(delta=delta), z, y, out, sample_weight)


def poisson(
    z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """Return (loss, dz) of counts and their log rates. See `pyfast_nn.losses.Poisson`."""
    return _loss(losses.Poisson(), z, y, out, sample_weight)


def log_cosh(
    z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, out: Array | None = None
) -> tuple[float, Array]:
    """Return (loss, dz) of ``log(cosh(z - y))``. See `pyfast_nn.losses.LogCosh`."""
    return _loss(losses.LogCosh(), z, y, out, sample_weight)


def quantile(
    z: ArrayLike,
    y: ArrayLike,
    *,
    q: Real = 0.5,
    sample_weight: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of the pinball loss. See `pyfast_nn.losses.Quantile`."""
    return _loss(losses.Quantile(q=q), z, y, out, sample_weight)


# Losses of pairs of rows: the labels y (n,) say which belong together.


def info_nce(
    z: ArrayLike,
    y: ArrayLike,
    *,
    temperature: Real = 0.1,
    normalize: bool = True,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of NT-Xent over the rows `z`. See `pyfast_nn.losses.InfoNCE`."""
    return _loss(losses.InfoNCE(temperature, normalize=normalize), z, y, out, None)


def supcon(
    z: ArrayLike,
    y: ArrayLike,
    *,
    temperature: Real = 0.1,
    normalize: bool = True,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz), supervised contrastive. See `pyfast_nn.losses.SupCon`."""
    return _loss(losses.SupCon(temperature, normalize=normalize), z, y, out, None)


def n_pair(
    z: ArrayLike,
    y: ArrayLike,
    *,
    temperature: Real = 1.0,
    normalize: bool = False,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of two views of each label. See `pyfast_nn.losses.NPair`."""
    return _loss(losses.NPair(temperature, normalize=normalize), z, y, out, None)


def nce(
    z: ArrayLike,
    y: ArrayLike,
    *,
    temperature: Real = 0.1,
    normalize: bool = True,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz), noise-contrastive. See `pyfast_nn.losses.NCE`."""
    return _loss(losses.NCE(temperature, normalize=normalize), z, y, out, None)


def contrastive(
    z: ArrayLike,
    y: ArrayLike,
    *,
    margin: Real = 1.0,
    normalize: bool = False,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of distances in pairs. See `pyfast_nn.losses.Contrastive`."""
    return _loss(losses.Contrastive(margin, normalize=normalize), z, y, out, None)


def triplet(
    z: ArrayLike,
    y: ArrayLike,
    *,
    margin: Real = 1.0,
    mining: str = "all",
    normalize: bool = False,
    out: Array | None = None,
) -> tuple[float, Array]:
    """Return (loss, dz) of distances in triplets. See `pyfast_nn.losses.Triplet`."""
    return _loss(losses.Triplet(margin, mining=mining, normalize=normalize), z, y, out, None)


def clip_grad_norm(grads: Array | Sequence[Array | None], max_norm: Real) -> float:
    """Scale gradients in place so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    grads : ndarray, or list or tuple of ndarray
        Writable, all float32 or all float64, apart from each other in memory. None, a gradient that
        is not there, is passed over.
    max_norm : float
        At least 0.

    Returns
    -------
    float
        The norm of all elements of all arrays together, before the scaling. If it is not finite,
        because a gradient is not or because it exceeds float64, nothing is changed: look at it
        before the step.

    Notes
    -----
    Pascanu, Mikolov and Bengio (2013). The factor is ``max_norm / norm``; that of torch is
    ``max_norm / (norm + 1e-6)``. The sum is taken in float64, and neither overflows nor underflows
    when the norm itself does not.

    Examples
    --------
    >>> g = np.array([3.0, 4.0])
    >>> fnn.ops.clip_grad_norm(g, 1.0), g
    (5.0, array([0.6, 0.8]))
    """
    max_norm = checks.real(max_norm, "max_norm", minimum=0)
    if isinstance(grads, np.ndarray):
        grads = [grads]
    if not isinstance(grads, (list, tuple)):
        raise TypeError(f"grads: expected an array or a list of them, got {checks.describe(grads)}")
    present = [gradient for gradient in grads if gradient is not None]
    return 0.0 if grads and not present else _core.clip_grad_norm(present, max_norm)
