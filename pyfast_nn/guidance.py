"""What is meant, said where users write something else: other libraries' names, wrong calls."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

# Names of other libraries, where no name of ours is near enough to be found.
_ELSEWHERE = {
    "learning_rate": "lr",
    "epsilon": "eps",
    **dict.fromkeys(["beta_1", "beta_2", "beta1", "beta2"], "betas"),
    "decay": "weight_decay",
    **dict.fromkeys(["kernel_initializer", "weight_init"], "init"),
    "bias_initializer": "bias_init",
    **dict.fromkeys(["out_features", "output_dim"], "units"),
    "n_features_in_": "in_features",
    "n_outputs_": "out_features",
    **dict.fromkeys(["weights", "coefs_", "intercepts_", "state_dict"], "named_parameters"),
    **dict.fromkeys(["get_weights", "set_weights", "trainable_weights"], "named_parameters"),
    **dict.fromkeys(["load_state_dict", "load_weights"], "named_parameters"),
    **dict.fromkeys(["compile", "partial_fit", "train", "train_on_batch"], "fit"),
    **dict.fromkeys(["add", "modules", "children"], "layers"),
    "score": "evaluate",
    **dict.fromkeys(["decision_function", "call"], "forward"),
    "predict_log_proba": "predict_proba",
    "backward": "loss_and_grad",
    **dict.fromkeys(["loss_curve_", "best_loss_"], "history"),
    "n_iter_": "epochs_trained",
    "random_state": "seed",
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
            cls.__init__ = _told(vars(cls)["__init__"])  # type: ignore[method-assign]

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Return what to write in place of a wrong call; None where the general rule says it."""
        return None

    def _advice(self, name: str) -> str:
        """Return what to do where there is no attribute `name`, as the end of a message."""
        return near(name, (known for known in dir(self) if known[0] != "_"))

    if not TYPE_CHECKING:  # for which attributes are as they are declared

        def __setattr__(self, name, value):
            cls = type(self)
            known = name[0] == "_" or name in cls._assigned or hasattr(cls, name)
            if not known and is_ours(cls):
                raise AttributeError(
                    f"{cls.__name__} has no attribute {name!r}{self._advice(name)}"
                )
            super().__setattr__(name, value)

        def __getattr__(self, name):
            advice = self._advice(name) if name[0] != "_" else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{advice}")


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean x?" with the one of `known` that `name` means, or else nothing."""
    names = list(known)
    found = [_ELSEWHERE[name]] if _ELSEWHERE.get(name) in names else []
    found = found or difflib.get_close_matches(name, names, n=1, cutoff=0.65)
    found = found or [known for known in names if len(name) > 3 and name in known]
    return f"; did you mean {found[0]}?" if found else ""


def written(cls: object) -> str:
    """Return the end of a message where a class came for an object of it: how one is made."""
    return f"; write it with parentheses: {cls.__name__}()" if isinstance(cls, type) else ""


def is_ours(cls: type) -> bool:
    """Whether a class is not one that a user has written."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


# ---------------------------------------------------------------------- wrong calls


def _told(init: Callable[..., None]) -> Callable[..., None]:
    """Return `init` that says what to write where its arguments are none of its own."""

    @functools.wraps(init)
    def told(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError:
            try:
                inspect.signature(init).bind(self, *args, **kwargs)
            except TypeError as error:
                raise TypeError(_wrong_call(type(self), init, args, kwargs, error)) from None
            raise

    return told


def _wrong_call(
    cls: type[Guided],
    init: Callable[..., None],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    error: TypeError,
) -> str:
    """Return the message for a call that does not fit `init`, the class's own or a base's."""
    own = list(inspect.signature(cls).parameters.values())
    inner = list(inspect.signature(init).parameters.values())[1:]
    named = [p for p in (*own, *inner) if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [name for name in kwargs if name not in [p.name for p in named]]
    form = str(inspect.Signature([p.replace(annotation=p.empty) for p in own]))
    cure = cls._cure(args, kwargs)
    if cure is None and unknown:
        cure = near(unknown[0], (p.name for p in named)).removeprefix("; ")
    if cure is None or (not cure and not unknown):
        positional = [p for p in own if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keywords = [p.name for p in own if p.kind == p.KEYWORD_ONLY]
        pairs = zip(keywords, args[len(positional) :], strict=False)
        words = ", ".join(f"{name}={_short(value)}" for name, value in pairs)
        cure = f"write {words}" if words else ""
    what = f"an unknown {unknown[0]}" if unknown else str(error)
    came = [*map(_short, args), *(f"{name}={_short(value)}" for name, value in kwargs.items())]
    return (
        f"{cls.__name__}: expected {cls.__name__}{form}, got {cls.__name__}({', '.join(came)}), "
        + (f"{what}; {cure}" if cure else what)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else "..."
