"""Traces and diagonals without products: exact, or from one random column for each example."""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import DTypeLike

from .. import _core, checks, data, intake
from ..models import Sequential, engine_of
from ..typing import Array, ArrayLike, Floats, Inputs, Integer
from .derivatives import Derivatives
from .stopping import Estimate, mean_and_error

if TYPE_CHECKING:
    from ..losses import Loss
    from .operators import SymmetricOperator

_STREAM = 2**62 + 2**61  # of random signs
_SINGLE = "loss_and_grad of single rows gives their gradients"


@overload
def exact_trace(A: "SymmetricOperator", *, per_parameter: Literal[False] = ...) -> float: ...
@overload
def exact_trace(A: "SymmetricOperator", *, per_parameter: Literal[True]) -> dict[str, float]: ...
def exact_trace(A: "SymmetricOperator", *, per_parameter: bool = False) -> float | dict[str, float]:
    """Return the trace of a curvature operator of a model, exactly.

    With ``S S'`` the Hessian of a loss in the outputs, each column of S is propagated backward; at
    a dense layer with input a, a column delta adds ``|delta|^2 (|a|^2 + 1)`` for each example. So
    it costs a backward pass without weight gradients for each output.

    That is the trace of `GaussNewton`. It is also the trace of the `Hessian` if the network is
    piecewise linear, as with ReLU: almost everywhere the two differ by a matrix whose diagonal is
    zero.

    Parameters
    ----------
    A : Hessian, GaussNewton, Fisher or EmpiricalFisher
    per_parameter : bool
        Return the trace of each weight's and bias's block.

    Returns
    -------
    float, or dict of float
        ``{"0.weight": ..., "0.bias": ..., ...}``

    Raises
    ------
    TypeError
        If `A` is none of these.
    ValueError
        If it cannot be done exactly so: the Hessian of a network with a layer that is not piecewise
        linear, a loss with a confidence penalty, or a network with a layer in several places
        (tied weights), or, in training, with rows that depend on each other (`BatchNorm`).
        `hutchinson_trace` estimates those.

    Examples
    --------
    >>> H = fnn.curvature.Hessian(model, X, y, loss="cross_entropy")
    >>> trace = fnn.curvature.exact_trace(H)
    >>> estimate = fnn.curvature.hutchinson_trace(H, num_matvecs=200)
    >>> bool(abs(estimate.value - trace) < 4 * estimate.std_error)
    True
    """
    of = _check(A)
    checks.boolean(per_parameter, "per_parameter")
    traces = _split(of, of.core.traces()[0])
    return traces if per_parameter else sum(traces.values(), 0.0)


def exact_diagonal(A: "SymmetricOperator") -> Array:
    """Return the diagonal of a curvature operator of a model, exactly.

    As `exact_trace`, and one product of squares for each layer.

    Parameters
    ----------
    A : Hessian, GaussNewton, Fisher or EmpiricalFisher

    Returns
    -------
    ndarray (n,)
        In the dtype of the operator.

    Raises
    ------
    TypeError, ValueError
        As for `exact_trace`.

    Examples
    --------
    >>> G = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
    >>> diagonal = fnn.curvature.exact_diagonal(G)
    >>> bool(np.isclose(diagonal.sum(), fnn.curvature.exact_trace(G), rtol=1e-4))
    True
    """
    return _diagonal(_check(A), None)


@overload
def sampled_trace(
    A: "SymmetricOperator",
    *,
    num_samples: Integer = ...,
    seed: Integer | None = ...,
    per_parameter: Literal[False] = ...,
) -> Estimate[float]: ...
@overload
def sampled_trace(
    A: "SymmetricOperator",
    *,
    num_samples: Integer = ...,
    seed: Integer | None = ...,
    per_parameter: Literal[True],
) -> dict[str, Estimate[float]]: ...
def sampled_trace(
    A: "SymmetricOperator",
    *,
    num_samples: Integer = 1,
    seed: Integer | None = 0,
    per_parameter: bool = False,
) -> Estimate[float] | dict[str, Estimate[float]]:
    """Estimate what `exact_trace` computes, at the cost of one column for all outputs.

    The columns of each example are added with random signs: an unbiased estimate, whose variance
    comes from the pairs of outputs alone and falls with the number of examples.

    Parameters
    ----------
    A : Hessian, GaussNewton or Fisher
    num_samples : int
        At least 1.
    seed : int or None
        Of the signs, from 0 to 2**64 - 1; None draws one.
    per_parameter : bool
        Estimate the trace of each weight's and bias's block.

    Returns
    -------
    Estimate, or dict of Estimate
        Its `num_matvecs` is the number of samples. With `per_parameter`
        ``{"0.weight": ..., "0.bias": ..., ...}``.

    Raises
    ------
    TypeError, ValueError
        As for `exact_trace`; also for `EmpiricalFisher`, which has only one column.

    Examples
    --------
    >>> G = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
    >>> estimate = fnn.curvature.sampled_trace(G, num_samples=20)
    >>> bool(abs(estimate.value - fnn.curvature.exact_trace(G)) < 5 * estimate.std_error)
    True
    """
    checks.boolean(per_parameter, "per_parameter")
    of = _check_samples(A)
    splits = [_split(of, of.core.traces(signs)[0]) for signs in _signs(of, num_samples, seed)]

    def estimate(values: list[float]) -> Estimate[float]:
        samples = np.array(values)
        value, std_error = mean_and_error(samples)
        return Estimate(value, std_error, len(samples), samples, True)

    if per_parameter:
        return {key: estimate([split[key] for split in splits]) for key in A.keys}
    return estimate([sum(split.values()) for split in splits])


def sampled_diagonal(
    A: "SymmetricOperator", *, num_samples: Integer = 1, seed: Integer | None = 0
) -> Estimate[Floats]:
    """Estimate what `exact_diagonal` computes, at the cost of one column for all outputs.

    Parameters
    ----------
    A, num_samples, seed
        As for `sampled_trace`.

    Returns
    -------
    Estimate
        With `value` and `std_error` (n,), and without samples.

    Raises
    ------
    TypeError, ValueError
        As for `sampled_trace`.

    Examples
    --------
    >>> G = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
    >>> fnn.curvature.sampled_diagonal(G, num_samples=2).value.shape == (model.n_parameters,)
    True
    """
    count = 0
    mean: Any = 0.0
    squares: Any = 0.0  # Welford (1962)
    of = _check_samples(A)
    for signs in _signs(of, num_samples, seed):
        diagonal = _diagonal(of, signs).astype(np.float64)
        count += 1
        change = diagonal - mean
        mean = mean + change / count
        squares = squares + change * (diagonal - mean)
    with np.errstate(invalid="ignore"):  # 0 / 0 of one sample is NaN
        std_error = np.sqrt(squares / np.float64(count - 1) / count)
    return Estimate(mean, std_error, count, None, True)


def per_example_gradient_norms(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    loss: "str | Loss | None" = None,
    *,
    dtype: DTypeLike | None = None,
    training: bool = False,
    seed: Integer | None = None,
) -> Floats:
    """Return the norm of the gradient of each example's loss, without those gradients.

    At a dense layer the gradient of an example is ``a delta'``, of squared norm ``|a|^2 |delta|^2``
    (Goodfellow 2015): a backward pass without weight gradients.

    Parameters
    ----------
    model : Sequential
    X, y, loss
        As for `Sequential.evaluate`.
    dtype : {"float32", "float64"}, optional
        In which it is computed; that of the model unless given.
    training, seed
        As for `Sequential.forward`.

    Returns
    -------
    ndarray (n_rows,), float64
        From squares in that dtype: a float32 norm below 1e-19 may be 0, and one above 1e19 inf.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible. If a layer stands in several places (tied weights), or in
        training rows depend on each other (`BatchNorm`).

    References
    ----------
    I. Goodfellow (2015), "Efficient per-example gradient computations",
    https://arxiv.org/abs/1510.01799.

    Examples
    --------
    >>> norms = fnn.curvature.per_example_gradient_norms(model, X, y, loss="cross_entropy")
    >>> hardest = norms.argsort()[-10:]
    """
    from .operators import EmpiricalFisher, derivatives_of

    acts: Any = {"training": training, "seed": seed}
    of = derivatives_of(EmpiricalFisher(model, X, y, loss, dtype=dtype, memory_budget=0, **acts))
    of.check_each_row("model", _SINGLE)
    of_rows = np.array(of.core.traces()[1])
    return np.sqrt(of_rows * len(of_rows))


def per_example_gradients(
    model: Sequential,
    X: Inputs,
    y: ArrayLike,
    loss: "str | Loss | None" = None,
    *,
    batch_size: Integer = 64,
    dtype: DTypeLike | None = None,
    training: bool = False,
    seed: Integer | None = None,
) -> Iterator[Array]:
    """Yield the gradients of the examples' losses, some examples at a time.

    All at the parameters that the model has when this is called.

    Parameters
    ----------
    model : Sequential
    X, y, loss
        As for `Sequential.evaluate`.
    batch_size : int
        Rows of each array but the last, at least 1.
    dtype : {"float32", "float64"}, optional
        Of the gradients; that of the model unless given.
    training, seed
        As for `Sequential.forward`.

    Yields
    ------
    ndarray (m, n_parameters)
        Row by row the gradient of an example's loss.

    Raises
    ------
    TypeError, ValueError
        As for `per_example_gradient_norms`.

    Examples
    --------
    >>> batches = fnn.curvature.per_example_gradients(model, X, y, loss="cross_entropy")
    >>> second_moment = sum((g**2).sum(axis=0) for g in batches) / len(X)
    """
    from .operators import EmpiricalFisher, derivatives_of

    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    acts: Any = {"training": training, "seed": seed}
    # What is wrong shows now, not with the first batch.
    all_rows = EmpiricalFisher(model, X, y, loss, dtype=dtype, memory_budget=0, **acts)
    derivatives_of(all_rows).check_each_row("model", _SINGLE)
    engine = engine_of(copy.deepcopy(model))
    checked, run = intake.check_loss(engine, loss), intake.check_run(training, seed)
    rows, targets = intake.features(engine, X), data.as_targets(y)

    def batches() -> Iterator[Array]:
        for first in range(0, rows.shape[0], batch_size):
            batch = slice(first, first + batch_size)
            X, y = rows[batch], targets[batch]
            examples = intake.examples(engine, X, y, checked, dtype=all_rows.dtype)
            now = _core.Run(training=run.training, seed=run.seed, first=first)
            of = Derivatives(
                engine, "empirical_fisher", examples, checked, None, all_rows.dtype, 0, now
            )
            of.core.example_gradients(gradients := np.empty((of.n_rows, of.n), of.dtype))
            yield gradients

    return batches()


def _check(A: object) -> Derivatives:
    """Return the derivatives of `A`; raise unless its trace is the sum over columns of a factor."""
    from .operators import SymmetricOperator, derivatives_of

    if not isinstance(A, SymmetricOperator):
        raise TypeError(
            "A: expected a Hessian, GaussNewton, Fisher or EmpiricalFisher of a model, got "
            f"{checks.describe(A)}; hutchinson_trace estimates the trace of other operators"
        )
    of = derivatives_of(A)
    of.check_each_row("A", "hutchinson_trace and hutchinson_diagonal estimate it")
    if of.kind == "empirical_fisher":
        return of
    if getattr(of.loss, "confidence_penalty", 0) != 0:
        raise ValueError(
            f"A: expected a loss that is convex in the outputs, got {of.loss!r}; "
            "hutchinson_trace and hutchinson_diagonal estimate it"
        )
    if of.kind == "hessian" and not of.net.piecewise_linear:
        raise ValueError(
            "A: expected the Hessian of a network that is piecewise linear, got one with "
            f"{of.bent_layer()}; use GaussNewton, or hutchinson_trace and hutchinson_diagonal"
        )
    return of


def _check_samples(A: object) -> Derivatives:
    """The same where columns are drawn."""
    of = _check(A)
    if of.kind == "empirical_fisher":
        raise ValueError(
            "A: expected Hessian, GaussNewton or Fisher, got EmpiricalFisher, which has one "
            "column; use exact_trace or exact_diagonal"
        )
    return of


def _split(of: Derivatives, traces: list[float]) -> dict[str, float]:
    """Return {key: trace} from those of all parameters."""
    all_traces = dict(zip(of.all_keys, traces, strict=True))
    if of.damping is not None:
        damping = np.broadcast_to(of.damping, of.n)
        for key, block in of.blocks().items():
            all_traces[key] += float(damping[block].sum())
    return {key: all_traces[key] for key in of.keys}


def _diagonal(of: Derivatives, signs: Array | None) -> Array:
    of.core.diagonal(whole := np.empty(of.net.n_parameters, of.dtype), signs)
    diagonal = of.part(whole[None])[:, 0]
    return diagonal if of.damping is None else (diagonal + of.damping).astype(of.dtype)


def _signs(of: Derivatives, num_samples: Integer, seed: Integer | None) -> Iterator[Array]:
    """Yield random signs (n_rows, n_outputs), those of each sample."""
    num_samples = checks.integer(num_samples, "num_samples", minimum=1)
    seed = checks.seed(seed)
    shape = (of.n_rows, of.net.out_features)
    uniform = np.empty(shape[0] * shape[1])
    for k in range(num_samples):
        _core.random_uniform(seed, _STREAM + k, uniform)
        yield np.copysign(1, uniform - 0.5).astype(of.dtype).reshape(shape)
