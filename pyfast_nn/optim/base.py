"""What all optimizers have in common: hyper-parameters, the state, the number of steps."""

import math

import numpy as np

from .. import checks


class Hyper:
    """A hyper-parameter: an attribute that checks what is assigned to it."""

    def __init__(self, check):
        self._check = check

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, optimizer, owner=None):
        return self if optimizer is None else optimizer.__dict__[self._name]

    def __set__(self, optimizer, value):
        optimizer.__dict__[self._name] = self._check(value, self._name)


def check_nonnegative(value, name):
    return checks.real(value, name, minimum=0)


def check_schedule(value, name, below=math.inf):
    """Return a hyper-parameter that may change: a number, an array (steps,), or a function."""
    if callable(value):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return check_values(np.array(value), name, 0, below)
    return checks.real(value, name, minimum=0, below=below)


def check_betas(betas, name):
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: expected a pair, one for each moment, got {checks.describe(betas)}"
        ) from None
    return (
        check_schedule(beta1, f"{name}[0]", below=1),
        check_schedule(beta2, f"{name}[1]", below=1),
    )


def check_values(values, name, first, below):
    """Return `values`, those of the steps `first`, `first` + 1, ..., as float64."""
    if values.dtype.kind not in "fiu" or values.ndim != 1:
        raise TypeError(
            f"{name}: expected one real number per step, got {values.dtype} of shape {values.shape}"
        )
    values = values.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values < below)))
    if len(bad):
        bounds = ">= 0" + ("" if below == math.inf else f" and < {below:g}")
        raise ValueError(
            f"{name}: expected finite numbers {bounds}, got {values[bad[0]]} at step "
            f"{first + bad[0]}"
        )
    return values


class Owner:
    """Stands for a model in its optimizers. A copy is not tied to a model yet."""

    def __init__(self, tied=False):
        self.tied = tied

    def __reduce__(self):
        return Owner, ()


class Optimizer:
    """What all optimizers have in common.

    Every hyper-parameter is an attribute that may be read, and assigned between two epochs.

    A copy (`copy.copy`) has a state of its own and trains the same model; one by `copy.deepcopy` or
    `pickle` the copy of the model that was made with it, or else the first one that it is given
    whose parameters fit.
    """

    lr = Hyper(check_schedule)

    def __init__(self, params):
        if params is not None:
            raise NotImplementedError(
                f"{type(self).__name__}(params): optimizers for arrays of your own are not "
                "available in this version; without params this is the optimizer of Sequential.fit"
            )
        self._owner = None  # of the model that the state belongs to
        self._state = []
        self._progress = (0, np.zeros(3))  # steps before the last epoch, that epoch's report

    @property
    def step_count(self):
        """Number of steps taken (int)."""
        before, report = self._progress
        return before + int(report[2])

    @property
    def state(self):
        """The state: list of flat vectors (n_parameters,), empty before the first fit."""
        return list(self._state)

    def _update(self, steps):
        """Return (name, {hyper-parameter: number or array (steps,)}) of the next `steps` steps."""
        raise NotImplementedError

    def _n_vectors(self):
        """Number of state vectors that the update uses."""
        raise NotImplementedError

    def _attach(self, model):
        """Make this the optimizer of `model`, with zeros as state if it is new."""
        if self._owner is None or not self._owner.tied:
            for vector in self._state:
                if (vector.shape, vector.dtype) != ((model.n_parameters,), model.dtype):
                    raise ValueError(
                        f"optimizer: this {type(self).__name__} holds the state of "
                        f"{vector.size} {vector.dtype} parameters, expected {model.n_parameters} "
                        f"of {model.dtype}"
                    )
            self._owner = model._owner
        elif self._owner is not model._owner:
            raise ValueError(
                f"optimizer: this {type(self).__name__} holds the state of another model "
                f"({self.step_count} steps); make a new one for this model"
            )

    def _vectors(self, parameters):
        """Return the state vectors that the update uses, made when first asked for."""
        while len(self._state) < self._n_vectors():
            self._state.append(np.zeros_like(parameters))
        return self._state[: self._n_vectors()]

    def _begin_epoch(self):
        """Return the array (3,) into which the core reports; `step_count` follows it."""
        report = np.zeros(3)
        # One assignment, so that Ctrl-C comes before or after it.
        self._progress = (self.step_count, report)
        return report

    def _next(self, value, name, steps, below=math.inf):
        """Return a hyper-parameter at the next `steps` steps: one number, or an array (steps,)."""
        first = self.step_count
        if callable(value):
            return check_values(evaluate(value, first, steps), name, first, below)
        if isinstance(value, np.ndarray):
            if first + steps > len(value):
                raise ValueError(
                    f"{name}: expected a value for each step up to {first + steps - 1}, "
                    f"got {len(value)} values"
                )
            return check_values(value[first : first + steps], name, first, below)
        return value

    def _rates(self, steps):
        """Return the learning rates (steps,) of the next `steps` steps, float64."""
        return np.array(np.broadcast_to(self._next(self.lr, "lr", steps), steps))

    def __getstate__(self):
        state = [vector.copy() for vector in self._state]
        return {**vars(self), "_state": state, "_progress": (self.step_count, np.zeros(3))}

    def __repr__(self):
        values = {name: self.__dict__[name] for name in self._hyper_parameters()}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"

    @classmethod
    def _hyper_parameters(cls):
        return [
            k
            for base in reversed(cls.__mro__)
            for k, v in vars(base).items()
            if isinstance(v, Hyper)
        ]


def evaluate(schedule, first, steps):
    """Return `schedule` at `steps` steps from `first`: by one call if it takes arrays."""
    try:
        values = np.asarray(schedule(np.arange(first, first + steps)))
    except Exception:  # not written for arrays; what is wrong with it otherwise shows below
        values = None
    if values is None or values.shape != (steps,):
        values = np.asarray([schedule(step) for step in range(first, first + steps)])
    return values
