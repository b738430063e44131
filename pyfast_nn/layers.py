"""Layers as a user writes them: descriptions without memory. The parameters live in the model."""

from . import checks, initializers


class Layer:
    """What layers have in common: immutable, and equal to a layer with the same settings."""

    kind = ""  # the core's name of this layer
    units = 0  # columns of the output; 0: as many as came in

    def parameter_shapes(self, in_features):
        """Return {name: shape} of the parameters when the input has `in_features` columns."""
        return {}

    def initializer(self, name, next_layer):
        """Return the initialiser of parameter `name`; `next_layer` is a Layer or None."""
        raise KeyError(name)

    def get_config(self):
        """Return the arguments that make this layer, as a dict of plain values."""
        return {}

    def __repr__(self):
        return f"{type(self).__name__}()"

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), *self.get_config().values()))


class Dense(Layer):
    """Fully connected layer: ``x @ weight + bias``.

    Parameters
    ----------
    units : int
        Columns of the output, at least 1.
    init : None, str or float
        Initial weights: ``"he_normal"``, ``"he_uniform"``, ``"xavier_normal"``,
        ``"xavier_uniform"``, ``"small_normal"`` (standard deviation 0.01), ``"zeros"``, or a number
        for a constant. None is ``"he_normal"`` in front of `ReLU` and ``"xavier_uniform"``
        otherwise. The formulas and their sources are in `pyfast_nn.initializers`.
    bias_init : str or float
        Initial biases, the same choices.

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

    def __init__(self, units, *, init=None, bias_init="zeros"):
        self._units = checks.integer(units, "units", minimum=1)
        self._init = None if init is None else initializers.check(init, "init")
        self._bias_init = initializers.check(bias_init, "bias_init")

    @property
    def units(self):
        """Columns of the output (int)."""
        return self._units

    @property
    def init(self):
        """Initialiser of the weights (None, str or float)."""
        return self._init

    @property
    def bias_init(self):
        """Initialiser of the biases (str or float)."""
        return self._bias_init

    def parameter_shapes(self, in_features):
        return {"weight": (in_features, self.units), "bias": (self.units,)}

    def initializer(self, name, next_layer):
        if name == "bias":
            return self.bias_init
        if self.init is not None:
            return self.init
        return "he_normal" if isinstance(next_layer, ReLU) else "xavier_uniform"

    def get_config(self):
        return {"units": self.units, "init": self.init, "bias_init": self.bias_init}

    def __repr__(self):
        text = f"Dense({self.units}"
        if self.init is not None:
            text += f", init={self.init!r}"
        if self.bias_init != "zeros":
            text += f", bias_init={self.bias_init!r}"
        return text + ")"


class ReLU(Layer):
    """Rectified linear unit: ``max(x, 0)``, element by element. Its derivative at 0 is 0."""

    kind = "relu"


class Tanh(Layer):
    """Hyperbolic tangent, element by element."""

    kind = "tanh"


class Sigmoid(Layer):
    """Logistic function ``1 / (1 + exp(-x))``, element by element."""

    kind = "sigmoid"


_BY_NAME = {layer.__name__: layer for layer in (Dense, ReLU, Tanh, Sigmoid)}


def to_config(layer):
    """Return `layer` as a dict of plain values, for the model file."""
    return {"type": type(layer).__name__, **layer.get_config()}


def from_config(config):
    """Return the layer that `to_config` described; TypeError or ValueError on anything else."""
    if not isinstance(config, dict):
        raise TypeError(f"layer: expected a dict, got {checks.describe(config)}")
    arguments = dict(config)
    name = checks.choice(arguments.pop("type", None), "layer type", tuple(_BY_NAME))
    return _BY_NAME[name](**arguments)
