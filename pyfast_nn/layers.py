"""Layers as a user writes them: descriptions without memory. The parameters live in the model."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from . import checks, graph, initializers
from .config import Configured, Setting
from .typing import Array, Floats, Integer, Real, Shape


class Layer(Configured):
    """What layers have in common."""

    kind = ""  # the core's name of this layer
    passes_on = False  # initialisation of what is in front of it asks for what is behind it
    flat = False  # derivative zero almost everywhere: parameters in front of it do not learn
    makes_probabilities = False  # losses on logits or scores want what comes in instead
    couples_rows = False  # in training the output of a row depends on the others of its batch
    is_input = False  # applied while the inputs are read, in front of all layers that are not
    walks_positions = False  # its matrices are multiplied at each position that comes in
    reads_flat = False  # X of any shape is a row of numbers to it; others read it in its shape
    takes_nan = False  # NaN that comes in means something, and does not come out
    # What the layer keeps of each column besides parameters, and its first values; NaN: what the
    # first fit learns.
    initial_state: ClassVar[Mapping[str, float]] = {}
    default_init: str | initializers.Initializer = "xavier_uniform"  # of weights in front of it

    def _advice(self, name: str) -> str:
        if name in ("weight", "bias", "kernel", "weights", "parameters", "get_weights"):
            return "; parameters are the model's: model.named_parameters()"
        return super()._advice(name)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if name == "trainable":
                object.__setattr__(self, name, value)
            else:
                super().__setattr__(name, value)

    def __hash__(self) -> int:
        return hash((type(self), *super().get_config().values()))

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def get_config(self) -> dict[str, Any]:
        frozen = {} if self.trainable else {"trainable": False}
        return super().get_config() | frozen

    @property
    def trainable(self) -> bool:
        """Whether its parameters are trained (bool); False: they are constants.

        It may be assigned at any time. No derivatives are computed for what is not trained: the
        way back ends at the first layer that is. Gradients and products with curvature are zero
        there, and optimizers keep no state for it.
        """
        return bool(vars(self).get("_trainable", True))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = checks.boolean(value, "trainable")
        if not self.learns:
            raise AttributeError(f"trainable: a {type(self).__name__} has nothing to train")
        vars(self)["_trainable"] = value
        graph.count_change()

    @property
    def learns(self) -> bool:
        """Whether it has parameters, of its own or in the layers that it is made of (bool)."""
        return bool(self.parameter_shapes(1))

    @property
    def learner(self) -> "Layer":
        """The layer that stands for its parameters: where it stands again, they are the same."""
        return self

    @property
    def units(self) -> int:
        """Columns of the output; 0: as many as came in."""
        return 0

    @property
    def values(self) -> tuple[float, ...]:
        """Numbers that the core needs besides."""
        return ()

    def values_in(self, dtype: DTypeLike) -> tuple[float, ...]:
        """Return those numbers where the core computes in `dtype`."""
        return self.values

    @property
    def max_norm(self) -> float:
        """The largest norm of a column of the weight after a step; 0: any."""
        return 0.0

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        """Return {name: shape} of the parameters when the input has `in_features` columns."""
        return {}

    def state_shapes(self, in_features: int) -> dict[str, Shape]:
        """Return {name: shape} of what the layer keeps besides parameters."""
        return dict.fromkeys(self.initial_state, (in_features,))

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        """Return what a part of the state is expected to be, and whether these values are that."""
        return "finite numbers", bool(np.isfinite(values).all())

    def shaped(self, shape: Shape) -> "Layer":
        """Return what stands in front of the layer where it reads X in that shape."""
        return Shaped(shape)

    def part_of_x(self, first: int, count: int) -> "Layer":
        """Return what stands in front of the layer where it reads some of the numbers of X."""
        return Slice(first, count)

    def lay(self, network: "graph.Graph", path: str, value: int) -> int:
        """Take its place in a network, where it reads `value`; return what it puts out."""
        width = network.width(value)
        return network.add(self, path, self.kind, (value,), self.units or width)

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        """Fill `parameters`, {name: array}, each from a random stream of its own from `stream` on.

        `default` is the law of weights where the layer says none.
        """


class MaxNorm(Configured):
    """Constraint of a `Dense` layer: no unit's incoming weights have a norm above `max_norm`.

    Parameters
    ----------
    max_norm : float
        Positive. Srivastava et al. advise 3 to 4, with dropout and a large learning rate.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    After each step of a fit every column of ``weight`` (in_features, units) with a larger Euclidean
    norm is scaled down to it. Biases are free, and so are initial weights and those of a layer that
    is not trained. `fit` sees to it; who steps an optimizer by hand does so.

    References
    ----------
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014), "Dropout: a
    simple way to prevent neural networks from overfitting", JMLR 15, section 5.1.

    Examples
    --------
    >>> fnn.Dense(256, constraint=fnn.MaxNorm(3.0))
    Dense(256, constraint=MaxNorm(3.0))
    """

    max_norm: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, max_norm: Real) -> None:
        self._set(max_norm=max_norm)


def _check_constraint(value: object, name: str) -> MaxNorm | None:
    if value is None or isinstance(value, MaxNorm):
        return value
    raise TypeError(f"{name}: expected None or a MaxNorm, got {checks.describe(value)}")


Init: TypeAlias = str | float | initializers.Initializer


def check_init(value: object, name: str) -> Init | None:
    return None if value is None else initializers.check(value, name)


def _check_bias_init(value: object, name: str) -> Init:
    return initializers.check(value, name, "one_more_input")


class Dense(Layer):
    """Fully connected layer: ``x @ weight + bias``.

    Parameters
    ----------
    units : int
        Columns of the output, at least 1.
    init : None, str, float or pyfast_nn.initializers.Initializer
        Initial weights: an object or a name of `pyfast_nn.initializers`, or a number for a
        constant. None is ``"he_normal"`` in front of `ReLU` and its kin (`ELU`, `GELU`, `SiLU`, and
        `LeakyReLU`, whose slope counts), and ``"xavier_uniform"`` otherwise.
    bias_init : str, float or pyfast_nn.initializers.Initializer
        Initial biases, the same choices but orthogonal ones; or ``"one_more_input"``: the bias is
        one more row of the weight, that of an input which is always 1, and drawn with it by `init`,
        for which there are then in_features + 1 inputs.
    constraint : None or pyfast_nn.MaxNorm
        What holds of the weights after each step of a fit.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    ``weight`` has shape (in_features, units), ``bias`` (units,); the input is (n, in_features), the
    output (n, units).

    Examples
    --------
    >>> fnn.Dense(256)
    Dense(256)
    >>> fnn.Dense(10, init="xavier_normal", bias_init=0.1)
    Dense(10, init='xavier_normal', bias_init=0.1)
    """

    kind = "dense"
    units: Setting[int] = Setting(partial(checks.integer, minimum=1))
    init: Setting[Init | None] = Setting(check_init)
    bias_init: Setting[Init] = Setting(_check_bias_init)
    constraint: Setting[MaxNorm | None] = Setting(_check_constraint)

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        units = kwargs.get("units", args[0] if args else "units")
        second = args[1] if len(args) > 1 else None
        activation = kwargs.get("activation", second)
        if isinstance(activation, (str, Layer)):
            names = {layer.__name__.lower(): layer.__name__ for layer in LAYERS}
            name = names.get(str(activation).lower(), "ReLU")
            layer = f"{name}()" if isinstance(activation, str) else repr(activation)
            return f"an activation is a layer of its own: Dense({units}), {layer}"
        if second is not None:
            return f"how many inputs there are is found out from X: Dense({second})"
        if not {"in_features", "input_dim", "input_shape"}.isdisjoint(kwargs):
            units = kwargs.get("out_features", units)
            return f"how many inputs there are is found out from X: Dense({units})"
        if not {"bias", "use_bias"}.isdisjoint(kwargs):
            return "it always has a bias, which begins as bias_init says"
        return None

    def __init__(
        self,
        units: Integer,
        *,
        init: str | Real | initializers.Initializer | None = None,
        bias_init: str | Real | initializers.Initializer = "zeros",
        constraint: MaxNorm | None = None,
        trainable: bool = True,
    ) -> None:
        self._set(units=units, init=init, bias_init=bias_init, constraint=constraint)
        self.trainable = trainable
        if self.bias_init == "orthogonal" or isinstance(bias_init, initializers.Orthogonal):
            raise ValueError(f"bias_init: expected a law for vectors, got {bias_init!r}")

    @property
    def max_norm(self) -> float:
        return 0.0 if self.constraint is None else self.constraint.max_norm

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight": (in_features, self.units), "bias": (self.units,)}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        weight, bias = parameters["weight"], parameters["bias"]
        init = default if self.init is None else initializers.resolve(self.init)
        if self.bias_init == "one_more_input":
            both = np.empty((len(weight) + 1, self.units), weight.dtype)
            init.fill(both, len(both), self.units, seed, stream)
            weight[...], bias[...] = both[:-1], both[-1]
        else:
            init.fill(weight, len(weight), self.units, seed, stream)
            bias_init = initializers.resolve(self.bias_init)
            bias_init.fill(bias, len(weight), self.units, seed, stream + 1)


def _check_dense(value: object, name: str) -> Dense:
    if not isinstance(value, Dense):
        is_units = isinstance(value, int) and not isinstance(value, bool)
        cure = f"; write WeightNorm(Dense({value}))" if is_units else ""
        raise TypeError(f"{name}: expected a Dense layer, got {checks.describe(value)}{cure}")
    if value.constraint is not None:
        raise ValueError(
            f"{name}: expected a Dense without constraint, as the norms are learned, got {value!r}"
        )
    return value


class WeightNorm(Layer):
    """Weight normalisation of a `Dense` layer, whose weights are learned as norms and directions.

    It computes ``x @ weight + bias`` with ``weight = weight_g * weight_v / norm(weight_v)``, where
    the norms are those of the columns: of the weights that come into each unit.

    Parameters
    ----------
    layer : Dense
        Its units, its initial weights and biases, and whether they are trained. It has no
        `constraint`. The same one within two layers has one set of parameters.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if a unit's initial weights are all zero.

    Notes
    -----
    ``weight_v`` has shape (in_features, units), ``bias`` and ``weight_g`` (units,). ``weight_g``
    begins as the norms of ``weight_v``, which begins as the weights of `layer` would: the first
    outputs are the same.

    The weights are computed anew after each step: a few passes over them, which count where batches
    have few rows. They are no linear function of the parameters, so that exact traces and diagonals
    of curvature and gradients of single examples are refused; all other derivatives and products
    are exact. A column of ``weight_v`` that is zero has no direction: outputs of its unit are NaN.

    References
    ----------
    T. Salimans, D. P. Kingma (2016), "Weight normalization: a simple reparameterization to
    accelerate training of deep neural networks", NeurIPS, https://arxiv.org/abs/1602.07868.

    Examples
    --------
    >>> layers = [fnn.WeightNorm(fnn.Dense(64)), fnn.ReLU(), fnn.Dense(10)]
    >>> model = fnn.Sequential(layers).build(20)
    >>> list(model.named_parameters())[:3]
    ['0.weight_v', '0.bias', '0.weight_g']
    """

    kind = "weight_norm"
    layer: Setting[Dense] = Setting(_check_dense)

    def __init__(self, layer: Dense) -> None:
        self._set(layer=layer)

    @property
    def trainable(self) -> bool:
        """Whether its parameters are trained: that of `layer` (bool), see `Dense`."""
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.layer.trainable = value

    def get_config(self) -> dict[str, Any]:
        return {"layer": self.layer}

    @property
    def units(self) -> int:
        return self.layer.units

    @property
    def learner(self) -> Layer:
        return self.layer

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        units = self.layer.units
        return {"weight_v": (in_features, units), "bias": (units,), "weight_g": (units,)}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        v = parameters["weight_v"]
        own = {"weight": v, "bias": parameters["bias"]}
        self.layer.initialize(own, default, seed, stream)
        norms = np.linalg.norm(v.astype(np.float64), axis=0)
        if not norms.all():
            raise ValueError(
                f"init: expected weights that have a direction, got zeros only for unit "
                f"{np.argmin(norms)} of {self!r}"
            )
        parameters["weight_g"][...] = norms


class Identity(Layer):
    """``x``, unchanged: as a branch of `Concatenate`, say, that hands its input on."""

    kind = "identity"
    passes_on = True


class Slice(Layer):
    """`units` columns from number `first` on: what a part of `Columns` reads of all."""

    kind = "slice"
    passes_on = True
    first: Setting[int] = Setting(partial(checks.integer, minimum=0))
    units: Setting[int] = Setting(partial(checks.integer, minimum=1))

    def __init__(self, first: Integer, units: Integer) -> None:
        self._set(first=first, units=units)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.first), float(self.units))

    def __repr__(self) -> str:
        return f"from column {self.first} on"


class Shaped(Layer):
    """The same numbers in another shape of one example: what the first layer reads of X."""

    kind = "reshape"
    passes_on = True
    reads_flat = True
    shape: Setting[Shape] = Setting(checks.shape)

    def __init__(self, shape: Shape) -> None:
        self._set(shape=shape)

    @property
    def values(self) -> tuple[float, ...]:
        height, width, channels = (1, 1, *self.shape)[-3:]
        return (float(height), float(width), float(channels))

    def __repr__(self) -> str:
        return f"X in shape {self.shape}"


class Scale(Layer):
    """``x * weight``, with a factor for each feature, 1 at first.

    Behind the layers of a `Residual`, with small factors, it lets deep networks begin near the
    identity.

    Parameters
    ----------
    init : float
        What all factors begin with.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    References
    ----------
    H. Touvron, M. Cord, A. Sablayrolles, G. Synnaeve, H. Jegou (2021), "Going deeper with image
    transformers", ICCV.

    Examples
    --------
    >>> fnn.Residual([fnn.Dense(64), fnn.ReLU(), fnn.Dense(64), fnn.Scale(0.1)])
    Residual([Dense(64), ReLU(), Dense(64), Scale(init=0.1)])
    """

    kind = "scale"
    passes_on = True
    init: Setting[float] = Setting(checks.real)

    def __init__(self, init: Real = 1.0) -> None:
        self._set(init=init)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight": (in_features,)}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        parameters["weight"].fill(self.init)


class ReLU(Layer):
    """Rectified linear unit: ``max(x, 0)``, element by element. Its derivative at 0 is 0."""

    kind = "relu"
    default_init: str | initializers.Initializer = "he_normal"


class LeakyReLU(Layer):
    """``x`` where it is positive, else ``negative_slope * x``, element by element.

    Parameters
    ----------
    negative_slope : float
        At least 0. It is also the derivative at 0.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    References
    ----------
    A. L. Maas, A. Y. Hannun, A. Y. Ng (2013), "Rectifier nonlinearities improve neural network
    acoustic models", ICML workshop on deep learning for audio, speech and language processing.
    """

    kind = "leaky_relu"

    negative_slope: Setting[float] = Setting(partial(checks.real, minimum=0))

    def __init__(self, negative_slope: Real = 0.01) -> None:
        self._set(negative_slope=negative_slope)

    @property
    def default_init(self) -> initializers.Initializer:  # type: ignore[override]
        return initializers.HeNormal(self.negative_slope)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.negative_slope,)


class ELU(Layer):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``, element by element.

    Parameters
    ----------
    alpha : float
        At least 0. It is also the derivative at 0.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    References
    ----------
    D.-A. Clevert, T. Unterthiner, S. Hochreiter (2016), "Fast and accurate deep network learning by
    exponential linear units (ELUs)", ICLR, https://arxiv.org/abs/1511.07289.
    """

    kind = "elu"
    default_init: str | initializers.Initializer = "he_normal"

    alpha: Setting[float] = Setting(partial(checks.real, minimum=0))

    def __init__(self, alpha: Real = 1.0) -> None:
        self._set(alpha=alpha)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.alpha,)


class Softplus(Layer):
    """``log(1 + exp(beta * x)) / beta``, element by element.

    Parameters
    ----------
    beta : float
        Positive; the larger, the closer to `ReLU`.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Computed so that it neither overflows nor loses digits anywhere; hence no threshold beyond which
    torch returns ``x``.
    """

    kind = "softplus"

    beta: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, beta: Real = 1.0) -> None:
        self._set(beta=beta)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.beta,)


class GELU(Layer):
    """Gaussian error linear unit: ``x`` times the standard normal distribution function at ``x``.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        ``"tanh"`` is ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``, within 5e-4.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.

    References
    ----------
    D. Hendrycks, K. Gimpel (2016), "Gaussian error linear units (GELUs)",
    https://arxiv.org/abs/1606.08415.
    """

    default_init: str | initializers.Initializer = "he_normal"

    approximate: Setting[str] = Setting(partial(checks.choice, choices=("none", "tanh")))

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self._set(approximate=approximate)

    @property
    def kind(self) -> str:  # type: ignore[override]
        return "gelu" if self.approximate == "none" else "gelu_tanh"


class SiLU(Layer):
    """Sigmoid linear unit, or swish: ``x / (1 + exp(-x))``, element by element.

    References
    ----------
    S. Elfwing, E. Uchibe, K. Doya (2018), "Sigmoid-weighted linear units for neural network
    function approximation in reinforcement learning", Neural Networks 107,
    https://arxiv.org/abs/1702.03118.
    """

    kind = "silu"
    default_init: str | initializers.Initializer = "he_normal"


class Tanh(Layer):
    """Hyperbolic tangent, element by element."""

    kind = "tanh"


class Hardtanh(Layer):
    """``x`` cut off at `min_val` and `max_val`, element by element. Its derivative there is 0.

    Parameters
    ----------
    min_val, max_val : float
        ``min_val < max_val``.

    Raises
    ------
    TypeError, ValueError
        If they are none of that.
    """

    kind = "hardtanh"

    min_val: Setting[float] = Setting(checks.real)
    max_val: Setting[float] = Setting(checks.real)

    def __init__(self, min_val: Real = -1.0, max_val: Real = 1.0) -> None:
        self._set(min_val=min_val, max_val=max_val)
        checks.real(max_val, "max_val", above=self.min_val)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.min_val, self.max_val)


class Sigmoid(Layer):
    """Logistic function ``1 / (1 + exp(-x))``, element by element."""

    kind = "sigmoid"
    makes_probabilities = True


class Softmax(Layer):
    """``exp(x)`` divided by its sum over the features of each row: rows of probabilities.

    `Sequential.fit` does not need it: cross-entropy takes the logits in front of it.
    """

    kind = "softmax"
    makes_probabilities = True


class Step(Layer):
    """Heaviside function: 1 where ``x > 0``, else 0, also at 0, element by element.

    Its derivative is 0 almost everywhere, and taken as 0 everywhere: what stands in front of it
    does not learn, and `Sequential.fit` warns.
    """

    kind = "step"
    flat = True


class Sign(Layer):
    """-1, 0 or 1: the sign of ``x``, element by element.

    Its derivative is 0 almost everywhere, and taken as 0 everywhere: what stands in front of it
    does not learn, and `Sequential.fit` warns.
    """

    kind = "sign"
    flat = True


class PReLU(Layer):
    """``x`` where it is positive, else ``weight * x``: a slope for each feature, learned.

    Notes
    -----
    ``weight`` has shape (features,) and begins as 0.25, as in the paper and in torch. It is also
    the derivative at 0.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2015), "Delving deep into rectifiers: surpassing human-level
    performance on ImageNet classification", ICCV, https://arxiv.org/abs/1502.01852.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(64), fnn.PReLU(), fnn.Dense(10)]).build(20)
    >>> model.named_parameters()["1.weight"].shape
    (64,)
    """

    kind = "prelu"
    initial_slope: float = 0.25
    default_init: str | initializers.Initializer = initializers.HeNormal(initial_slope)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight": (in_features,)}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        parameters["weight"][...] = self.initial_slope


class Dropout(Layer):
    """In training, zero with probability `rate`, else ``x / (1 - rate)``; otherwise ``x``.

    Each number of each example is drawn anew in each step. As the first layer it drops inputs.

    Parameters
    ----------
    rate : float
        At least 0, less than 1; rounded to a multiple of 2**-16. Srivastava et al. advise 0.5 for
        hidden layers and 0.2 for inputs.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    The random numbers are functions of the model's seed, the epoch, the step, the layer, the
    example's place in the step and the feature: a fit with the same seed repeats, whatever the
    number of threads.

    References
    ----------
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (2014), "Dropout: a
    simple way to prevent neural networks from overfitting", JMLR 15.

    Examples
    --------
    >>> layers = [fnn.Dropout(0.2), fnn.Dense(512), fnn.ReLU(), fnn.Dropout(0.5), fnn.Dense(10)]
    >>> model = fnn.Sequential(layers)
    """

    kind = "dropout"
    passes_on = True
    rate: Setting[float] = Setting(partial(checks.real, minimum=0, below=1))

    def __init__(self, rate: Real) -> None:
        self._set(rate=rate)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.rate,)


class GaussianNoise(Layer):
    """In training, ``x`` plus normal noise of mean 0 and standard deviation `std`; otherwise ``x``.

    Parameters
    ----------
    std : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Each number of each example is drawn anew in each step, as in `Dropout`.

    References
    ----------
    C. M. Bishop (1995), "Training with noise is equivalent to Tikhonov regularization", Neural
    Computation 7(1).

    Examples
    --------
    >>> model = fnn.Sequential([fnn.GaussianNoise(0.1), fnn.Dense(64), fnn.ReLU(), fnn.Dense(10)])
    """

    kind = "gaussian_noise"
    passes_on = True
    std: Setting[float] = Setting(partial(checks.real, minimum=0))

    def __init__(self, std: Real) -> None:
        self._set(std=std)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.std,)


def _check_eps(value: object, name: str) -> float | None:
    return None if value is None else checks.real(value, name, above=0)


class Norm(Layer):
    """What normalisations have in common."""

    passes_on = True
    learned: ClassVar[Mapping[str, float]] = {"weight": 1.0, "bias": 0.0}  # and how they begin
    affine: Setting[bool] = Setting(checks.boolean)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return dict.fromkeys(self.learned, (in_features,)) if self.affine else {}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        for name, view in parameters.items():
            view.fill(self.learned[name])


class LayerNorm(Norm):
    """``weight * (x - mean) / sqrt(var + eps) + bias``, with mean and variance of each row.

    Parameters
    ----------
    eps : float
        Positive.
    affine : bool
        Whether there are `weight` and `bias` to learn.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    `var` is divided by the number of features. ``weight`` begins as 1 and ``bias`` as 0, both
    (in_features,).

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton (2016), "Layer normalization",
    https://arxiv.org/abs/1607.06450.

    Examples
    --------
    >>> block = fnn.Residual([fnn.LayerNorm(), fnn.Dense(64), fnn.ReLU(), fnn.Dense(64)])
    >>> model = fnn.Sequential([fnn.Dense(64), block, fnn.LayerNorm(), fnn.Dense(10)])
    """

    kind = "layer_norm"
    eps: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, eps: Real = 1e-5, affine: bool = True) -> None:
        self._set(eps=eps, affine=affine)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.eps, float(self.affine))


class RMSNorm(Norm):
    """``weight * x / sqrt(mean(x**2) + eps)``, with the mean of each row.

    Parameters
    ----------
    eps : None or float
        Positive. None, as in torch, is the machine epsilon of the model's dtype:
        ``np.finfo(dtype).eps``.
    affine : bool
        Whether there is a `weight` to learn.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    ``weight`` (in_features,) begins as 1.

    References
    ----------
    B. Zhang, R. Sennrich (2019), "Root mean square layer normalization", NeurIPS,
    https://arxiv.org/abs/1910.07467.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(64), fnn.RMSNorm(), fnn.SiLU(), fnn.Dense(10)])
    """

    kind = "rms_norm"
    learned: ClassVar[Mapping[str, float]] = {"weight": 1.0}
    eps: Setting[float | None] = Setting(_check_eps)

    def __init__(self, eps: Real | None = None, affine: bool = True) -> None:
        self._set(eps=eps, affine=affine)

    @property
    def values(self) -> tuple[float, ...]:
        return (0.0 if self.eps is None else self.eps, float(self.affine))


class GroupNorm(Norm):
    """`LayerNorm` of each of `groups` groups of features, which follow each other.

    Parameters
    ----------
    groups : int
        At least 1; divides the number of features.
    eps : float
        Positive.
    affine : bool
        Whether there are `weight` and `bias` to learn.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if the groups do not divide the
        features.

    Notes
    -----
    ``weight`` begins as 1 and ``bias`` as 0, both (in_features,): a number for each feature.

    References
    ----------
    Y. Wu, K. He (2018), "Group normalization", ECCV, https://arxiv.org/abs/1803.08494.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Dense(64), fnn.GroupNorm(4), fnn.ReLU(), fnn.Dense(10)])
    """

    kind = "group_norm"
    groups: Setting[int] = Setting(partial(checks.integer, minimum=1))
    eps: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, groups: Integer, eps: Real = 1e-5, affine: bool = True) -> None:
        self._set(groups=groups, eps=eps, affine=affine)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.groups), self.eps, float(self.affine))


def _check_momentum(value: object, name: str) -> float:
    momentum = checks.real(value, name, minimum=0)
    if momentum > 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")
    return momentum


class BatchNorm(Norm):
    """``weight * (x - mean) / sqrt(var + eps) + bias`` of each column.

    In training, `mean` and `var` are those of the batch (`var` divided by n), and running ones
    follow them; otherwise they are the running ones.

    Parameters
    ----------
    momentum : float
        From 0 to 1: how much the running statistics learn from each batch, as in torch:
        ``running = (1 - momentum) * running + momentum * batch``, with a `var` divided by n - 1.
        (TensorFlow's is one minus this.)
    eps : float
        Positive.
    affine : bool
        Whether there are `weight` and `bias` to learn.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    ``weight`` begins as 1 and ``bias`` as 0, both (in_features,). ``running_mean`` and
    ``running_var``, which begin as 0 and 1, are part of the model's `state` and its file; only
    `fit` changes them, once for each batch whose loss is finite. `Sequential.calibrate` replaces
    them by those of all data.

    Rows of a batch depend on each other in training, so that a batch of one row is refused, and so
    is whatever asks for the part of each example with ``training=True``. Weights of examples do not
    count in the statistics, but that a row of weight 0 is not there.

    References
    ----------
    S. Ioffe, C. Szegedy (2015), "Batch normalization: accelerating deep network training by
    reducing internal covariate shift", ICML, https://arxiv.org/abs/1502.03167.

    Examples
    --------
    >>> layers = [fnn.Dense(64), fnn.BatchNorm(), fnn.ReLU(), fnn.Dense(10)]
    >>> model = fnn.Sequential(layers).build(64)
    >>> list(model.named_state())
    ['1.running_mean', '1.running_var']
    """

    kind = "batch_norm"
    couples_rows = True
    initial_state: ClassVar[Mapping[str, float]] = {"running_mean": 0.0, "running_var": 1.0}

    momentum: Setting[float] = Setting(_check_momentum)
    eps: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, momentum: Real = 0.1, eps: Real = 1e-5, affine: bool = True) -> None:
        self._set(momentum=momentum, eps=eps, affine=affine)

    def judge_state(self, name: str, values: Floats) -> tuple[str, bool]:
        if name == "running_var":
            return "numbers of at least 0", bool((np.isfinite(values) & (values >= 0)).all())
        return super().judge_state(name, values)

    @property
    def values(self) -> tuple[float, ...]:
        return (self.eps, float(self.affine), self.momentum)


class _Cosine(Layer):
    """``cos(2 pi x)``: a part of `PeriodicEmbedding`."""

    kind = "cosine"

    def __repr__(self) -> str:
        return "cos(2 pi x)"


class _Beside(Layer):
    """The features and their waves, side by side: a part of `PeriodicEmbedding`."""

    kind = "concatenate"

    def __repr__(self) -> str:
        return "(x, cos(2 pi x))"


class PeriodicEmbedding(Layer):
    """``(x, cos(2 pi (weight * x + bias)))``: beside the features, waves of each.

    Networks of rectifiers prefer smooth functions of their inputs; with waves, whose frequencies
    are learned, they fit steps and oscillations of single features, too. The `Dense` that follows
    makes linear combinations of them.

    Parameters
    ----------
    n_frequencies : int
        Waves of each feature, at least 1.
    scale : float
        Standard deviation of the initial frequencies, positive, for features of about unit
        variance. It matters, and small values do well: 0.01 to 1.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    The input is (n, features), the output (n, features * (1 + n_frequencies)): first the features
    themselves, then the waves of the first one, of the second one, and so on. ``weight`` and
    ``bias`` are as long as there are waves, in this order. Frequencies begin as normal random
    numbers, phases as uniform ones: ``weight`` as N(0, scale^2), ``bias`` from -1/2 to 1/2.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko (2022), "On embeddings for numerical features in tabular
    deep learning", NeurIPS, https://arxiv.org/abs/2203.05556. With phases, and the features beside:
    D. Holzmüller, L. Grinsztajn, I. Steinwart (2024), "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", NeurIPS, https://arxiv.org/abs/2407.04491.

    Examples
    --------
    >>> layers = [fnn.Standardize(), fnn.PeriodicEmbedding(16), fnn.Dense(64), fnn.ReLU()]
    >>> model = fnn.Sequential([*layers, fnn.Dense(1)]).build(5)
    >>> model.named_parameters()["1.weight"].shape
    (80,)
    >>> model.named_parameters()["2.weight"].shape
    (85, 64)
    """

    kind = "spread"
    n_frequencies: Setting[int] = Setting(partial(checks.integer, minimum=1))
    scale: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(
        self, n_frequencies: Integer = 16, scale: Real = 0.1, *, trainable: bool = True
    ) -> None:
        self._set(n_frequencies=n_frequencies, scale=scale)
        self.trainable = trainable

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.n_frequencies),)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return dict.fromkeys(("weight", "bias"), (in_features * self.n_frequencies,))

    def lay(self, network: "graph.Graph", path: str, value: int) -> int:
        width = network.width(value)
        waves = width * self.n_frequencies
        turns = network.add(self, path, self.kind, (value,), waves)
        cosines = network.add(_Cosine(), path, _Cosine.kind, (turns,), waves)
        return network.add(_Beside(), path, _Beside.kind, (value, cosines), width + waves)

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        laws = {"weight": initializers.Normal(self.scale), "bias": initializers.Uniform(-0.5, 0.5)}
        for i, (name, law) in enumerate(laws.items()):
            size = parameters[name].size
            law.fill(parameters[name], size, size, seed, stream + i)


class Embedding(Layer):
    """A row of numbers for each category, learned: ``weight[x]``.

    The input is one column of codes, 0 to n_categories - 1, numbers of any dtype, or several: a
    sequence of codes, which becomes one of rows. What is no such code, and NaN, gives a row of
    zeros: a category that was not seen, or is missing.

    Parameters
    ----------
    n_categories : int
        From 1 to 2**24, so that float32 holds the codes.
    units : int
        Columns of the output, at least 1.
    init : None, str, float or pyfast_nn.initializers.Initializer
        Initial rows: an object or a name of `pyfast_nn.initializers`, or a number for a constant.
        None is the normal law of standard deviation 1, as in torch.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if positions have more
        numbers than a code.

    Notes
    -----
    ``weight`` has shape (n_categories, units). The input (n, 1) gives the output (n, units), and
    (n, T) or (n, T, 1) gives (n, T, units). Nothing flows back to the input: layers in front of it
    do not learn.

    A step updates all rows as other parameters: weight decay and momentum also move those of
    categories that no example of the batch has. Exact traces and diagonals of curvature and
    gradients of single examples are refused; all other derivatives and products are exact.

    References
    ----------
    C. Guo, F. Berkhahn (2016), "Entity embeddings of categorical variables",
    https://arxiv.org/abs/1604.06737.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.Embedding(1000, 8), fnn.Dense(1)], seed=0).build(1)
    >>> model.forward([[3], [999], [1000]]).round(2)  # nothing is known of the last
    array([[ 0.49],
           [-0.56],
           [ 0.  ]], dtype=float32)
    """

    kind = "embedding"
    flat = True
    takes_nan = True
    n_categories: Setting[int] = Setting(partial(checks.integer, minimum=1, maximum=2**24))
    units: Setting[int] = Setting(partial(checks.integer, minimum=1))
    init: Setting[Init | None] = Setting(check_init)

    def __init__(
        self,
        n_categories: Integer,
        units: Integer,
        *,
        init: str | Real | initializers.Initializer | None = None,
        trainable: bool = True,
    ) -> None:
        self._set(n_categories=n_categories, units=units, init=init)
        self.trainable = trainable

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.n_categories),)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight": (self.n_categories, self.units)}

    def lay(self, network: "graph.Graph", path: str, value: int) -> int:
        shape = network.shape(value)
        if len(shape) == 1 and shape[0] > 1:  # a sequence of codes
            shape = (*shape, 1)
            value = network.add(Shaped(shape), f"{path}.codes", Shaped.kind, (value,), shape)
        if not shape:  # not known yet
            return network.add(self, path, self.kind, (value,), self.units)
        if network.width(value) > 1:
            raise ValueError(
                f"layers[{path}]: expected codes, one at each position, got examples of shape "
                f"{shape}"
            )
        return super().lay(network, path, value)

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        init = initializers.Normal(1.0) if self.init is None else initializers.resolve(self.init)
        init.fill(parameters["weight"], self.n_categories, self.units, seed, stream)


# Those that a user may write and a file may hold, besides input layers and what joins branches.
# Modules with layers of a subject add theirs.
LAYERS: list[type[Layer]] = [
    *(Dense, WeightNorm, Identity),
    *(ReLU, LeakyReLU, ELU, Softplus, GELU, SiLU, Tanh),
    *(Hardtanh, Sigmoid, Softmax, Step, Sign, Scale, PReLU, Dropout, GaussianNoise),
    *(LayerNorm, RMSNorm, GroupNorm, BatchNorm, PeriodicEmbedding, Embedding),
]
