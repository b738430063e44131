"""Data drawn from a law that is known, to try things on.

The numbers are counter-based: those of row i depend on the seed and on i alone, so that the first
rows of a large set are the small set. The same seed gives the same data on every machine, up to the
rounding of sine, logarithm and their like. Coordinates are float64, labels int64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, checks, data
from ..typing import Array, ArrayLike, Floats, Integer, Integers, Real, Shape

_STREAMS = 2**63  # the random numbers of a model with the same seed are other streams


def make_two_spirals(
    n_samples: Integer = 200, *, noise: Real = 0.0, turns: Real = 1.5, seed: Integer | None = 0
) -> tuple[Floats, Integers]:
    """Return points of two interleaved spirals around the origin, one class each.

    Row i is of class ``y = i % 2``, at radius ``r = sqrt(u)``, u uniform in [0, 1), and at angle
    ``2 pi turns r + pi y``: nearly equally dense along the curve. Each coordinate then gets normal
    noise.

    Parameters
    ----------
    n_samples : int
        At least 1.
    noise : float
        Standard deviation of the noise, at least 0. With t turns, arms of different classes are
        ``1 / (2 t)`` apart along a radius.
    turns : float
        How often a spiral goes around, at least 0.
    seed : int or None
        At least 0. None draws one.

    Returns
    -------
    X : ndarray (n_samples, 2), float64
    y : ndarray (n_samples,), int64
        0 or 1.

    References
    ----------
    K. J. Lang, M. J. Witbrock (1988), "Learning to tell two spirals apart", Proceedings of the 1988
    Connectionist Models Summer School; there with 3 turns.

    Examples
    --------
    >>> X, y = fnn.datasets.make_two_spirals(500, noise=0.02, seed=0)
    """
    n = _check_n(n_samples)
    turns = checks.real(turns, "turns", minimum=0)
    y = np.arange(n) % 2
    radius = np.sqrt(_draw(_core.random_uniform, seed, 0, n))
    angle = 2 * np.pi * turns * radius + np.pi * y
    X = radius[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + _noise(noise, seed, 1, X.shape), y


def make_noisy_sine(
    n_samples: Integer = 100, *, noise: Real = 0.1, seed: Integer | None = 0
) -> tuple[Floats, Floats]:
    """Return x uniform in [0, 1) and ``sin(2 pi x)`` with normal noise, for regression.

    Parameters
    ----------
    n_samples : int
        At least 1.
    noise : float
        Standard deviation of the noise, at least 0.
    seed : int or None
        At least 0. None draws one.

    Returns
    -------
    X : ndarray (n_samples, 1), float64
    y : ndarray (n_samples,), float64

    References
    ----------
    C. M. Bishop (2006), "Pattern recognition and machine learning", section 1.1.

    Examples
    --------
    >>> X, y = fnn.datasets.make_noisy_sine(50, noise=0.2, seed=0)
    >>> model = fnn.Sequential([fnn.Dense(50), fnn.Tanh(), fnn.Dense(1)])
    >>> history = model.fit(X, y, loss="mse", epochs=500)
    """
    n = _check_n(n_samples)
    X = _draw(_core.random_uniform, seed, 0, (n, 1))
    y = np.sin(2 * np.pi * X[:, 0])
    return X, y + _noise(noise, seed, 1, y.shape)


def make_parity(
    n_samples: Integer | None = None,
    n_features: Integer = 2,
    *,
    noise: Real = 0.0,
    seed: Integer | None = 0,
) -> tuple[Floats, Integers]:
    """Return rows of bits and whether the number of ones in each is odd.

    Parameters
    ----------
    n_samples : int, optional
        Rows, each of independent fair bits. None gives each of the 2^n_features rows once, in
        counting order.
    n_features : int
        Bits in a row, at least 1; at most 20 when `n_samples` is None.
    noise : float
        Standard deviation of normal noise added to the bits, at least 0. The label is that of the
        bits without it.
    seed : int or None
        At least 0. None draws one.

    Returns
    -------
    X : ndarray (n_samples, n_features), float64
        0 or 1, plus noise.
    y : ndarray (n_samples,), int64
        0 or 1.

    References
    ----------
    M. Minsky, S. Papert (1969), "Perceptrons", section 3.1: a one-layer network cannot learn it.

    Examples
    --------
    >>> X, y = fnn.datasets.make_parity(n_features=3)
    >>> y
    array([0, 1, 1, 0, 1, 0, 0, 1])
    """
    if n_samples is None:
        n_features = checks.integer(n_features, "n_features", minimum=1, maximum=20)
        bits: Array = np.arange(2**n_features)[:, np.newaxis] >> np.arange(n_features)[::-1] & 1
    else:
        shape = _check_n(n_samples), checks.integer(n_features, "n_features", minimum=1)
        bits = _draw(_core.random_uniform, seed, 0, shape) >= 0.5
    return bits + _noise(noise, seed, 1, bits.shape), bits.sum(axis=1) % 2


def make_xor(
    n_samples: Integer | None = None, *, noise: Real = 0.0, seed: Integer | None = 0
) -> tuple[Floats, Integers]:
    """Return two bits and whether they differ: `make_parity` of two features.

    Parameters
    ----------
    n_samples, noise, seed
        As for `make_parity`.

    Returns
    -------
    X : ndarray (n_samples, 2), float64
    y : ndarray (n_samples,), int64

    Examples
    --------
    >>> fnn.datasets.make_xor()[1]
    array([0, 1, 1, 0])
    """
    return make_parity(n_samples, 2, noise=noise, seed=seed)


def make_gaussian_mixture(
    n_samples: Integer,
    means: ArrayLike,
    *,
    std: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    seed: Integer | None = 0,
) -> tuple[Floats, Integers]:
    """Return points of a mixture of spherical normal distributions, labelled by component.

    Each row chooses its component k with probability ``weights[k]``, then its point from
    ``N(means[k], std[k]^2 I)``.

    Parameters
    ----------
    n_samples : int
        At least 1.
    means : array_like (n_components, n_features)
        Finite.
    std : float or array_like (n_components,)
        Standard deviation of every coordinate, finite and at least 0.
    weights : array_like (n_components,), optional
        Probabilities, each at least 0, of sum 1. None makes all components equally likely.
    seed : int or None
        At least 0. None draws one.

    Returns
    -------
    X : ndarray (n_samples, n_features), float64
    y : ndarray (n_samples,), int64
        The component.

    Examples
    --------
    >>> X, y = fnn.datasets.make_gaussian_mixture(
    ...     300, [[-1, 0], [1, 0], [0, 2]], std=0.4, weights=[0.5, 0.25, 0.25], seed=0)
    """
    n = _check_n(n_samples)
    means = _check_floats(means, "means")
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(f"means: expected shape (n_components, n_features), got {means.shape}")
    k = len(means)
    std = _check_floats(std, "std")
    if std.shape not in ((), (k,)) or (std < 0).any():
        raise ValueError(f"std: expected a number >= 0, or one for each of {k} means, got {std}")
    weights = np.full(k, 1 / k) if weights is None else _check_floats(weights, "weights")
    if weights.shape != (k,) or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(
            f"weights: expected {k} numbers >= 0 of sum 1, one for each of the means, got {weights}"
        )
    edges = np.cumsum(weights)
    y = np.searchsorted(edges[:-1] / edges[-1], _draw(_core.random_uniform, seed, 0, n), "right")
    normal = _draw(_core.random_normal, seed, 1, (n, means.shape[1]))
    return means[y] + np.broadcast_to(std, k)[y, np.newaxis] * normal, y


def _check_n(n_samples: object) -> int:
    return checks.integer(n_samples, "n_samples", minimum=1)


def _check_floats(value: Any, name: str) -> Floats:
    array = data.contiguous(value, np.float64, name).reshape(np.shape(value))
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got {array}")
    return array


def _draw(
    fill: Callable[[int, int, Array], None], seed: object, stream: int, shape: int | Shape
) -> Floats:
    out = np.empty(shape)
    fill(checks.seed(seed), _STREAMS + stream, out)
    return out


def _noise(noise: object, seed: object, stream: int, shape: Shape) -> Floats:
    return checks.real(noise, "noise", minimum=0) * _draw(_core.random_normal, seed, stream, shape)
