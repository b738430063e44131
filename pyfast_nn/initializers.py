"""Initial values of parameters: objects, and names for those with their usual settings.

==================  ======================  ===============================================  ======
object              name                    law                                              source
==================  ======================  ===============================================  ======
`HeNormal`          ``"he_normal"``         N(0, 2 / ((1 + negative_slope^2) fan_in))        [1]_
`HeUniform`         ``"he_uniform"``        uniform with that variance                       [1]_
`XavierNormal`      ``"xavier_normal"``     N(0, 2 / (fan_in + fan_out))                     [2]_
`XavierUniform`     ``"xavier_uniform"``    uniform with that variance                       [2]_
`LeCunNormal`       ``"lecun_normal"``      N(0, 1 / fan_in)                                 [3]_
`LeCunUniform`      ``"lecun_uniform"``     uniform with that variance                       [3]_
`Normal`            ``"small_normal"``      N(0, std^2); by name std = 0.01
`TruncatedNormal`   ``"truncated_normal"``  the same without what is beyond 2 std
`Uniform`                                   uniform from low to high
`Orthogonal`        ``"orthogonal"``        gain times a random orthogonal matrix            [4]_
`Constant`          ``"zeros"``, a number   always that number
==================  ======================  ===============================================  ======

The uniform laws of a given variance are those on -a to a with a = sqrt(3 variance). A weight has
shape (fan_in, fan_out); its bias has the same fans.

References
----------
.. [1] K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers", ICCV,
   https://arxiv.org/abs/1502.01852.
.. [2] X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward
   neural networks", AISTATS, https://proceedings.mlr.press/v9/glorot10a.html.
.. [3] Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller (1998), "Efficient BackProp", in "Neural
   networks: tricks of the trade", https://doi.org/10.1007/3-540-49430-8_2.
.. [4] A. M. Saxe, J. L. McClelland, S. Ganguli (2014), "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", ICLR, https://arxiv.org/abs/1312.6120.
"""

import math
from functools import partial

import numpy as np

from . import _core, checks, config
from .config import Configured, Setting
from .guidance import written
from .typing import Array, Real

__all__ = [
    "Constant",
    "HeNormal",
    "HeUniform",
    "LeCunNormal",
    "LeCunUniform",
    "Normal",
    "Orthogonal",
    "TruncatedNormal",
    "Uniform",
    "XavierNormal",
    "XavierUniform",
]


def __dir__() -> list[str]:
    return __all__


class Initializer(Configured):
    """What initialisers have in common."""

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        """Fill `out`, a C-contiguous float array.

        The numbers are a function of `seed`, `stream` (one per parameter of a model) and the
        position in `out`.
        """
        raise NotImplementedError


class _Scaled(Initializer):
    """A law whose variance follows from the fans."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        """Return the variance of the law (float)."""
        raise NotImplementedError


class _ScaledNormal(_Scaled):
    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        Normal(math.sqrt(self.variance(fan_in, fan_out))).fill(out, fan_in, fan_out, seed, stream)


class _ScaledUniform(_Scaled):
    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        a = math.sqrt(3 * self.variance(fan_in, fan_out))
        Uniform(-a, a).fill(out, fan_in, fan_out, seed, stream)


class _He(_Scaled):
    negative_slope: Setting[float] = Setting(  # so that its square is a number
        partial(checks.real, minimum=-1e150, below=1e150)
    )

    def __init__(self, negative_slope: Real = 0.0) -> None:
        self._set(negative_slope=negative_slope)

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / ((1 + self.negative_slope**2) * fan_in)


class _Xavier(_Scaled):
    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / (fan_in + fan_out)


class _LeCun(_Scaled):
    def variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / fan_in


class HeNormal(_He, _ScaledNormal):
    """Normal law of variance ``2 / ((1 + negative_slope**2) * fan_in)``.

    In front of rectifiers it keeps the mean square of activations from layer to layer.

    Parameters
    ----------
    negative_slope : float
        Of the `LeakyReLU` that follows.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers", ICCV,
    https://arxiv.org/abs/1502.01852.
    """


class HeUniform(_He, _ScaledUniform):
    """Uniform law of variance ``2 / ((1 + negative_slope**2) * fan_in)``; see `HeNormal`.

    Parameters
    ----------
    negative_slope : float
        Of the `LeakyReLU` that follows.
    """


class XavierNormal(_Xavier, _ScaledNormal):
    """Normal law of variance ``2 / (fan_in + fan_out)``.

    In front of functions that are linear around 0 it keeps the variances of activations and
    gradients from layer to layer.

    References
    ----------
    X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS, https://proceedings.mlr.press/v9/glorot10a.html.
    """


class XavierUniform(_Xavier, _ScaledUniform):
    """Uniform law of variance ``2 / (fan_in + fan_out)``; see `XavierNormal`."""


class LeCunNormal(_LeCun, _ScaledNormal):
    """Normal law of variance ``1 / fan_in``.

    References
    ----------
    Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller (1998), "Efficient BackProp", in "Neural networks:
    tricks of the trade", https://doi.org/10.1007/3-540-49430-8_2.
    """


class LeCunUniform(_LeCun, _ScaledUniform):
    """Uniform law of variance ``1 / fan_in``; see `LeCunNormal`."""


class Normal(Initializer):
    """Normal law of mean 0.

    Parameters
    ----------
    std : float
        Standard deviation, at least 0.
    """

    std: Setting[float] = Setting(partial(checks.real, minimum=0))

    def __init__(self, std: Real = 0.01) -> None:
        self._set(std=std)

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        _core.random_normal(seed, stream, out)
        out *= self.std


class TruncatedNormal(Normal):
    """Normal law of mean 0, given that the number is within two standard deviations.

    Parameters
    ----------
    std : float
        Standard deviation before the cut, at least 0; after it, 0.88 times as much is left.
    """

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        _core.random_normal(seed, stream, out)
        again = np.empty_like(out)
        while (beyond := np.abs(out) > 2).any():  # 1 in 22
            stream += 2**24  # further than a model has parameters
            _core.random_normal(seed, stream, again)
            np.copyto(out, again, where=beyond)
        out *= self.std


class Uniform(Initializer):
    """Uniform law.

    Parameters
    ----------
    low, high : float
        ``low < high``.
    """

    low: Setting[float] = Setting(checks.real)
    high: Setting[float] = Setting(checks.real)

    def __init__(self, low: Real, high: Real) -> None:
        self._set(low=low, high=high)
        checks.real(high, "high", above=self.low)

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        _core.random_uniform(seed, stream, out)  # [0, 1)
        out -= 0.5
        out *= self.high - self.low
        out += (self.low + self.high) / 2


class Orthogonal(Initializer):
    """Matrix whose rows, or columns where they are fewer, are orthogonal and of one length.

    Drawn uniformly from all of them, by the QR decomposition of a normal matrix; that takes time
    proportional to ``fan_in * fan_out * min(fan_in, fan_out)``.

    Parameters
    ----------
    gain : float
        The length.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli (2014), "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", ICLR, https://arxiv.org/abs/1312.6120.
    F. Mezzadri (2007), "How to generate random matrices from the classical compact groups", Notices
    of the AMS 54(5), https://arxiv.org/abs/math-ph/0609050.
    """

    gain: Setting[float] = Setting(checks.real)

    def __init__(self, gain: Real = 1.0) -> None:
        self._set(gain=gain)

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        normal = np.empty((max(out.shape), min(out.shape)))
        _core.random_normal(seed, stream, normal)
        q, r = np.linalg.qr(normal)
        q *= np.where(np.diagonal(r) < 0, -self.gain, self.gain)
        out[...] = q if out.shape == q.shape else q.T


class Contracting(Initializer):
    """Another law, but of some rows, such that these alone draw points together.

    Independent numbers of variance s^2 in a matrix (n, m) make its largest singular value about
    ``s (sqrt(n) + sqrt(m))``, by the theorem of Bai and Yin. Where that is more, it becomes 1 / 4.
    """

    def __init__(self, law: Initializer, rows: list[int]) -> None:
        vars(self).update(_law=law, _rows=rows)

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        law: Initializer = vars(self)["_law"]
        law.fill(out, fan_in, fan_out, seed, stream)
        part = out[vars(self)["_rows"]]
        s = math.sqrt(np.square(part, dtype=np.float64).mean())
        largest = s * sum(map(math.sqrt, part.shape))
        out[vars(self)["_rows"]] = part * min(1.0, 0.25 / largest)


class Constant(Initializer):
    """The same number everywhere.

    Parameters
    ----------
    value : float
    """

    value: Setting[float] = Setting(checks.real)

    def __init__(self, value: Real) -> None:
        self._set(value=value)

    def fill(self, out: Array, fan_in: int, fan_out: int, seed: int, stream: int) -> None:
        out[...] = self.value


_BY_NAME = {
    "he_normal": HeNormal(),
    "he_uniform": HeUniform(),
    "xavier_normal": XavierNormal(),
    "xavier_uniform": XavierUniform(),
    "lecun_normal": LeCunNormal(),
    "lecun_uniform": LeCunUniform(),
    "small_normal": Normal(),
    "truncated_normal": TruncatedNormal(),
    "orthogonal": Orthogonal(),
    "zeros": Constant(0),
}
_CLASSES = (*(type(init) for init in _BY_NAME.values()), Uniform)


def check(init: object, name: str, *others: str) -> str | float | Initializer:
    """Return `init`: a name, also one of `others`, a finite float, or an Initializer."""
    if isinstance(init, Initializer):
        return init
    names = (*_BY_NAME, *others)
    if isinstance(init, str):
        return checks.choice(init, name, names)
    try:
        return checks.real(init, name)
    except TypeError:
        raise TypeError(
            f"{name}: expected an initialiser, a number or one of {', '.join(names)}, "
            f"got {checks.describe(init)}{written(init)}"
        ) from None


def resolve(init: str | float | Initializer) -> Initializer:
    """Return the Initializer that a name or a number stands for."""
    if isinstance(init, Initializer):
        return init
    return _BY_NAME[init] if isinstance(init, str) else Constant(init)


def from_config(description: object) -> Initializer:
    """Return the initialiser that `config.to_config` described; TypeError or ValueError if none."""
    return config.from_config(description, _CLASSES, "initialiser")
