"""What all optimizers have in common: hyper-parameters, the state, the number of steps."""

import math

import numpy as np

from .. import checks
from .bound import Bound


class Hyper:
    """A hyper-parameter: an attribute that checks what is assigned to it."""

    def __init__(self, check):
        self.check = check

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, optimizer, owner=None):
        return self if optimizer is None else optimizer.__dict__[self._name]

    def __set__(self, optimizer, value):
        optimizer.__dict__[self._name] = self.check(value, self._name)
        optimizer._changed()


def check_nonnegative(value, name):
    return checks.real(value, name, minimum=0)


def check_schedule(value, name, below=math.inf):
    """Return a hyper-parameter that may change: a number, an array (steps,), or a function."""
    if callable(value):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return check_values(np.array(value), name, 0, below)
    return checks.real(value, name, minimum=0, below=below)


def is_zero(value):
    """Whether a hyper-parameter that may change is 0 at every step."""
    return isinstance(value, float) and value == 0


def check_pair(value, name, meaning):
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: expected a pair, {meaning}, got {checks.describe(value)}"
        ) from None
    return first, second


def check_betas(betas, name):
    beta1, beta2 = check_pair(betas, name, "one for each moment")
    return (
        check_schedule(beta1, f"{name}[0]", below=1),
        check_schedule(beta2, f"{name}[1]", below=1),
    )


def next_betas(optimizer, steps):
    """Return `betas` at the next `steps` steps, as the core takes them."""
    return {
        f"beta{i + 1}": optimizer._next(beta, f"betas[{i}]", steps, below=1)
        for i, beta in enumerate(optimizer.betas)
    }


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

    With `params` it updates those arrays, by `step`; without, it is what `Sequential.fit` takes.
    Every hyper-parameter is an attribute that may be read, and assigned between two steps.

    A copy (`copy.copy`) has a state of its own and trains the same model; one by `copy.deepcopy` or
    `pickle` the copy of the model that was made with it, or else the first one that it is given
    whose parameters fit.

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays, optional
        float32 or float64 arrays, writable, of any strides, none of which share memory. Arrays are
        held, not copied. What exports its memory by DLPack counts as an array: torch's tensors on
        the CPU do (one that requires gradients by its ``.detach()``). Or a list of groups: dicts
        with ``"params"`` and the hyper-parameters that differ; `step` then takes a list of as many
        trees.
    groups : callable, optional
        A function from the key of a parameter (``"layers.2.w"`` for ``params["layers"][2]["w"]``;
        in a fit ``"0.weight"``, see `Sequential.named_parameters`) to a dict of those
        hyper-parameters that differ. ``"trainable": False`` among them leaves the parameter alone.
    """

    lr = Hyper(check_schedule)

    def __init__(self, params=None, *, groups=None):
        self._owner = None  # of the model that the state belongs to
        self._state = {}  # name: vector
        self._progress = (0, np.zeros(3))  # steps before the last epoch, that epoch's report
        self._bound = None if params is None else Bound.of(self, params, groups)
        self._groups = groups if params is None else None

    def step(self, grads):
        """Update the parameters in place.

        Parameters
        ----------
        grads : array, or lists, tuples and dicts of arrays
            The gradients, in the structure of `params`, each with the shape and dtype of its
            parameter; in any memory order. They are only read.

        Raises
        ------
        RuntimeError
            If this optimizer was made without `params`, or another thread is within `step`.
        TypeError, ValueError
            If a gradient is missing, of another shape or dtype, or shares memory with a parameter;
            the message names it by its path. Nothing is changed then.
        """
        if self._bound is None:
            raise RuntimeError(
                f"step: this {type(self).__name__} has no parameters of its own, expected it to be "
                "made with params"
            )
        self._bound.step(grads)

    @property
    def param_groups(self):
        """The groups of parameters: list of mappings from hyper-parameters to values."""
        return [] if self._bound is None else list(self._bound.groups)

    def _changed(self):
        """To be called when a hyper-parameter is assigned."""
        bound = self.__dict__.get("_bound")
        if bound is not None:
            bound.changed = True

    @property
    def step_count(self):
        """Number of steps taken (int)."""
        if self._bound is not None:
            return self._bound.updater.steps
        before, report = self._progress
        return before + int(report[2])

    @property
    def state(self):
        """The state: list of flat vectors (n_parameters,), empty before the first fit."""
        return list(self._state.values())

    def _update(self, steps):
        """Return (name, {hyper-parameter: number or array (steps,)}) of the next `steps` steps."""
        raise NotImplementedError

    def _state_names(self):
        """Return the names of the state vectors that the update uses, as in torch (tuple)."""
        raise NotImplementedError

    def _state_shapes(self, shape):
        """Return {name: shape} for the states of a parameter of a shape."""
        return dict.fromkeys(self._state_names(), shape)

    def _initial(self, name):
        """Return the number that fills a new state vector."""
        return 0.0

    def _attach(self, model):
        """Make this the optimizer of `model`, with a new state if it is new."""
        if self._bound is not None:
            raise ValueError(
                f"optimizer: this {type(self).__name__} has parameters of its own, expected one "
                "made without params"
            )
        if self._owner is None or not self._owner.tied:
            for vector in self._state.values():
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
        names = self._state_names()
        for name in names:
            if name not in self._state:
                self._state[name] = np.full_like(parameters, self._initial(name))
        return [self._state[name] for name in names]

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
        state = {name: vector.copy() for name, vector in self._state.items()}
        before, report = self._progress
        saved = {**vars(self), "_state": state, "_progress": (before + int(report[2]), np.zeros(3))}
        if self._bound is not None:
            saved["_bound"] = self._bound.saved()
        return saved

    def __setstate__(self, saved):
        bound = saved["_bound"]
        vars(self).update(saved, _bound=None)
        if bound is not None:
            self._bound = Bound.restored(self, bound)

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
