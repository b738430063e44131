"""What is meant, said where users write something else: other libraries' names, wrong calls."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

# Our names, and those that other libraries have for the same, where they are not near.
_ELSEWHERE = {
    "lr": "learning_rate learning_rate_init",
    "optimizer": "lr learning_rate solver",
    "eps": "epsilon",
    "betas": "beta_1 beta_2 beta1 beta2",
    "weight_decay": "decay",
    "epochs": "max_iter nb_epoch",
    "patience": "early_stopping n_iter_no_change",
    "validation_split": "validation_fraction",
    "init": "kernel_initializer weight_init",
    "bias_init": "bias_initializer",
    "units": "out_features output_dim",
    "in_features": "n_features_in_",
    "out_features": "n_outputs_",
    "named_parameters": "weights get_weights set_weights load_weights trainable_weights coefs_ "
    "intercepts_ state_dict load_state_dict",
    "layers": "add modules children",
    "fit": "compile partial_fit train_on_batch",
    "evaluate": "score",
    "forward": "decision_function call",
    "predict_proba": "predict_log_proba",
    "loss_and_grad": "backward",
    "history": "loss_curve_ best_loss_",
    "epochs_trained": "n_iter_",
    "seed": "random_state",
    "cross_entropy": "crossentropy categorical_crossentropy sparse_categorical_crossentropy nll "
    "CrossEntropyLoss NLLLoss log_loss softmax",
    "binary_cross_entropy": "BCELoss BCEWithLogitsLoss bce logistic",
    "mse": "MSELoss mean_squared_error squared_error",
    "mae": "L1Loss mean_absolute_error absolute_error l1",
    "huber": "HuberLoss SmoothL1Loss smooth_l1",
    "accuracy": "acc sparse_categorical_accuracy",
    "xavier_uniform": "glorot_uniform xavier",
    "xavier_normal": "glorot_normal",
    "he_normal": "kaiming_normal he",
    "he_uniform": "kaiming_uniform",
}


class Guided:
    """Objects whose public attributes are those that their class has: others raise AttributeError.

    What is wrong names what is near, and a wrong call of the class shows the right form. Classes of
    users may have what attributes they like.
    """

    _assigned: tuple[str, ...] = ()  # public attributes that only instances have

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if is_ours(cls) and "__init__" in vars(cls):
            type.__setattr__(cls, "__init__", told(vars(cls)["__init__"]))

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return what to write in place of a wrong call; None where the general rule says it."""
        return None

    def _advice(self, name: str) -> str:
        """Return what to do where there is no attribute `name`, as the end of a message."""
        return near(name, (known for known in dir(self) if known[0] != "_"))

    if not TYPE_CHECKING:  # for which attributes are as they are declared

        def __setattr__(self, name: str, value: object) -> None:
            cls = type(self)
            known = name.startswith("_") or name in cls._assigned or hasattr(cls, name)
            if not known and is_ours(cls):
                raise AttributeError(
                    f"{cls.__name__} has no attribute {name!r}{self._advice(name)}"
                )
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> object:
            advice = "" if name.startswith("_") else self._advice(name)
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{advice}")


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean x?" with the one of `known` that `name` means, or else nothing."""
    names = list(known)
    found = [
        ours for ours, theirs in _ELSEWHERE.items() if name in theirs.split() and ours in names
    ]
    by_lower_case = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.65)
    found = found or [by_lower_case[known] for known in close]
    found = found or [known for known in names if len(name) > 3 and name in known]
    return f"; did you mean {found[0]}?" if found else ""


def written(cls: object) -> str:
    """Return the end of a message where a class came for an object of it: how one is made."""
    return f"; write it with parentheses: {cls.__name__}()" if isinstance(cls, type) else ""


def is_ours(cls: type) -> bool:
    """Whether a class is not one that a user has written."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


# ---------------------------------------------------------------------- wrong calls

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def told(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return a method that says what to write where its arguments are none of its own."""

    @functools.wraps(method)
    def guided(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except TypeError:
            try:
                inspect.signature(method).bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(_wrong_call(method, args, kwargs, error)) from None
            raise

    return guided


def _wrong_call(
    method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: TypeError
) -> str:
    """Return the message for a call that does not fit `method`, `__init__` of a base maybe."""
    cls, args = type(args[0]), args[1:]
    makes = method.__name__ == "__init__"
    name = cls.__name__ if makes else method.__name__
    inner = list(inspect.signature(method).parameters.values())[1:]
    own = list(inspect.signature(cls).parameters.values()) if makes else inner
    named = [p for p in (*own, *inner) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [word for word in kwargs if word not in [p.name for p in named]]
    keywords = [p.name for p in own if p.kind == p.KEYWORD_ONLY]
    cure = cls._cure(args, kwargs) if makes else None
    if cure is None and unknown:
        cure = near(unknown[0], (p.name for p in named)).removeprefix("; ")
    elif cure is None:
        beyond = args[sum(p.kind == p.POSITIONAL_OR_KEYWORD for p in own) :]
        words = [f"{word}={_short(value)}" for word, value in zip(keywords, beyond, strict=False)]
        cure = f"write {', '.join(words)}" if words else ""
    came = [*map(_short, args), *(f"{word}={_short(value)}" for word, value in kwargs.items())]
    what = f"an unknown {unknown[0]}" if unknown else str(error)
    return (
        f"{name}: expected {name}({_form(own)}), got {name}({', '.join(came)}), {what}"
        f"{'; ' if cure else ''}{cure}"
    )


def _form(parameters: list[inspect.Parameter]) -> str:
    """Return what stands between the parentheses of a signature, of the keywords three."""
    keywords = [p for p in parameters if p.kind == p.KEYWORD_ONLY]
    shown = [p.replace(annotation=p.empty) for p in parameters if p not in keywords[3:]]
    text = str(inspect.Signature([p for p in shown if p.kind != p.VAR_KEYWORD]))[1:-1]
    return text + (", ..." if len(shown) < len(parameters) or len(keywords) > 3 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else "..."
