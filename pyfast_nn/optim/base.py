"""What all optimizers have in common: options, the state, the number of steps; and their fits."""

import collections
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from .. import _core, checks
from ..engine import Engine, Owner
from ..guidance import is_ours
from ..typing import Array, Integer, Params, Path, Real, Tree
from . import saved
from .around import (
    check_axis,
    check_count,
    check_decay,
    check_lookahead,
    check_positive,
    check_step,
)
from .bound import Bound, ParamGroup, Snapshot, given_out
from .rule import (
    Option,
    Rule,
    check_nonnegative,
    given,
    has_update,
    hyper_parameters,
    is_elementwise,
    options,
)


class Optimizer(Rule):
    """What all optimizers have in common.

    With `params` it updates those arrays, by `step`; without, it is what `Sequential.fit` takes.
    Every hyper-parameter is an attribute that may be read, and assigned between two steps. What a
    callback assigns, options too, holds from the next epoch of its fit on.

    A copy (`copy.copy`) has a state of its own and trains the same model; one by `copy.deepcopy` or
    `pickle` the copy of the model that was made with it, or else the first one that it is given
    whose parameters fit.

    Parameters
    ----------
    params : array, or lists, tuples and dicts of arrays, optional
        float32 or float64 arrays, writable, of any strides, none of which share memory. Arrays are
        held, not copied. What exports its memory by DLPack counts as an array: torch's tensors do
        (one that requires gradients by its ``.detach()``). All may lie on one GPU instead, as
        arrays do that say so by ``__cuda_array_interface__`` or by DLPack, those of CuPy and torch:
        they are updated there, all by one launch, on the stream of their gradients, and states lie
        there, too; for rules that go number by number, without options around the step
        (experimental, see :doc:`there </cuda>`). Or a list of groups: dicts with ``"params"`` and
        the hyper-parameters that differ; `step` then takes a list of as many trees.
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
        self._for_fit = params is None
        self._groups = groups if self._for_fit else None  # for parameters not known yet
        # Of its life one of two: the parameters, and what is kept of them ...
        self._bound = None if params is None else Bound.of(self, params, groups)
        # ... or that alone, with which the next fit goes on; neither before the first.
        self._waiting: Snapshot | None = None

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
        self._own("step").step(grads)

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
        """Return the parameters of its own, or of a fit that goes step by step."""
        if self._bound is None or self._bound.fused:
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
            waiting: int = self._waiting.counts["skipped"]
            return waiting
        around = None if self._bound is None else self._bound.around
        return 0 if around is None else around.skipped

    @property
    def param_groups(self) -> list[ParamGroup]:
        """The groups of parameters: list of mappings from hyper-parameters to values."""
        if self._bound is None or self._bound.fused:
            return []
        return [given_out(group, self) for group in self._bound.groups]

    def _changed(self, what: int) -> None:
        bound = self.__dict__.get("_bound")
        if bound is not None:
            bound.changed(what)

    @property
    def step_count(self) -> int:
        """Number of steps taken (int)."""
        if self._bound is not None:
            return self._bound.steps
        return 0 if self._waiting is None else self._waiting.counts["step_count"]

    @property
    def epoch_count(self) -> int:
        """Number of epochs that fits have made with it, which `schedules.InEpochs` counts (int)."""
        if self._bound is not None:
            return self._bound.epochs
        return 0 if self._waiting is None else self._waiting.counts["epoch_count"]

    def _epochs_at(self, step: Any) -> Any:
        return None if self._bound is None else self._bound.epochs_at(step)

    @property
    def state(self) -> Any:
        """The state: what is kept of each parameter.

        Of parameters of its own ``{key: {name: array}}``, views with the names and shapes of torch;
        in a fit a list of flat vectors (n_parameters,), empty before the first.
        """
        if self._bound is not None and not self._bound.fused:
            return self._bound.named_state()
        kept = self._bound or self._waiting
        return [] if kept is None else list(kept.vectors.values())

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
        return saved.described(self, saved.copied(self._snapshot("state_dict")))

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
        bound = self._bound
        if bound is not None:
            bound.check_at_rest("load_state_dict")
        # All is made new beside what there is, and takes its place at the end.
        new = self._bare()
        saved.set_values(new, state, self)
        values = {name: vars(new)[name] for name in (*hyper_parameters(new), *options(new))}
        if bound is not None and not bound.fused:
            fresh = bound.made_again(new, saved.own_values(bound.groups, state["param_groups"]))
            saved.resume(fresh, saved.check_counts(new, state), state["state"])
            owns = fresh.take_over(self, bound)
            targets = [vars(self), *map(vars, bound.groups)]
            sources = [values | {"_bound": fresh}, *owns]
            # One call, so that Ctrl-C comes before or after it.
            collections.deque(map(dict.update, targets, sources), maxlen=0)
            return
        now = saved.snapshot(new, self._groups, state)
        life: dict[str, Any] = {"_waiting": now, "_bound": None}
        if bound is not None:  # else the next fit finds out whether it fits
            fresh = saved.bind(new, bound.params, bound.flat, now)
            if may_be_fused(new, fresh):
                fresh.hand_over(self)
                fresh.fused = True
                life |= {"_waiting": None, "_bound": fresh}
        vars(self).update(values | life)

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
        saved.save(described(self, "save"), path)

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
        own = self._bound is not None and not self._bound.fused
        saved.load(path, self._own("load").keys if own else None, self.load_state_dict)

    def _snapshot(self, what: str) -> Snapshot:
        """Return all that is kept, for the method `what`; the arrays may be views."""
        if self._bound is not None:
            return self._bound.snapshot(what)
        if self._waiting is None:
            raise RuntimeError(
                f"{what}: expected an optimizer with parameters of its own or one that has trained "
                f"a model, got {type(self).__name__} without; make it with params, or fit first"
            )
        return self._waiting

    def _bare(self, **values: Any) -> "Optimizer":
        """Return an optimizer like this one, without the parameters, with other values."""
        bare = object.__new__(type(self))
        vars(bare).update(vars(self) | values | {"_bound": None})
        return bare

    def _bind(self, params: dict[str, Array], flat: Array) -> Bound:
        """Return the parameters of a fit, {name: view of `flat`}, with what is kept of them."""
        if self._waiting is None:
            bound = Bound.of(self, params, self._groups, flat)
            bound.check_parameters()
            return bound
        trained = sum(array.size for array in params.values())
        for vector in self._waiting.vectors.values():
            if (vector.size, vector.dtype) != (trained, flat.dtype):
                raise ValueError(
                    f"optimizer: expected the state of {trained} {flat.dtype} parameters, got "
                    f"{type(self).__name__} with that of {vector.size} {vector.dtype} parameters"
                )
        try:
            then = self._bare(**self._waiting.values)  # what has been assigned since comes last
            bound = saved.bind(then, params, flat, self._waiting)
            bound.hand_over(self)
            bound.check_parameters()
        except (TypeError, ValueError) as error:
            raise ValueError(
                "optimizer: expected the state of this model's parameters, got "
                f"{type(self).__name__} with that of others: {error}"
            ) from None
        return bound

    def __getstate__(self) -> dict[str, Any]:
        values = dict(vars(self))
        if self._bound is not None and self._for_fit:
            waiting = saved.copied(self._bound.snapshot("copy"))
            values |= {"_bound": None, "_waiting": waiting, "_groups": None}
        elif self._bound is not None:
            values["_bound"] = self._bound.saved()
        return values

    def __setstate__(self, saved: dict[str, Any]) -> None:
        bound = saved["_bound"]
        vars(self).update(saved, _bound=None)
        if bound is not None:
            self._bound = Bound.restored(self, bound)

    def __repr__(self) -> str:
        values = {name: vars(self)[name] for name in hyper_parameters(self)} | given(self)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


# ---------------------------------------------------------------------- by name


def find(optimizer: object, argument: str = "optimizer") -> type[Optimizer]:
    """Return the class of that name."""
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        came = checks.describe(optimizer)
        raise TypeError(f"{argument}: expected the name of an optimizer or its class, got {came}")
    kinds = [kind for kind in _subclasses(Optimizer) if is_ours(kind) and has_update(kind)]
    kinds.sort(key=lambda kind: (not kind.__name__.isupper(), kind.__name__))
    known = {kind.__name__.lower(): kind for kind in kinds}
    return known[checks.choice(optimizer.lower(), argument, list(known))]


def _subclasses(cls: type[Optimizer]) -> Iterator[type[Optimizer]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


# ---------------------------------------------------------------------- in a fit


def attach(optimizer: Optimizer, engine: Engine) -> Bound:
    """Bind an optimizer to the parameters of a model, to begin or to go on; return them."""
    check_free(optimizer, engine)
    bound, params = optimizer._bound, tensors(engine, engine.parameters)
    if bound is None:
        bound = optimizer._bind(_of_before(optimizer, engine) or params, engine.parameters)
        bound.fused = may_be_fused(optimizer, bound)
    if bound.keys != list(params):  # `trainable` of a layer has changed
        bound = saved.rebound(optimizer, bound, params, engine.parameters, optimizer._groups)
        bound.fused = may_be_fused(optimizer, bound)
    elif bound.fused and not may_be_fused(optimizer, bound):
        bound.go_stepwise()  # and so it goes on
    vars(optimizer).update(_owner=engine.owner, _bound=bound, _waiting=None)
    return bound


def go_on(optimizer: Optimizer, engine: Engine, state: dict[str, Any]) -> None:
    """Bind an optimizer to the parameters of a model with the state of a state dict.

    Whatever it was before; nothing is changed where it raises TypeError or ValueError.
    """
    check_free(optimizer, engine)
    fresh = optimizer._bare(_waiting=None)
    fresh.load_state_dict(state)
    attach(fresh, engine).hand_over(optimizer)
    vars(optimizer).update(vars(fresh))


def check_free(optimizer: Optimizer, engine: Engine) -> None:
    """Raise ValueError if an optimizer belongs to something else than a model."""
    if not optimizer._for_fit:
        raise ValueError(
            f"optimizer: expected one made without params, got {type(optimizer).__name__} with "
            "parameters of its own"
        )
    owner = optimizer._owner
    if owner is not None and owner.tied and owner is not engine.owner:
        raise ValueError(
            f"optimizer: expected a new one or that of this model, got {type(optimizer).__name__} "
            f"with the state of another model ({optimizer.step_count} steps); make a new one"
        )


def _of_before(optimizer: Optimizer, engine: Engine) -> dict[str, Array]:
    """Return those parameters of which an optimizer from a file or a copy has the state, if any."""
    if optimizer._waiting is None:
        return {}
    params = engine.named_parameters() | {"": engine.parameters[:0]}
    keys = {key for group in optimizer._waiting.groups for key in group["params"]}
    return {key: params[key] for key in params if key in keys} if keys <= set(params) else {}


def tensors(engine: Engine, vector: Array) -> dict[str, Array]:
    """Return the views {name: array} of what is trained in a vector of the parameters' layout.

    At least one, which is empty if nothing is.
    """
    return engine.trained_parameters(vector) or {"": vector[:0]}


def may_be_fused(optimizer: Optimizer, bound: Bound) -> bool:
    """Whether all updates of an epoch may be fused with its gradients."""
    if not is_elementwise(optimizer) or optimizer._groups is not None or given(optimizer):
        return False
    return bound.is_one_rule()


def trains(optimizer: Optimizer, engine: Engine) -> bool:
    """Whether an optimizer is bound to the parameters of a model."""
    return optimizer._owner is engine.owner and optimizer._bound is not None


def holds(optimizer: Optimizer, vector: Array) -> bool:
    """Whether an optimizer with parameters of its own has that array, and nothing else."""
    bound = optimizer._bound
    if optimizer._for_fit or bound is None or len(bound.arrays) != 1:
        return False
    interface = getattr(bound.arrays[0], "__array_interface__", None)  # none on a GPU
    return bool(interface == vector.__array_interface__)


def described(optimizer: Optimizer, what: str) -> dict[str, Any]:
    """Return the state dict of an optimizer with views as arrays, for the method `what`."""
    return saved.described(optimizer, optimizer._snapshot(what))


def has_groups(optimizer: Optimizer) -> bool:
    """Whether a function of the user's says which parameters of a fit are in which group."""
    return optimizer._groups is not None


def is_plain(optimizer: Optimizer) -> bool:
    """Whether an optimizer is hyper-parameters only, without params, groups and options."""
    return optimizer._for_fit and optimizer._groups is None and not given(optimizer)
