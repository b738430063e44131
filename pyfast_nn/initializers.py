"""Initial values of parameters.

=================  ======================================================  ==================
name               distribution                                            source
=================  ======================================================  ==================
``he_normal``      N(0, 2 / fan_in)                                        He et al. 2015
``he_uniform``     U(-a, a), a = sqrt(6 / fan_in)                          He et al. 2015
``xavier_normal``  N(0, 2 / (fan_in + fan_out))                            Glorot, Bengio 2010
``xavier_uniform`` U(-a, a), a = sqrt(6 / (fan_in + fan_out))              Glorot, Bengio 2010
``small_normal``   N(0, 0.01^2)
``zeros``          0
a number           that number
=================  ======================================================  ==================

K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers", ICCV, https://arxiv.org/abs/1502.01852.
X. Glorot, Y. Bengio (2010), "Understanding the difficulty of training deep feedforward neural
networks", AISTATS, https://proceedings.mlr.press/v9/glorot10a.html.
"""

import math

from . import _core, checks

_STANDARD_DEVIATION = {
    "he_normal": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "xavier_normal": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "small_normal": lambda fan_in, fan_out: 0.01,
}
_HALF_WIDTH = {
    "he_uniform": lambda fan_in, fan_out: math.sqrt(6 / fan_in),
    "xavier_uniform": lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)),
}
NAMES = (*_STANDARD_DEVIATION, *_HALF_WIDTH, "zeros")


def check(init, name):
    """Return `init`, one of NAMES or a finite float for a constant."""
    if isinstance(init, str):
        return checks.choice(init, name, NAMES)
    try:
        return checks.real(init, name)
    except TypeError:
        choices = ", ".join(NAMES)
        raise TypeError(
            f"{name}: expected a number or one of {choices}, got {checks.describe(init)}"
        ) from None


def fill(out, init, fan_in, fan_out, seed, stream):
    """Fill `out`, a C-contiguous float array, with what `init` says.

    The numbers are a function of `seed`, `stream` (one per parameter of a model) and the position
    in `out`.
    """
    if init in _STANDARD_DEVIATION:
        _core.random_normal(seed, stream, out)
        out *= _STANDARD_DEVIATION[init](fan_in, fan_out)
    elif init in _HALF_WIDTH:
        _core.random_uniform(seed, stream, out)  # [0, 1)
        out -= 0.5
        out *= 2 * _HALF_WIDTH[init](fan_in, fan_out)
    else:
        out[...] = 0 if init == "zeros" else init
