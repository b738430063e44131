"""What every optimizer can do around its update: options, as attributes that may be assigned."""

import functools

from .. import checks


class Option:
    """An option of all optimizers: an attribute that checks what is assigned to it.

    `apart_from` names the other options that must be None when this one is given.
    """

    def __init__(self, default, check, apart_from=()):
        self.default = default
        self._check = check
        self._apart_from = apart_from

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, optimizer, owner=None):
        return self if optimizer is None else optimizer.__dict__[self._name]

    def __set__(self, optimizer, value):
        if value is not None or self.default is not None:
            value = self._check(value, self._name)
            for other in self._apart_from:
                if optimizer.__dict__.get(other) is not None:
                    raise ValueError(
                        f"{self._name}: expected None where {other} is given, got {value}"
                    )
        optimizer.__dict__[self._name] = value
        optimizer._changed()


def names(optimizer):
    """Return the names of all options of an optimizer, or of its class."""
    return _names(optimizer if isinstance(optimizer, type) else type(optimizer))


@functools.cache
def _names(cls):
    return tuple(k for base in cls.__mro__ for k, v in vars(base).items() if isinstance(v, Option))


def given(optimizer):
    """Return the options that differ from their defaults, by name."""
    return {
        name: value
        for name in names(optimizer)
        if (value := getattr(optimizer, name)) != getattr(type(optimizer), name).default
    }


def check_positive(value, name):
    return checks.real(value, name, above=0)


def check_axis(value, name):
    return checks.integer(value, name, minimum=-64, maximum=63)


def check_count(value, name):
    return checks.integer(value, name, minimum=1)


def check_step(value, name):
    return checks.integer(value, name, minimum=0, maximum=2**62)


def check_decay(value, name):
    return checks.real(value, name, minimum=0, below=1)


def check_lookahead(value, name):
    steps, alpha = checks.pair(value, name, "the number of steps and alpha")
    steps = checks.integer(steps, f"{name}[0]", minimum=1)
    alpha = checks.real(alpha, f"{name}[1]", above=0)
    if alpha > 1:
        raise ValueError(f"{name}[1]: expected a number > 0 and <= 1, got {alpha}")
    return steps, alpha
