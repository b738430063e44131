"""What all optimizers have in common: hyper-parameters, the state, the number of steps."""

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeAlias, overload

import numpy as np

from .. import _core, checks
from ..engine import Engine, Owner
from ..guidance import Guided, written
from ..schedules import is_of_steps_alone
from ..typing import Array, Floats, Integer, Params, Path, Rate, Real, Shape, Tree
from . import saved
from .around import (
    Given,
    Held,
    Option,
    check_axis,
    check_count,
    check_decay,
    check_lookahead,
    check_positive,
    check_step,
    given,
)
from .bound import ALL, NUMBERS, RATES, STEPS_AHEAD, Bound, ParamGroup

Changing: TypeAlias = (
    float | Any
)  # a hyper-parameter that may change: a number, an array, a function
Update: TypeAlias = tuple[str, dict[str, Any]]  # the core's name of a rule, and its numbers


class Hyper(Generic[Given, Held]):
    """A hyper-parameter: an attribute that checks what is assigned to it."""

    def __init__(self, check: Callable[[Any, str], Held]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> "Hyper[Given, Held]": ...
    @overload
    def __get__(self, optimizer: "Optimizer", owner: type | None = None) -> Held: ...
    def __get__(self, optimizer: "Optimizer | None", owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer.__dict__[self._name]

    def __set__(self, optimizer: "Optimizer", value: Given) -> None:
        optimizer.__dict__[self._name] = self.check(value, self._name)
        optimizer._changed(RATES if self._name == "lr" else NUMBERS)


def check_nonnegative(value: object, name: str) -> float:
    return checks.real(value, name, minimum=0)


def check_schedule(value: Any, name: str, below: float = math.inf) -> Changing:
    """Return a hyper-parameter that may change: a number, an array (steps,), or a function."""
    if isinstance(value, type):
        raise TypeError(
            f"{name}: expected a number, an array or a function of the step, got the class "
            f"{value.__name__}{written(value)[:-1]}...)"
        )
    if callable(value):
        return value
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) > 0:
        return check_values(np.array(value), name, 0, below)
    return checks.real(value, name, minimum=0, below=below)


def is_zero(value: object) -> bool:
    """Whether a hyper-parameter that may change is 0 at every step."""
    return isinstance(value, float) and value == 0


def check_betas(betas: Any, name: str) -> tuple[Changing, Changing]:
    beta1, beta2 = checks.pair(betas, name, "one for each moment")
    return (
        check_schedule(beta1, f"{name}[0]", below=1),
        check_schedule(beta2, f"{name}[1]", below=1),
    )


def next_betas(optimizer: Any, steps: int) -> dict[str, Any]:
    """Return `betas` at the next `steps` steps, as the core takes them."""
    return {
        f"beta{i + 1}": optimizer._next(beta, f"betas[{i}]", steps, below=1)
        for i, beta in enumerate(optimizer.betas)
    }


def check_values(values: Array, name: str, first: int, below: float) -> Floats:
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


class Optimizer(Guided):
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
    maximize : bool
        Go up the gradient instead of down.
    clip_norm : float, optional
        Gradients are scaled such that the norm of all of them together (but those of parameters
        that are left alone) is at most this, as by `ops.clip_grad_norm`; at least 0 (Pascanu,
        Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063).
    clip_value : float, optional
        Gradients are held within [-clip_value, clip_value]; at least 0.
    clip_units : float, optional
        The gradient of each unit is scaled such that its norm is at most ``clip_units *
        max(norm, 1e-3)``, with the norm of the unit's parameters; at least 0. A vector or scalar is
        one unit (Brock et al. 2021, https://arxiv.org/abs/2102.06171). At most one of the three
        ways to clip may be given; none changes the user's gradients.
    unit_axis : int
        The axis that counts the units: the last one, as weights are (in, out) here.
    skip_nonfinite : bool
        A step is not made, and nothing changes but the number `skipped`, if the norm of all
        gradients is not finite.
    accumulate : int
        Every so many calls of `step` make one step, with the mean of their gradients; the calls
        between keep it. At least 1.
    ema : float, optional
        Decay, in [0, 1), of an exponential moving average of the parameters after each step:
        ``average = ema * average + (1 - ema) * p``, which begins with the parameters after the
        first step (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046). See `averages`.
    swa : int, optional
        Stochastic weight averaging: the average, each with the same weight, of the parameters after
        the 0-based step `swa` and all later ones (Izmailov et al. 2018,
        https://arxiv.org/abs/1803.05407). Either this or `ema`.
    lookahead : pair of int and float, optional
        ``(k, alpha)``: after every k-th step slow weights, at first the parameters before the first
        step, move by ``alpha * (p - slow)``, and the parameters become equal to them; alpha in
        (0, 1] (Zhang et al. 2019, https://arxiv.org/abs/1907.08610). Averages are those of the
        parameters after that.
    sam : float, optional
        Sharpness-aware minimisation with this radius, greater than 0: a step is two calls, `ascend`
        and `step` (Foret et al. 2021, https://arxiv.org/abs/2010.01412).

    Attributes
    ----------
    grad_norm : float or None
        The norm of the gradients of the last step (or of the one that was skipped) before they were
        clipped. None where it was not needed: without `clip_norm` and `skip_nonfinite`.
    skipped : int
        Number of steps skipped by `skip_nonfinite`.
    """

    _elementwise = True  # the update of a number depends on nothing but what belongs to it

    lr: Hyper[Rate, Changing] = Hyper(check_schedule)
    maximize: Option[bool, bool] = Option(False, checks.boolean)
    clip_norm: Option[Real | None, float | None] = Option(
        None, check_nonnegative, apart_from=("clip_value", "clip_units")
    )
    clip_value: Option[Real | None, float | None] = Option(
        None, check_nonnegative, apart_from=("clip_norm", "clip_units")
    )
    clip_units: Option[Real | None, float | None] = Option(
        None, check_nonnegative, apart_from=("clip_norm", "clip_value")
    )
    unit_axis: Option[Integer, int] = Option(-1, check_axis)
    skip_nonfinite: Option[bool, bool] = Option(False, checks.boolean)
    accumulate: Option[Integer, int] = Option(1, check_count)
    ema: Option[Real | None, float | None] = Option(None, check_decay, apart_from=("swa",))
    swa: Option[Integer | None, int | None] = Option(None, check_step, apart_from=("ema",))
    lookahead: Option[tuple[Integer, Real] | None, tuple[int, float] | None] = Option(
        None, check_lookahead
    )
    sam: Option[Real | None, float | None] = Option(None, check_positive)

    def __init__(
        self,
        params: Params | None = None,
        *,
        groups: Callable[[str], dict[str, Any]] | None = None,
        maximize: bool = False,
        clip_norm: Real | None = None,
        clip_value: Real | None = None,
        clip_units: Real | None = None,
        unit_axis: Integer = -1,
        skip_nonfinite: bool = False,
        accumulate: Integer = 1,
        ema: Real | None = None,
        swa: Integer | None = None,
        lookahead: tuple[Integer, Real] | None = None,
        sam: Real | None = None,
    ) -> None:
        self.maximize = maximize
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.clip_units = clip_units
        self.unit_axis = unit_axis
        self.skip_nonfinite = skip_nonfinite
        self.accumulate = accumulate
        self.ema = ema
        self.swa = swa
        self.lookahead = lookahead
        self.sam = sam
        self._owner: Owner | None = None  # of the model that the state belongs to
        self._state: dict[str, Array] = {}  # name: vector
        self._progress = (0, np.zeros(3))  # steps before the last epoch, that epoch's report
        self._shapes: dict[str, Shape] = {}  # of the parameters of a fit, by their keys
        self._dtype: Any = None  # likewise
        self._for_fit = params is None
        self._groups = groups if self._for_fit else None  # for parameters not known yet
        # The parameters; in a fit only where it goes step by step.
        self._bound = None if params is None else Bound.of(self, params, groups)
        self._waiting: dict[str, Any] | None = None  # a snapshot that the next fit goes on from

    def _advice(self, name: str) -> str:
        if name == "zero_grad":
            return "; step is given the gradients, and keeps none"
        return super()._advice(name)

    def step(self, grads: Tree) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        grads : array, or lists, tuples and dicts of arrays
            The gradients, in the structure of `params`, each with the shape and dtype of its
            parameter; in any memory order. They are only read. None leaves a parameter and its
            state alone, as in torch: to it this was no step, which bias corrections do not count.
            Schedules count all steps; with `accumulate` None counts as 0 where another call of the
            same step has a gradient.

        Raises
        ------
        RuntimeError
            If this optimizer was made without `params`, or another thread is within `step`; with
            `sam`, unless `ascend` came before; within `averaged`.
        TypeError, ValueError
            If a gradient is missing, of another shape or dtype, or shares memory with a parameter;
            the message names it by its path. Nothing is changed then.

        Notes
        -----
        The call makes the step whole, or not at all: Ctrl-C comes before or after it. Its order,
        where asked for: the parameters go back to where they were before `ascend`; the step is
        skipped; the mean of the gradients grows, and makes a step now or not; the gradients are
        clipped; the update; Lookahead; the averages.
        """
        bound = self._bound or self._own("step")
        bound.step(grads)

    def ascend(self, grads: Tree) -> None:
        """Move the parameters to where SAM wants the gradient: by ``sam * g / norm(g)``.

        The next call of `step` brings them back, bit for bit, and makes the step. Where the norm of
        all gradients is 0, they stay where they are, and also where it is not finite: with
        `skip_nonfinite` the step that follows is skipped then.

        Parameters
        ----------
        grads : array, or lists, tuples and dicts of arrays
            The gradients at the parameters, as for `step`.

        Raises
        ------
        RuntimeError
            Without `sam`, without `params`, within `averaged`, or between `ascend` and `step`.
        TypeError, ValueError
            As for `step`; nothing is changed then.

        Examples
        --------
        >>> p = np.array([3.0, 4.0])
        >>> optimizer = fnn.optim.SGD(p, lr=0.1, sam=0.5)
        >>> optimizer.ascend(p.copy())
        >>> p
        array([3.3, 4.4])
        >>> optimizer.step(p.copy())
        >>> p
        array([2.67, 3.56])
        """
        self._own("ascend").ascend(grads)

    @property
    def averages(self) -> Any:
        """The averages of `ema` or `swa`: copies, in the structure of `params`.

        Before the first step that they count, the parameters. Of groups, a list of as many trees.

        Raises
        ------
        RuntimeError
            Without `ema` and `swa`.
        """
        bound = self._own("averages")
        self._check_averages("averages")
        return bound.averages()

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context manager within which the parameters hold their averages.

        They are written into the user's own arrays and, at its end, what was there before, bit for
        bit, also where an exception ends it. `step` raises RuntimeError within.

        Raises
        ------
        RuntimeError
            Without `ema` and `swa`, or between `ascend` and `step`.

        Examples
        --------
        >>> p = np.array([1.0, 2.0])
        >>> optimizer = fnn.optim.SGD(p, lr=0.5, swa=0)
        >>> for _ in range(2):
        ...     optimizer.step(np.ones(2))
        >>> with optimizer.averaged():
        ...     print(p)
        [0.25 1.25]
        >>> p
        array([0., 1.])
        """
        bound = self._own("averaged")
        self._check_averages("averaged")
        bound.hand_options_over()
        assert bound.around is not None  # as an option is given
        return _core.Averaged(bound.around)

    def _check_averages(self, what: str) -> None:
        if self.ema is None and self.swa is None:
            raise RuntimeError(f"{what}: expected an optimizer with ema or swa")

    def _own(self, what: str) -> Bound:
        """Return the parameters of its own."""
        if self._bound is None:
            raise RuntimeError(
                f"{what}: expected an optimizer with parameters of its own, got "
                f"{type(self).__name__} without; make it with params"
            )
        return self._bound

    @property
    def grad_norm(self) -> float | None:
        around = None if self._bound is None else self._bound.around
        return None if around is None else around.grad_norm

    @property
    def skipped(self) -> int:
        if self._waiting is not None:
            waiting: int = self._waiting["counts"]["skipped"]
            return waiting
        around = None if self._bound is None else self._bound.around
        return 0 if around is None else around.skipped

    @property
    def param_groups(self) -> list[ParamGroup]:
        """The groups of parameters: list of mappings from hyper-parameters to values."""
        return [] if self._bound is None else list(self._bound.groups)

    def _changed(self, what: int = ALL) -> None:
        """To be called when something is assigned: see `Bound.changed`."""
        bound = self.__dict__.get("_bound")
        if bound is not None:
            bound.changed(what)

    @property
    def step_count(self) -> int:
        """Number of steps taken (int)."""
        if self._bound is not None:
            return self._bound.updater.steps
        if self._waiting is not None:
            steps: int = self._waiting["counts"]["step_count"]
            return steps
        before, report = self._progress
        return before + int(report[2])

    @property
    def state(self) -> Any:
        """The state: what is kept of each parameter.

        Of parameters of its own ``{key: {name: array}}``, views with the names and shapes of torch;
        in a fit a list of flat vectors (n_parameters,), empty before the first.
        """
        return list(self._state.values()) if self._bound is None else self._bound.named_state()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later step depends on, but the parameters.

        Returns
        -------
        dict
            Of numbers, strings, lists and dicts (what JSON holds), and under ``"state"``, by the
            key of the parameter (after a fit ``"0.weight"``, see `Sequential.named_parameters`) and
            the name of the state, copies of arrays in the shape of the parameter. An object of
            `schedules` is a dict of its settings; in place of any other function stands
            ``"function"``.

        Raises
        ------
        RuntimeError
            Without `params`, before a fit; between `ascend` and `step`; within `averaged`.

        Examples
        --------
        >>> optimizer = fnn.optim.Adam({"w": np.zeros(2)})
        >>> optimizer.step({"w": np.ones(2)})
        >>> optimizer.state_dict()["state"]["w"]["exp_avg"]
        array([0.1, 0.1])
        """
        return saved.state_dict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave, of an optimizer on such parameters.

        With the same parameters and gradients, the same bits follow. Hyper-parameters, options and
        those of the groups are those of the state; but a function that is no object of `schedules`
        remains the one that is here. Without `params` the next fit goes on from it.

        Parameters
        ----------
        state : dict

        Raises
        ------
        RuntimeError
            Between `ascend` and `step`; within `averaged`.
        TypeError, ValueError
            If it does not fit: the message names what came and what was expected. Nothing is
            changed then. (Whether it fits the parameters of a model is found by the next fit, if
            there was none.)

        Examples
        --------
        >>> p = np.zeros(2)
        >>> first = fnn.optim.Adam(p, lr=0.1)
        >>> first.step(np.ones(2))
        >>> second = fnn.optim.Adam(p)
        >>> second.load_state_dict(first.state_dict())
        >>> second.lr, second.step_count
        (0.1, 1)
        """
        saved.load_state_dict(self, state)

    def save(self, path: Path) -> None:
        """Write `state_dict` to a file: safetensors, which is data and never code.

        Parameters
        ----------
        path : str or os.PathLike
            What is there is replaced at once: a crash leaves the old file or the new one.

        Raises
        ------
        RuntimeError
            As for `state_dict`.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> optimizer = fnn.optim.Adam(np.zeros(2))
        >>> optimizer.step(np.ones(2))
        >>> optimizer.save("adam.safetensors")
        >>> optimizer.load("adam.safetensors")
        """
        saved.save(self, path)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote; see `load_state_dict`.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        RuntimeError
            As for `load_state_dict`.
        ModelFileError
            If the file is not intact or does not fit, a subclass of ValueError. Nothing is changed
            then.
        OSError
            If it cannot be read.
        """
        saved.load(self, path)

    def _update(self, steps: int) -> Update:
        """Return (name, {hyper-parameter: number or array (steps,)}) of the next `steps` steps."""
        raise NotImplementedError

    _n_rules = 1  # of which `_rule_of` says, for each parameter, which one updates it

    def _rule_of(self, shape: Shape) -> int:
        """Return the number of the rule that updates a parameter of a shape."""
        return 0

    def _rules(self) -> list["Optimizer | None"]:
        """Return the optimizers that have those rules; None for one that is not there."""
        return [self]

    def _check_parameter(self, path: str, shape: Shape) -> None:
        """Raise ValueError if there is no rule for a parameter."""

    def _state_names(self) -> tuple[str, ...]:
        """Return the names of the state vectors that the update uses, as in torch (tuple)."""
        raise NotImplementedError

    def _state_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return {name: shape} for the states of a parameter of a shape."""
        return dict.fromkeys(self._state_names(), shape)

    def _initial(self, name: str) -> float:
        """Return the number that fills a new state vector."""
        return 0.0

    def _is_fused(self) -> bool:
        """Whether all updates of an epoch may be fused with its gradients."""
        return self._elementwise and self._groups is None and not given(self)

    def _attach(self, engine: Engine) -> None:
        """Make this the optimizer of a model, with a new state if it is new."""
        if not self._for_fit:
            raise ValueError(
                f"optimizer: expected one made without params, got {type(self).__name__} with "
                "parameters of its own"
            )
        is_free = self._owner is None or not self._owner.tied
        if not is_free and self._owner is not engine.owner:
            raise ValueError(
                f"optimizer: expected a new one or that of this model, got {type(self).__name__} "
                f"with the state of another model ({self.step_count} steps); make a new one"
            )
        if self._waiting is not None:
            self._wake(self._waiting, engine.named_parameters())
        elif is_free:
            self._check_fits(engine)
        self._owner = engine.owner
        params = engine.named_parameters()
        self._shapes, self._dtype = {k: view.shape for k, view in params.items()}, engine.dtype
        # Once it has gone step by step, it goes on so.
        if self._bound is not None or not self._is_fused():
            self._bind(params)

    def _check_fits(self, engine: Engine) -> None:
        for vector in self._state.values():
            if (vector.size, vector.dtype) != (engine.parameters.size, engine.dtype):
                raise ValueError(
                    f"optimizer: expected the state of {engine.parameters.size} {engine.dtype} "
                    f"parameters, got {type(self).__name__} with that of {vector.size} "
                    f"{vector.dtype} parameters"
                )

    def _wake(self, waiting: dict[str, Any], params: dict[str, Array]) -> None:
        """Go on from the snapshot that waits, with a fit's parameters, {name: view}."""
        try:
            bound = saved.bind(self, params, waiting)
            bound.check_parameters()
        except (TypeError, ValueError) as error:
            raise ValueError(
                "optimizer: expected the state of this model's parameters, got "
                f"{type(self).__name__} with that of others: {error}"
            ) from None
        vars(self).update(self._flat_state(bound) or {"_bound": bound}, _waiting=None)

    def _flat_state(self, bound: Bound) -> dict[str, Any] | None:
        """Return the attributes that hold what is bound where a fit is fused; None if it is not."""
        if not self._is_fused() or not bound.is_one_rule():
            return None
        progress = (bound.updater.steps, np.zeros(3))
        return {"_state": bound.flat_vectors(), "_progress": progress}

    def _bind(self, params: dict[str, Array]) -> None:
        """Bind a fit's parameters, {name: view}."""
        if self._bound is not None:
            if all(map(_is_same, self._bound.arrays, params.values())):
                return
            bound = Bound.restored(self, {**self._bound.saved(), "params": params})
        else:
            bound = Bound.of(self, params, self._groups)
            bound.take_over_vectors(self._state, self.step_count)
        bound.check_parameters()
        self._bound, self._state = bound, {}

    def _rate(self, step: int) -> float:
        """Return the learning rate of a 0-based step (float)."""
        if callable(self.lr):
            return float(evaluate(self.lr, step, 1)[0])
        return float(self.lr[step]) if isinstance(self.lr, np.ndarray) else self.lr

    def _vectors(self, parameters: Array) -> list[Array]:
        """Return the state vectors that the update uses, made when first asked for."""
        names = self._state_names()
        for name in names:
            if name not in self._state:
                self._state[name] = np.full_like(parameters, self._initial(name))
        return [self._state[name] for name in names]

    def _named_vectors(self) -> dict[str, dict[str, Array]]:
        """Return the state vectors of a fused fit as {key: {name: view}}."""
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        firsts = [sum(sizes[:i]) for i in range(len(sizes))]
        vectors = self._vectors(np.empty(sum(sizes), self._dtype))
        return {
            key: {
                name: vector[first : first + size].reshape(shape)
                for name, vector in zip(self._state_names(), vectors, strict=True)
            }
            for (key, shape), first, size in zip(self._shapes.items(), firsts, sizes, strict=True)
        }

    def _begin_epoch(self) -> tuple[int, Floats]:
        """Return `step_count`, and the array (3,) into which the core reports, which it follows."""
        # One assignment, so that Ctrl-C comes before or after it.
        self._progress = (self.step_count, np.zeros(3))
        return self._progress

    def _next(self, value: Any, name: str, steps: int, below: float = math.inf) -> Any:
        """Return a hyper-parameter at the next `steps` steps: one number, or an array (steps,)."""
        if isinstance(value, float):
            return value
        first = self.step_count
        if callable(value):
            return check_values(evaluate(value, first, steps), name, first, below)
        if first + steps > len(value):
            raise ValueError(
                f"{name}: expected a value for each step up to {first + steps - 1}, "
                f"got {len(value)} values"
            )
        return check_values(value[first : first + steps], name, first, below)

    def _steps_ahead(self) -> int:
        """Return for how many steps from here hyper-parameters may be evaluated at once.

        One if a function is the user's: what it gives may depend on what happens until then.
        """
        steps = STEPS_AHEAD
        for name in self._hyper_parameters():
            value = self.__dict__[name]
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, np.ndarray):
                    steps = min(steps, max(len(each) - self.step_count, 1))
                elif not is_of_steps_alone(each):
                    return 1
        return steps

    def __getstate__(self) -> dict[str, Any]:
        state = {name: vector.copy() for name, vector in self._state.items()}
        before, report = self._progress
        progress = (before + int(report[2]), np.zeros(3))
        values = {**vars(self), "_state": state, "_progress": progress}
        if self._bound is not None:
            if self._for_fit:
                waiting = saved.copied(saved.snapshot(self, "copy"))
                values |= {"_bound": None, "_waiting": waiting, "_groups": None}
            else:
                values["_bound"] = self._bound.saved()
        return values

    def __setstate__(self, saved: dict[str, Any]) -> None:
        bound = saved["_bound"]
        vars(self).update(saved, _bound=None)
        if bound is not None:
            self._bound = Bound.restored(self, bound)

    def __repr__(self) -> str:
        values = {name: self.__dict__[name] for name in self._hyper_parameters()} | given(self)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"

    @classmethod
    @functools.cache
    def _hyper_parameters(cls) -> tuple[str, ...]:
        return tuple(
            k
            for base in reversed(cls.__mro__)
            for k, v in vars(base).items()
            if isinstance(v, Hyper)
        )


def _is_same(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape


def evaluate(schedule: Callable[[Any], Any], first: int, steps: int) -> Array:
    """Return `schedule` at `steps` steps from `first`: by one call if it takes arrays."""
    try:
        values = np.asarray(schedule(np.arange(first, first + steps)))
    except Exception:  # not written for arrays; what is wrong with it otherwise shows below
        values = None
    if values is None or values.shape != (steps,):
        values = np.asarray([schedule(step) for step in range(first, first + steps)])
    return values
