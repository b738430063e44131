"""An optimizer's own parameters: the user's arrays, updated where they lie."""

import itertools
import math
import weakref
from collections.abc import Callable, Container, Iterator, MutableMapping
from typing import Any, NamedTuple

import numpy as np

from .. import _core, checks
from ..guidance import Guided, near
from ..typing import Array, Floats, Shape
from . import gpu
from . import rule as rules
from .rule import ALL, CURRENT, NUMBERS, RATES, Rule


def as_array(value: Any, path: str, stream: int) -> Array:
    """Return a leaf of the parameters or gradients as an array, without a copy.

    One on a GPU, ready for that stream, by its address; 0: it is memory of the processor.
    """
    is_parameter = path.startswith("params")
    if (
        isinstance(value, np.generic) and not is_parameter
    ):  # the gradient of an array () is often one
        scalar = np.asarray(value)
        scalar.flags.writeable = False
        return scalar
    if getattr(value, "requires_grad", False):
        raise TypeError(
            f"{path}: expected a tensor without gradients, got one that requires them; pass "
            ".detach() of it"
        )
    array = _on_gpu(value, path, stream) if stream else _of_processor(value, path)
    if is_parameter and not array.flags.writeable:
        raise ValueError(
            f"{path}: expected an array that may be written to, got a read-only "
            f"{type(value).__name__}; arrays of JAX are immutable, a copy in NumPy, CuPy or torch "
            "can be updated in place"
        )
    return array


def _on_gpu(value: Any, path: str, stream: int) -> Array:
    try:
        return gpu.at_address(value, stream)
    except (RuntimeError, TypeError, BufferError) as error:
        raise type(error)(f"{path}: {error}") from None


def _of_processor(value: Any, path: str) -> Array:
    if hasattr(value, "__dlpack__"):
        try:
            # torch's own way gives an array that may be written to.
            array: Array = value.numpy() if hasattr(value, "detach") else np.from_dlpack(value)
            return array
        except (TypeError, RuntimeError, BufferError) as error:
            raise TypeError(
                f"{path}: expected memory that NumPy reads, got {type(value).__name__}: {error}"
            ) from None
    cure = ""
    if path.startswith("params") and isinstance(value, (int, float, np.number)):
        cure = "; a number cannot be updated in place, np.array(...) of it can"
    came = checks.describe(value)
    raise TypeError(f"{path}: expected a float32 or float64 array, got {came}{cure}")


class ParamGroup(Guided, MutableMapping[str, Any]):
    """Some of an optimizer's parameters, with hyper-parameters of their own.

    A mapping from the names of the hyper-parameters to their values: those of the optimizer, unless
    the group has been given others. What is assigned holds for this group from the next step on.

    Attributes
    ----------
    params : list of str
        The keys of its parameters: ``"layers.2.w"`` for ``params["layers"][2]["w"]``.
    trainable : bool
        False leaves its parameters alone.
    """

    _assigned = ("params",)

    def __init__(self, optimizer: Rule, own: dict[str, Any]) -> None:
        self._of = weakref.ref(optimizer)  # no circle, or large states would wait to be collected
        self._holds: Rule | None = None
        self._own: dict[str, Any] = {}
        self.params: list[str] = []
        for name, value in own.items():
            self[name] = value

    @property
    def _optimizer(self) -> Rule:
        return _alive(self._of)

    def _advice(self, name: str) -> str:
        known = near(name, self) if name not in self else f'; write group["{name}"]'
        return known.replace("did you mean ", "did you mean item ")

    def __getitem__(self, name: str) -> Any:
        self._check_name(name)
        if name in self._own:
            return self._own[name]
        return self.trainable if name == "trainable" else getattr(self._optimizer, name)

    def __setitem__(self, name: str, value: object) -> None:
        self._check_name(name)
        check = checks.boolean if name == "trainable" else self._hyper(name).check
        self._own[name] = check(value, name)
        rules.changed(self._optimizer, RATES if name == "lr" else NUMBERS)

    def __delitem__(self, name: str) -> None:
        """Go back to the optimizer's value."""
        del self._own[name]
        rules.changed(self._optimizer, ALL)

    def __iter__(self) -> Iterator[str]:
        return iter([*rules.hyper_parameters(self._optimizer), "trainable"])

    def __len__(self) -> int:
        return len(rules.hyper_parameters(self._optimizer)) + 1

    def __repr__(self) -> str:
        return f"ParamGroup({len(self.params)} parameters, {dict(self)})"

    @property
    def trainable(self) -> bool:
        return bool(self._own.get("trainable", True))

    def _hyper(self, name: str) -> Any:
        return getattr(type(self._optimizer), name)

    def _check_name(self, name: str) -> None:
        if name not in list(self):
            raise KeyError(f"param_groups: expected one of {', '.join(self)}, got {name!r}")

    def as_rule(self) -> Rule:
        """Return a rule with the hyper-parameters of this group."""
        view = object.__new__(type(self._optimizer))
        own = {name: value for name, value in self._own.items() if name != "trainable"}
        view.__dict__.update(self._optimizer.__dict__, **own)
        return view


# What `Around` keeps of each parameter, and its name in `Optimizer.state`.
BUFFERS = {"gradient": "accumulated_grad", "average": "average", "slow": "slow"}
COUNTS = ("skipped", "accumulated", "averaged", "since_lookahead")


def _alive(of: "weakref.ref[Rule]") -> Rule:
    optimizer = of()
    assert optimizer is not None  # which has what asks for it
    return optimizer


def given_out(group: ParamGroup, optimizer: Rule) -> ParamGroup:
    """Return a group for the user, who need not hold the optimizer besides."""
    group._holds = optimizer
    return group


def own_of(group: ParamGroup) -> dict[str, Any]:
    """Return what a group has of its own."""
    return group._own


class Clock(NamedTuple):
    """How an epoch goes by: its number, the step it begins with, and how many it has.

    Fractions of steps are calls whose gradients are accumulated.
    """

    epoch: int
    first: float
    steps: float


class Snapshot(NamedTuple):
    """All that is kept of the parameters of an optimizer; the arrays may be views."""

    counts: dict[str, Any]
    groups: list[dict[str, Any]]  # {"params": keys, and what it has of its own}
    state: dict[str, dict[str, Array]]  # {key: {name: array}}
    values: dict[str, Any]  # hyper-parameters and options with which that came
    vectors: dict[str, Array]  # {name: of all parameters} where a fit is fused, of which state is


class Bound:
    """The parameters of an optimizer with their groups and states, and the updater in the core.

    In a fit all parameters are parts of one vector, and all states of an elementwise rule are, too.
    It is fused with the gradients as long as it is one rule for all: `next_epoch`, not `step`.
    """

    keys: list[str]
    arrays: list[Array]
    groups: list[ParamGroup]
    updater: _core.Updater

    def __init__(
        self,
        optimizer: Rule,
        params: Any,
        own: list[dict[str, Any]],
        places: list[int],
        tensors: _core.Tensors | None = None,
        flat: Array | None = None,
    ) -> None:
        """`own`: hyper-parameters of each group; `places`: the number of each tensor's group.

        `flat`: what all tensors of a fit are parts of, one after the other.
        """
        self._of = weakref.ref(optimizer)
        self.params = params
        self._tensors = tensors or _core.Tensors(params, as_array)
        self._places = places
        self.keys, self.arrays = self._tensors.keys, self._tensors.arrays
        self._are_fortran = self._tensors.are_fortran
        self.groups = [ParamGroup(optimizer, each) for each in own]
        _check_unique(self.keys, self._tensors.paths)
        self._structure = _like(params, iter(self.keys))
        for key, place in zip(self.keys, places, strict=True):
            self.groups[place].params.append(key)
        n = rules.n_rules(optimizer)  # of each group
        self._rules = [
            n * place + rules.rule_of(optimizer, array.shape)
            for place, array in zip(places, self.arrays, strict=True)
        ]
        self.updater = _core.Updater(self._tensors, self._rules, n * len(self.groups))
        self.state: list[dict[str, Any]] = [  # arrays, of NumPy or on the GPU
            {} for _ in self.arrays
        ]  # of each tensor, {name: vector}
        self.flat: Array | None = flat if rules.is_elementwise(optimizer) else None
        self.vectors: dict[str, Array] = {}  # whose parts the states are then
        self.fused: bool = False
        self._epoch: tuple[int, Floats] | None = None  # steps before it, and its report
        self.epochs: int = 0  # that fits have made
        self._clock: Clock | None = None  # of the last one that began
        self._names: list[tuple[str, ...]] = []  # of the states that each rule uses
        self.around: _core.Around | None = None  # made when an option asks for it
        self._device: str = self._tensors.device
        self._make_step: Callable[[object], None] = (
            self._step_on_gpu if self._on_gpu else self.updater.step
        )
        self._has_streams: bool = all(map(gpu.names_stream, gpu.leaves(params)))
        self._stale = ALL
        self._until: int | None = None  # step for which the numbers in the core end, if they do

    @classmethod
    def of(cls, optimizer: Rule, params: Any, groups: Any, flat: Array | None = None) -> "Bound":
        """Bind `optimizer` to the parameters that the user gave, or to those of a fit."""
        if isinstance(params, Iterator):  # torch's model.parameters(), say
            params = list(params)
        if _is_list_of_groups(params):
            if groups is not None:
                raise ValueError("groups: expected None where params is a list of groups")
            own = [{k: v for k, v in group.items() if k != "params"} for group in params]
            params = [group["params"] for group in params]
            sizes = [len(_core.Tensors(group, as_array).keys) for group in params]
            places = [place for place, size in enumerate(sizes) for _ in range(size)]
        else:
            own, places = resolve_groups(_core.Tensors(params, as_array).keys, groups)
        return cls(optimizer, params, own, places, flat=flat)

    @property
    def _optimizer(self) -> Rule:
        return _alive(self._of)

    @property
    def _on_gpu(self) -> bool:
        return self._device != "cpu"

    @property
    def steps(self) -> int:
        """Number of steps made (int)."""
        if self._epoch is None:
            return self.updater.steps
        before, report = self._epoch
        return before + int(report[2])

    def begin_epoch(self, calls: int) -> Clock:
        """Return the clock of an epoch with so many calls of `step`."""
        self.changed(NUMBERS)  # which may have been computed for more than the epoch before
        accumulate: int = vars(self._optimizer)["accumulate"]
        waiting = getattr(self.around, "accumulated", 0)
        return Clock(self.epochs, self.steps + waiting / accumulate, calls / accumulate)

    def follow(self, clock: Clock | None) -> None:
        """Let schedules that count epochs go by a clock; None: nobody knows how an epoch goes."""
        self._clock = clock

    def epochs_at(self, step: Any) -> Any:
        """Return how many epochs are done at a step, or at several; None without a clock."""
        if self._clock is None:
            return None
        return self._clock.epoch + (step - self._clock.first) / self._clock.steps

    def next_epoch(self, steps: int) -> dict[str, Any]:
        """Return what `Engine.train_epoch` needs for an epoch of so many steps."""
        update, lr = rules.next_update(self._optimizer, steps)
        self.allocate()
        states = [self._vector(name) for name in rules.state_names(self._optimizer)]
        before, report = self.steps, np.zeros(4)
        self._epoch = before, report  # one assignment: Ctrl-C comes before or after it
        return {"lr": lr, "update": update, "states": states, "step": before, "report": report}

    def go_stepwise(self) -> None:
        """Be fused no more."""
        self._set_steps(self.steps)
        self.fused = False

    def changed(self, what: int) -> None:
        """To be called with what was assigned: one of the constants above."""
        self._stale = max(self._stale, what)

    def step(self, grads: object) -> None:
        self._refresh_if_due()
        self._make_step(grads)

    def _step_on_gpu(self, grads: object) -> None:
        stream, waits = gpu.stream_of(grads)
        self.updater.step(grads, stream, waits or not self._has_streams)

    def ascend(self, grads: object) -> None:
        self._refresh_if_due()
        if self.around is None:
            raise RuntimeError("ascend: expected an optimizer with sam")
        self.around.ascend(grads)

    def descend(self) -> None:
        """Go back from where `ascend` went, if it did, without a step."""
        if self.around is not None:
            self.around.descend()

    def _refresh_if_due(self) -> None:
        if self._stale or self._until == self.updater.steps:
            self._refresh()

    def _refresh(self) -> None:
        """Tell the core of the hyper-parameters of the next steps."""
        if self._stale == RATES and self._until is None:
            rates: list[Any] = [group._own.get("lr", self._optimizer.lr) for group in self.groups]
            if all(type(rate) is float for rate in rates):
                self.updater.set_rates(rates)
                self._stale = CURRENT
                return
        each_rule = self._all_rules()
        updates = []
        n = rules.n_rules(self._optimizer)
        varies = n > 1  # nobody says when a fallback's are assigned to
        steps = 1 if varies else min(rules.steps_ahead(rule) for rule in each_rule)
        for k, rule in enumerate(each_rule):
            update = None
            if rule is None:
                self.check_parameters()
            else:
                (name, numbers), rate = rules.next_update(rule, steps)
                varies |= any(isinstance(x, np.ndarray) for x in (rate, *numbers.values()))
                if self.groups[k // n].trainable:
                    update = ((name, numbers), rate)
            updates.append(update)
        self._allocate(each_rule)
        self.updater.set_updates(updates, steps)
        if self._stale == ALL:
            self.hand_options_over()
        self._until = self.updater.steps + steps if varies else None
        self._stale = CURRENT

    def hand_options_over(self, always: bool = False) -> None:
        """Tell the core of the options around the step, if there are any or there were."""
        if self.around is None:
            given = rules.given(self._optimizer)
            if not given and not always:
                return
            if self._on_gpu:
                raise ValueError(
                    f"{next(iter(given), 'state')}: expected no options around the step, as the "
                    "parameters are on a GPU"
                )
            self.around = _core.Around(self.updater)
        self._make_step = self.around.step
        options = {name: getattr(self._optimizer, name) for name in rules.options(self._optimizer)}
        self.around.set_options(**options)

    def check_parameters(self) -> None:
        """Raise ValueError if a parameter that is to be updated has no rule."""
        for place, path, array in zip(self._places, self._tensors.paths, self.arrays, strict=True):
            if self.groups[place].trainable:
                rules.check_parameter(self.groups[place].as_rule(), path, array.shape)

    def _all_rules(self) -> list[Any]:
        """Return the rules of all groups, `n_rules` of each, as `self._rules` counts them."""
        return [rule for group in self.groups for rule in rules.rules(group.as_rule())]

    def allocate(self) -> None:
        """Make the states that are not there yet."""
        self._allocate(self._all_rules())

    def _allocate(self, each_rule: list[Any]) -> None:
        names = [() if rule is None else rules.state_names(rule) for rule in each_rule]
        if names == self._names:
            return
        of_tensors, first = [], 0
        for k, array, state in zip(self._rules, self.arrays, self.state, strict=True):
            rule = each_rule[k]
            shapes = {} if rule is None else rules.state_shapes(rule, array.shape)
            for name, shape in shapes.items():
                if name in state:
                    continue
                state[name] = self._new_state(array, shape, name, first)
                state[name][...] = rules.initial(rule, name)
            of_tensors.append([self._for_core(state[name]) for name in shapes])
            first += array.size
        self.updater.set_states(list(map(list, itertools.zip_longest(*of_tensors))))
        self._names = names

    def _new_state(self, array: Array, shape: Shape, name: str, first: int) -> Any:
        """Return the vector of a state of a tensor whose parameters begin at `first`."""
        if self._on_gpu:
            return gpu.DeviceArray.full(math.prod(shape), array.dtype, 0.0, self._device)
        if self.flat is None:
            return _vector_beside(array, math.prod(shape))
        return self._vector(name)[first : first + array.size]

    def _for_core(self, vector: Any) -> Array:
        return gpu.at_address(vector) if self._on_gpu else vector

    def _vector(self, name: str) -> Array:
        """Return a state of all parameters of a fit, made when first asked for."""
        if name not in self.vectors:
            assert self.flat is not None
            size = sum(array.size for array in self.arrays)
            self.vectors[name] = _vector_beside(self.flat, size)
        return self.vectors[name]

    def check_at_rest(self, what: str) -> None:
        if self.around is not None:
            self.around.check_at_rest(what)

    def buffers(self) -> dict[str, list[Array | None]]:
        """Return what is kept around the steps: {name: list of one vector for each tensor}.

        None is in place of the mean of gradients of a tensor that has had only None.
        """
        self.hand_options_over()
        return {} if self.around is None else self.around.buffers()

    def counts(self) -> dict[str, Any]:
        """Return numbers that count; None for `since_lookahead` before the first step with it."""
        buffers = self.buffers()
        counts = {name: getattr(self.around, name, 0) for name in COUNTS}
        if "slow" not in buffers:
            counts["since_lookahead"] = None
        missed = {key: n for key, n in zip(self.keys, self.updater.missed, strict=True) if n}
        return {
            "step_count": self.steps,
            "epoch_count": self.epochs,
            **counts,
            "missed_steps": missed,
        }

    def set_counts(self, counts: dict[str, Any], buffers: dict[str, list[Array | None]]) -> None:
        """Go on from `counts`, with the vectors that belong to them."""
        self._set_steps(counts["step_count"])
        self.epochs = counts["epoch_count"]
        self.updater.missed = [counts["missed_steps"].get(key, 0) for key in self.keys]
        self.hand_options_over(always=any(counts[name] for name in COUNTS))
        if self.around is not None:
            for name in COUNTS:
                setattr(self.around, name, counts[name] or 0)
            for name, vectors in buffers.items():
                self.around.set_buffer(name, vectors)

    def _set_steps(self, steps: int) -> None:
        self.updater.steps = steps
        self._epoch = None
        self._stale = ALL

    def new_buffers(
        self, counts: dict[str, Any], with_gradient: Container[str]
    ) -> dict[str, list[Array | None]]:
        """Return the buffers that belong to `counts`, with zeros; gradients of these keys."""
        needed = {
            "gradient": counts["accumulated"] > 0,
            "average": counts["averaged"] > 0,
            "slow": counts["since_lookahead"] is not None,
        }
        return {
            name: [
                _vector_beside(array, array.size)
                if name != "gradient" or key in with_gradient
                else None
                for key, array in zip(self.keys, self.arrays, strict=True)
            ]
            for name in needed
            if needed[name]
        }

    def named_state(self) -> dict[str, dict[str, Array]]:
        """Return {key: {name: array}} of all that is kept of each parameter: views."""
        each_rule, buffers = self._all_rules(), self.buffers()
        all_states = {}
        for i, (key, array) in enumerate(zip(self.keys, self.arrays, strict=True)):
            rule = each_rule[self._rules[i]]
            shapes = {} if rule is None else rules.state_shapes(rule, array.shape)
            vectors = [(name, self.state[i].get(name), shape) for name, shape in shapes.items()]
            vectors += [(BUFFERS[name], of[i], array.shape) for name, of in buffers.items()]
            all_states[key] = {
                name: self._shaped(i, vector, shape)
                for name, vector, shape in vectors
                if vector is not None
            }
        return all_states

    def _shaped(self, i: int, vector: Any, shape: Shape) -> Array:
        """Return a vector of tensor i, in its order where it has its shape, as an array."""
        fortran = self._are_fortran[i] and shape == self.arrays[i].shape
        shaped: Array = vector.reshape(shape, order="F" if fortran else "C")
        return shaped

    def averages(self) -> Any:
        """Return the averaged parameters, in the structure of the parameters."""
        vectors = self.buffers().get("average")
        if vectors is None:
            self.check_at_rest("averages")
        arrays = [
            array if vectors is None else self._shaped(i, vectors[i], array.shape)
            for i, array in enumerate(self.arrays)
        ]
        return _like(self._structure, map(np.array, arrays))

    def made_again(self, optimizer: Rule, own: list[dict[str, Any]]) -> "Bound":
        """Return these parameters bound to another optimizer, with groups as `own` says."""
        return Bound(optimizer, self.params, own, self._places, self._tensors, self.flat)

    def take_over(self, optimizer: Rule, other: "Bound") -> list[dict[str, Any]]:
        """Belong to `optimizer`, with the groups of the bound `other`; return what those become."""
        become = [{"_own": group._own} for group in self.groups]
        self._of, self.groups = weakref.ref(optimizer), other.groups
        return become

    def hand_over(self, optimizer: Rule) -> None:
        """Belong to `optimizer`, whose hyper-parameters and options may be others."""
        owners: list[Bound | ParamGroup] = [self, *self.groups]
        for each in owners:
            each._of = weakref.ref(optimizer)
        self.changed(ALL)

    def snapshot(self, what: str) -> Snapshot:
        """Return all that is kept, for the method `what`; the arrays are views."""
        self.check_at_rest(what)
        self.allocate()
        optimizer = self._optimizer
        names = (*rules.hyper_parameters(optimizer), *rules.options(optimizer))
        return Snapshot(
            self.counts(),
            [{"params": list(group.params), **group._own} for group in self.groups],
            self.named_state(),
            {name: vars(optimizer)[name] for name in names},
            {name: self.vectors[name] for name in self._names[0]} if self.fused else {},
        )

    def is_one_rule(self) -> bool:
        """Whether nothing sets some parameters apart, and nothing is kept around the steps."""
        if len(self.groups) > 1 or self.groups[0]._own or any(self.updater.missed):
            return False
        counts = None if self.around is None else self.counts()
        return counts is None or [counts[name] for name in COUNTS] == [0, 0, 0, None]

    def saved(self) -> dict[str, Any]:
        """Return what `restored` takes: the parameters themselves, and copies of all else."""
        self.check_at_rest("copy")
        return {
            "params": self.params,
            "own": [dict(group._own) for group in self.groups],
            "places": self._places,
            "state": [{k: v.copy() for k, v in vectors.items()} for vectors in self.state],
            "counts": self.counts(),
            "buffers": {
                name: [None if v is None else v.copy() for v in vectors]
                for name, vectors in self.buffers().items()
            },
        }

    @classmethod
    def restored(cls, optimizer: Rule, saved: dict[str, Any]) -> "Bound":
        bound = cls(optimizer, saved["params"], saved["own"], saved["places"])
        bound.state = saved["state"]
        if bound._on_gpu:
            bound.state = [
                {name: gpu.DeviceArray.like(vector, bound._device) for name, vector in of.items()}
                for of in saved["state"]
            ]
        bound.set_counts(saved["counts"], saved["buffers"])
        return bound


def _like(tree: Any, leaves: Iterator[Any]) -> Any:
    """Return the next of `leaves` in the structure of `tree`."""
    if isinstance(tree, dict):
        return {key: _like(child, leaves) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        children = [_like(child, leaves) for child in tree]
        if isinstance(tree, list):
            return children
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    return next(leaves)


def _vector_beside(array: Array, size: int) -> Array:
    """Return zeros (size,) with the address of `array`, modulo a line of the cache."""
    line = 64  # bytes
    nbytes = size * array.itemsize
    memory = np.empty(nbytes + line, np.uint8)
    start = (array.ctypes.data - memory.ctypes.data) % line
    if start % array.itemsize:
        start = 0
    vector = memory[start : start + nbytes].view(array.dtype)
    vector[...] = 0
    return vector


def _check_unique(keys: list[str], paths: list[str]) -> None:
    known: dict[str, str] = {}
    for key, path in zip(keys, paths, strict=True):
        if key in known:
            raise ValueError(
                f"params: expected a key for each array, got {key!r} for {known[key]} and {path}"
            )
        known[key] = path


def _is_list_of_groups(params: Any) -> bool:
    return (
        isinstance(params, (list, tuple))
        and len(params) > 0
        and all(isinstance(group, dict) and "params" in group for group in params)
    )


def resolve_groups(keys: list[str], groups: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the hyper-parameters of each group, and for each key the number of its group."""
    if groups is None:
        return [{}], [0] * len(keys)
    if not callable(groups):
        came = checks.describe(groups)
        raise TypeError(f"groups: expected a function from a parameter's key to a dict, got {came}")
    own, places = [], []
    for key in keys:
        values = groups(key)
        if not isinstance(values, dict):
            came = checks.describe(values)
            raise TypeError(f"groups({key!r}): expected a dict of hyper-parameters, got {came}")
        if values not in own:
            own.append(values)
        places.append(own.index(values))
    return own, places
