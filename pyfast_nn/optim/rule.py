"""The rule of an optimizer: its hyper-parameters, and what its updates are made of."""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from .. import checks
from ..config import Held, Setting, settings
from ..guidance import Guided, written
from ..schedules import InEpochs, is_of_steps_alone
from ..typing import Array, Floats, Rate, Shape

Given = TypeVar("Given")  # what may be assigned to a setting

Changing: TypeAlias = (
    float | Any
)  # a hyper-parameter that may change: a number, an array, a function
Update: TypeAlias = tuple[str, dict[str, Any]]  # the core's name of a rule, and its numbers

# What in the core is not as the optimizer has it: learning rates, hyper-parameters, options too.
CURRENT, RATES, NUMBERS, ALL = range(4)
STEPS_AHEAD = 64  # for which schedules are evaluated by one call


class Hyper(Setting[Held], Generic[Given, Held]):
    """A hyper-parameter, which a group may have as its own."""

    def __set__(self, rule: "Rule", value: Given) -> None:
        vars(rule)[self.name] = self.check(value, self.name)
        rule._changed(RATES if self.name == "lr" else NUMBERS)


class Option(Setting[Held], Generic[Given, Held]):
    """An option around the step, of all parameters.

    `apart_from` names the other options that must be None when this one is given.
    """

    def __init__(
        self, default: Held, check: Callable[[Any, str], Held], apart_from: tuple[str, ...] = ()
    ) -> None:
        super().__init__(check)
        self.default = default
        self._apart_from = apart_from

    def __set__(self, rule: "Rule", value: Given) -> None:
        held = None
        if value is not None or self.default is not None:
            held = self.check(value, self.name)
            for other in self._apart_from:
                if vars(rule).get(other) is not None:
                    raise ValueError(
                        f"{self.name}: expected None where {other} is given, got {held}"
                    )
        vars(rule)[self.name] = held
        rule._changed(ALL)


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


class Rule(Guided):
    """What an optimizer does to a parameter; `Bound` asks the functions below for it."""

    _elementwise = True  # the update of a number depends on nothing but what belongs to it
    _n_rules = 1  # of which `_rule_of` says, for each parameter, which one updates it

    lr: Hyper[Rate, Changing] = Hyper(check_schedule)

    @property
    def step_count(self) -> int:
        """Number of steps taken (int)."""
        raise NotImplementedError

    def _epochs_at(self, step: Any) -> Any:
        """Return how many epochs are done at a step, or at an array of them; None without a fit."""
        raise NotImplementedError

    def _changed(self, what: int) -> None:
        """To be called with what was assigned: one of the constants above."""

    def _update(self, steps: int) -> Update:
        """Return (name, {hyper-parameter: number or array (steps,)}) of the next `steps` steps."""
        raise NotImplementedError

    def _rule_of(self, shape: Shape) -> int:
        """Return the number of the rule that updates a parameter of a shape."""
        return 0

    def _rules(self) -> list["Rule | None"]:
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

    def _next(self, value: Any, name: str, steps: int, below: float = math.inf) -> Any:
        """Return a hyper-parameter at the next `steps` steps: one number, or an array (steps,)."""
        if isinstance(value, float):
            return value
        first = self.step_count
        if callable(value):
            return check_values(evaluate(self, value, first, steps), name, first, below)
        if first + steps > len(value):
            raise ValueError(
                f"{name}: expected a value for each step up to {first + steps - 1}, "
                f"got {len(value)} values"
            )
        return check_values(value[first : first + steps], name, first, below)


def next_betas(rule: Any, steps: int) -> dict[str, Any]:
    """Return `betas` at the next `steps` steps, as the core takes them."""
    return {
        f"beta{i + 1}": rule._next(beta, f"betas[{i}]", steps, below=1)
        for i, beta in enumerate(rule.betas)
    }


# ---------------------------------------------------------------------- what `Bound` asks for


def has_update(cls: type[Rule]) -> bool:
    """Whether a class is a rule, and not what some have in common."""
    return cls._update is not Rule._update


def hyper_parameters(rule: Rule) -> tuple[str, ...]:
    """Return the names of its hyper-parameters."""
    return settings(type(rule), Hyper)


def options(rule: Rule) -> tuple[str, ...]:
    """Return the names of the options around its steps."""
    return settings(type(rule), Option)


def given(rule: Rule) -> dict[str, Any]:
    """Return the options that differ from their defaults, by name."""
    return {
        name: value
        for name in options(rule)
        if (value := getattr(rule, name)) != getattr(type(rule), name).default
    }


def changed(rule: Rule, what: int) -> None:
    """Tell a rule what was assigned in a group of its: one of the constants above."""
    rule._changed(what)


def is_elementwise(rule: Rule) -> bool:
    """Whether the update of a number depends on nothing but what belongs to it."""
    return rule._elementwise


def next_update(rule: Rule, steps: int) -> tuple[Update, float | Floats]:
    """Return the update and the learning rate of the next `steps` steps."""
    update = rule._update(steps)
    return update, rule._next(rule.lr, "lr", steps)


def rate_at(rule: Rule, step: int) -> float:
    """Return the learning rate of a 0-based step."""
    if callable(rule.lr):
        return float(evaluate(rule, rule.lr, step, 1)[0])
    return float(rule.lr[step]) if isinstance(rule.lr, np.ndarray) else rule.lr


def steps_ahead(rule: Rule) -> int:
    """Return for how many steps from here hyper-parameters may be evaluated at once.

    One if a function is the user's: what it gives may depend on what happens until then.
    """
    steps = STEPS_AHEAD
    for name in hyper_parameters(rule):
        value = vars(rule)[name]
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, np.ndarray):
                steps = min(steps, max(len(each) - rule.step_count, 1))
            elif not is_of_steps_alone(each):
                return 1
    return steps


def rules(rule: Rule) -> list[Rule | None]:
    """Return the rules of which it is made; None for one that is not there."""
    return rule._rules()


def n_rules(rule: Rule) -> int:
    """Return how many those are."""
    return rule._n_rules


def rule_of(rule: Rule, shape: Shape) -> int:
    """Return the number of the rule that updates a parameter of a shape."""
    return rule._rule_of(shape)


def check_parameter(rule: Rule, path: str, shape: Shape) -> None:
    """Raise ValueError if there is no rule for a parameter."""
    rule._check_parameter(path, shape)


def state_names(rule: Rule) -> tuple[str, ...]:
    """Return the names of the states that the update uses, as in torch."""
    return rule._state_names()


def state_shapes(rule: Rule, shape: Shape) -> dict[str, Shape]:
    """Return {name: shape} for the states of a parameter of a shape."""
    return rule._state_shapes(shape)


def initial(rule: Rule, name: str) -> float:
    """Return the number that fills a new state."""
    return rule._initial(name)


def evaluate(rule: Rule, schedule: Callable[[Any], Any], first: int, steps: int) -> Array:
    """Return `schedule` at `steps` steps from `first`: by one call if it takes arrays."""

    def function(step: Any) -> Any:
        if not isinstance(schedule, InEpochs) or schedule.steps_per_epoch is not None:
            return schedule(step)
        epochs = rule._epochs_at(step)
        return schedule(step) if epochs is None else schedule.at_epochs(epochs)

    try:
        values = np.asarray(function(np.arange(first, first + steps)))
    except Exception:  # not written for arrays; what is wrong with it otherwise shows below
        values = None
    if values is None or values.shape != (steps,):
        values = np.asarray([function(step) for step in range(first, first + steps)])
    return values
