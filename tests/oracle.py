"""The reference: everything the core computes, in float64 NumPy, from the formulas of textbooks.

Nothing here is fast and nothing is shared with the C++. A network is `(in_features, layers)` with
`layers` a list of `(kind, units, values)`; its parameters are one flat vector, layer after layer,
each dense layer its weight (in, out) row-major, then its bias (out,).
"""

from __future__ import annotations

import numpy as np
from scipy import special

# ---------------------------------------------------------------------------------------- kernels


def gemm(a, b, c, alpha=1.0, beta=0.0, transpose_a=False, transpose_b=False):
    """Return alpha op(a) op(b) + beta c; as in BLAS, c is not read when beta is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    product = alpha * ((a.T if transpose_a else a) @ (b.T if transpose_b else b))
    return product if beta == 0 else product + beta * np.asarray(c, np.float64)


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _tanh_first(z):
    return 1.0 - np.tanh(z) ** 2


def _sigmoid_first(z):
    return sigmoid(z) * sigmoid(-z)


def _elu_tail(z, alpha):
    return np.where(z > 0, 0.0, alpha * np.exp(np.minimum(z, 0.0)))


def _normal_density(z):
    return np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi)


def _gelu_tanh(order):
    """GELU's approximation 0.5 z (1 + t), t = tanh(u(z)), or its derivative of that order."""
    k, c = np.sqrt(2.0 / np.pi), 0.044715

    def function(z):
        z = np.clip(z, -1e3, 1e3) if order else z
        u, du, ddu = k * (z + c * z**3), k * (1 + 3 * c * z**2), 6 * k * c * z
        lower = 2.0 * sigmoid(2.0 * u)  # 1 + t without cancellation
        dt = lower * 2.0 * sigmoid(-2.0 * u)  # (1 + t) (1 - t)
        if order == 0:
            return 0.5 * z * lower
        if order == 1:
            return 0.5 * lower + 0.5 * z * dt * du
        return dt * du + 0.5 * z * dt * (ddu - 2.0 * np.tanh(u) * du**2)

    return function


def _zeros(z):
    return np.zeros_like(z)


# kind: value, first derivative, second derivative, each as a function of the input z and the values
# of the layer. The derivative of ReLU at 0 is 0, as in torch; other kinks likewise.
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like, _zeros),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64), _zeros),
    "leaky_relu": (
        lambda z, slope: np.where(z > 0, z, slope * z),
        lambda z, slope: np.where(z > 0, 1.0, slope),
        lambda z, slope: np.zeros_like(z),
    ),
    "elu": (
        lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))),
        lambda z, alpha: np.where(z > 0, 1.0, _elu_tail(z, alpha)),
        _elu_tail,
    ),
    "softplus": (
        lambda z, beta: np.logaddexp(0.0, beta * z) / beta,
        lambda z, beta: sigmoid(beta * z),
        lambda z, beta: beta * sigmoid(beta * z) * sigmoid(-beta * z),
    ),
    "gelu": (
        lambda z: 0.5 * z * special.erfc(-z / np.sqrt(2.0)),
        lambda z: 0.5 * special.erfc(-z / np.sqrt(2.0)) + z * _normal_density(z),
        lambda z: (2.0 - np.minimum(z**2, 1e9)) * _normal_density(z),
    ),
    "gelu_tanh": (_gelu_tanh(0), _gelu_tanh(1), _gelu_tanh(2)),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z),
        lambda z: sigmoid(z) * sigmoid(-z) * (2.0 + z * (sigmoid(-z) - sigmoid(z))),
    ),
    "tanh": (np.tanh, _tanh_first, lambda z: -2.0 * np.tanh(z) * _tanh_first(z)),
    "hardtanh": (
        np.clip,
        lambda z, low, high: ((z > low) & (z < high)).astype(np.float64),
        lambda z, low, high: np.zeros_like(z),
    ),
    "sigmoid": (
        sigmoid,
        _sigmoid_first,
        lambda z: _sigmoid_first(z) * (sigmoid(-z) - sigmoid(z)),
    ),
    "step": (lambda z: np.heaviside(z, 0.0), _zeros, _zeros),
    "sign": (np.sign, _zeros, _zeros),
}


def softmax(z):
    return np.exp(log_softmax(z))


def _centred(p, r):
    """(diag(p) - p p') r for each row."""
    return p * (r - (p * r).sum(axis=1, keepdims=True))


# The maps of an activation, whose Jacobian J is symmetric for every row.


def activate(kind, numbers, z):
    return softmax(z) if kind == "softmax" else ACTIVATIONS[kind][0](z, *numbers)


def product(kind, numbers, z, r):
    """J(z) r"""
    return _centred(softmax(z), r) if kind == "softmax" else ACTIVATIONS[kind][1](z, *numbers) * r


def product_tangent(kind, numbers, z, dz, r, dr):
    """The directional derivative of J(z) r along dz and dr."""
    if kind == "softmax":
        p, dp = softmax(z), _centred(softmax(z), dz)
        changes = (dp * r + p * dr).sum(axis=1, keepdims=True)
        return dp * (r - (p * r).sum(axis=1, keepdims=True)) + p * (dr - changes)
    first, second = (f(z, *numbers) for f in ACTIVATIONS[kind][1:])
    return first * dr + second * dz * r


# Where the first derivative jumps (or the value).
KINKS = {
    "relu": lambda: (0.0,),
    "leaky_relu": lambda slope: (0.0,),
    "elu": lambda alpha: (0.0,),
    "hardtanh": lambda low, high: (low, high),
    "step": lambda: (0.0,),
    "sign": lambda: (0.0,),
}


# ----------------------------------------------------------------------------------------- losses


def log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _log_cosh(d):
    with np.errstate(over="ignore"):  # where the other branch is taken
        small = d**2 / 2 - d**4 / 12 + d**6 / 45 - 17 * d**8 / 2520
    return np.where(abs(d) < 0.02, small, np.logaddexp(d, -d) - np.log(2))


# A loss is (name, {parameter: number}), as the core takes it. Those of one output z and its target
# t: value, first and second derivative in z. At a kink the derivative is 0.
ELEMENTWISE = {
    "binary_cross_entropy": (
        lambda z, t: t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z),
        lambda z, t: (1 - t) * sigmoid(z) - t * sigmoid(-z),
        lambda z, t: sigmoid(z) * sigmoid(-z),
    ),
    "hinge": (
        lambda z, t: np.maximum(0, 1 - t * z),
        lambda z, t: np.where(t * z < 1, -t, 0.0),
        lambda z, t: 0 * z,
    ),
    "mse": (lambda z, t: (z - t) ** 2, lambda z, t: 2 * (z - t), lambda z, t: 2 + 0 * z),
    "mae": (lambda z, t: abs(z - t), lambda z, t: np.sign(z - t), lambda z, t: 0 * z),
    "huber": (
        lambda z, t, delta: np.where(
            abs(z - t) <= delta, (z - t) ** 2 / 2, delta * abs(z - t) - delta**2 / 2
        ),
        lambda z, t, delta: np.clip(z - t, -delta, delta),
        lambda z, t, delta: (abs(z - t) <= delta).astype(np.float64),
    ),
    "poisson": (
        lambda z, t: np.exp(z) - t * z,
        lambda z, t: np.exp(z) - t,
        lambda z, t: np.exp(z),
    ),
    "log_cosh": (
        lambda z, t: _log_cosh(z - t),
        lambda z, t: np.tanh(z - t),
        lambda z, t: 4 * sigmoid(2 * (z - t)) * sigmoid(2 * (t - z)),
    ),
    "quantile": (
        lambda z, t, q: np.maximum(q * (t - z), (1 - q) * (z - t)),
        lambda z, t, q: np.where(z == t, 0, np.where(z < t, -q, 1 - q)),
        lambda z, t, q: 0 * z,
    ),
}
MSE = ("mse", {})
CROSS_ENTROPY = ("cross_entropy", {"label_smoothing": 0.0, "confidence_penalty": 0.0})


def _probabilities(z, y, smoothing=0.0):
    """Rows of probabilities (n, k), from themselves or from integer labels (n,)."""
    p = np.eye(z.shape[1])[y] if y.ndim == 1 else np.asarray(y, np.float64)
    return (1 - smoothing) * p + smoothing / z.shape[1]


def _margins(z, y, margin):
    """By how much each wrong score comes too near to the right one (n, k), or is far (< 0)."""
    slack = margin - np.take_along_axis(z, y[:, None], 1) + z
    slack[np.arange(len(z)), y] = -1
    return slack


def loss_rows(z, y, loss):
    """Loss of each row (n,), such that their mean is the loss of the batch."""
    name, parameters = loss
    if name in ELEMENTWISE:
        return ELEMENTWISE[name][0](z, np.asarray(y, np.float64), **parameters).mean(axis=1)
    if name == "multi_margin":
        return np.maximum(0, _margins(z, y, **parameters)).mean(axis=1)
    logp = log_softmax(z)
    negative_entropy = (np.exp(logp) * logp).sum(axis=1)
    value = -(_probabilities(z, y, parameters["label_smoothing"]) * logp).sum(axis=1)
    return value + parameters["confidence_penalty"] * negative_entropy


def _shares(rows, weights):
    """What each row's loss is multiplied by (rows, 1)."""
    weights = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    return (weights / weights.sum() if weights.any() else weights)[:, None]


def loss_value(z, y, loss, weights=None):
    """Weighted mean loss of a batch: over rows for cross-entropy, else over all elements."""
    return (loss_rows(z, y, loss) * _shares(len(z), weights)[:, 0]).sum()


def loss_gradient(z, y, loss, weights=None):
    """Derivative of `loss_value` in the outputs z (n, k)."""
    name, parameters = loss
    shares = _shares(len(z), weights)
    if name in ELEMENTWISE:
        gradient = ELEMENTWISE[name][1](z, np.asarray(y, np.float64), **parameters)
        return gradient * shares / z.shape[1]
    if name == "multi_margin":
        gradient = (_margins(z, y, **parameters) > 0).astype(np.float64)
        gradient[np.arange(len(z)), y] = -gradient.sum(axis=1)
        return gradient * shares / z.shape[1]
    p, logp = _probabilities(z, y, parameters["label_smoothing"]), log_softmax(z)
    s = np.exp(logp)
    negative_entropy = (s * logp).sum(axis=1, keepdims=True)
    gradient = s * p.sum(axis=1, keepdims=True) - p
    return (gradient + parameters["confidence_penalty"] * s * (logp - negative_entropy)) * shares


def loss_hvp(z, dz, y, loss, weights=None):
    """Hessian of `loss_value` in the outputs, times the direction dz (n, k)."""
    name, parameters = loss
    shares = _shares(len(z), weights)
    if name in ELEMENTWISE:
        second = ELEMENTWISE[name][2](z, np.asarray(y, np.float64), **parameters)
        return second * dz * shares / z.shape[1]
    if name == "multi_margin":
        return 0 * z
    p, logp = _probabilities(z, y, parameters["label_smoothing"]), log_softmax(z)
    s = np.exp(logp)
    ds = s * (dz - (s * dz).sum(axis=1, keepdims=True))
    # of sum s log s: with J = diag(s) - s s', the gradient is J log s, and J 1 = 0
    penalty = ds * (1 + logp - (s * logp).sum(axis=1, keepdims=True))
    penalty -= s * (ds * logp).sum(axis=1, keepdims=True)
    mass = p.sum(axis=1, keepdims=True)
    return (mass * ds + parameters["confidence_penalty"] * penalty) * shares


def right_rows(z, y, loss):
    """Which rows of the outputs say what the targets say (n,), as bools."""
    if loss[0] in ("cross_entropy", "multi_margin"):
        return z.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))
    if loss[0] in ("binary_cross_entropy", "hinge"):
        threshold = 0.5 if loss[0] == "binary_cross_entropy" else 0
        return ((z > 0) == (y > threshold)).all(axis=1)
    return np.zeros(len(z), bool)


# ---------------------------------------------------------------------------------------- networks


class Network:
    """A chain of layers. The four maps of a layer are one line each in the loops below."""

    def __init__(self, in_features, layers):
        self.in_features, self.layers = in_features, list(layers)
        self.shapes = []  # per layer (in, out) of the weight, or None
        width = in_features
        for kind, units, _ in self.layers:
            self.shapes.append((width, units) if kind == "dense" else None)
            width = units if kind == "dense" else width
        self.out_features = width
        self.n_parameters = sum((i + 1) * o for i, o in filter(None, self.shapes))

    def layout(self):
        """Return [(layer index, "weight" | "bias", offset, shape)]."""
        layout, offset = [], 0
        for index, shape in enumerate(self.shapes):
            if shape:
                layout.append((index, "weight", offset, shape))
                layout.append((index, "bias", offset + shape[0] * shape[1], shape[1:]))
                offset += (shape[0] + 1) * shape[1]
        return layout

    def unflatten(self, flat):
        """Return one entry per layer: (weight, bias), views of the flat vector, or None."""
        views = [[] for _ in self.layers]
        for index, _, offset, shape in self.layout():
            views[index].append(flat[offset : offset + int(np.prod(shape))].reshape(shape))
        return [tuple(view) or None for view in views]

    def _inputs(self, parameters, X):
        """Input of every layer, and the output of the last: a list of len(layers) + 1 arrays."""
        values = [np.array(X, np.float64)]
        layers = zip(self.layers, self.unflatten(parameters), strict=True)
        for (kind, _, numbers), weights in layers:
            x = values[-1]
            values.append(x @ weights[0] + weights[1] if weights else activate(kind, numbers, x))
        return values

    def _tangents(self, parameters, v, values):
        """Directional derivative of every entry of `values` along v."""
        tangents = [np.zeros_like(values[0])]
        layers = zip(
            self.layers, self.unflatten(parameters), self.unflatten(v), values[:-1], strict=True
        )
        for (kind, _, numbers), weights, direction, x in layers:
            dx = tangents[-1]
            if weights:
                tangents.append(dx @ weights[0] + x @ direction[0] + direction[1])
            else:
                tangents.append(product(kind, numbers, x, dx))
        return tangents

    def _backward(self, parameters, values, g):
        """Return the gradient in the parameters and in X, given g = dL/d(output)."""
        gradient = np.zeros(self.n_parameters)
        targets, weights = self.unflatten(gradient), self.unflatten(parameters)
        for i in reversed(range(len(self.layers))):
            x = values[i]
            if weights[i]:
                targets[i][0][...] = x.T @ g
                targets[i][1][...] = g.sum(axis=0)
                g = g @ weights[i][0].T
            else:
                kind, _, numbers = self.layers[i]
                g = product(kind, numbers, x, g)
        return gradient, g

    def forward(self, parameters, X):
        return self._inputs(np.asarray(parameters, np.float64), X)[-1]

    def loss_and_grad(self, parameters, X, y, loss, weights=None):
        parameters = np.asarray(parameters, np.float64)
        values = self._inputs(parameters, X)
        g = loss_gradient(values[-1], y, loss, weights)
        return loss_value(values[-1], y, loss, weights), self._backward(parameters, values, g)[0]

    def vjp(self, parameters, X, dout):
        """Return (J.T dout in the parameters, in X)."""
        parameters = np.asarray(parameters, np.float64)
        return self._backward(parameters, self._inputs(parameters, X), np.asarray(dout, np.float64))

    def jvp(self, parameters, v, X):
        """Return (out, dout): outputs and their derivative along v in parameter space."""
        parameters, v = np.asarray(parameters, np.float64), np.asarray(v, np.float64)
        values = self._inputs(parameters, X)
        return values[-1], self._tangents(parameters, v, values)[-1]

    def hvp(self, parameters, v, X, y, loss, weights=None):
        """Hessian of the mean loss times v: Pearlmutter (1994), the derivative of backprop."""
        parameters, v = np.asarray(parameters, np.float64), np.asarray(v, np.float64)
        values = self._inputs(parameters, X)
        tangents = self._tangents(parameters, v, values)
        g = loss_gradient(values[-1], y, loss, weights)
        dg = loss_hvp(values[-1], tangents[-1], y, loss, weights)
        result = np.zeros(self.n_parameters)
        targets = self.unflatten(result)
        weights, directions = self.unflatten(parameters), self.unflatten(v)
        for i in reversed(range(len(self.layers))):
            x, dx = values[i], tangents[i]
            if weights[i]:
                targets[i][0][...] = dx.T @ g + x.T @ dg
                targets[i][1][...] = dg.sum(axis=0)
                g, dg = g @ weights[i][0].T, dg @ weights[i][0].T + g @ directions[i][0].T
            else:
                kind, _, numbers = self.layers[i]
                dg = product_tangent(kind, numbers, x, dx, g, dg)
                g = product(kind, numbers, x, g)
        return result

    def distance_to_kink(self, parameters, X):
        """Per row, the smallest distance of an activation's input to one of its kinks; inf where
        there is none. On a kink does not count: zeros of an earlier ReLU that is off, or the ends
        of a hard tanh, stay there."""
        distance = np.full(len(X), np.inf)
        values = self._inputs(np.asarray(parameters, np.float64), X)
        for (kind, _, numbers), z in zip(self.layers, values[:-1], strict=True):
            for kink in KINKS.get(kind, lambda *_: ())(*numbers):
                far = np.where(z == kink, np.inf, np.abs(z - kink)).min(axis=1)
                distance = np.minimum(distance, far)
        return distance

    def train(
        self,
        parameters,
        X,
        y,
        loss,
        order,
        batch_size,
        lr,
        update,
        state,
        step,
        weights=None,
        batches_per_step=1,
    ):
        """Run one epoch in place; return [sum of w times loss, of w of right rows, steps].

        Several batches of one step are one large batch here. The numbers of `update` may be
        arrays, one value for each step.
        """
        weights = np.ones(len(X)) if weights is None else np.asarray(weights, np.float64)
        report = [0.0, 0.0, 0]
        batch_size *= batches_per_step
        for k, start in enumerate(range(0, len(order), batch_size)):
            rows = order[start : start + batch_size]
            z = self.forward(parameters, X[rows])
            report[0] += weights[rows] @ loss_rows(z, y[rows], loss)
            report[1] += weights[rows] @ right_rows(z, y[rows], loss)
            gradient = self.loss_and_grad(parameters, X[rows], y[rows], loss, weights[rows])[1]
            gradient *= weights[rows].sum() / len(rows)  # sum(w l) / n
            now = {name: v[k] if np.ndim(v) else v for name, v in update[1].items()}
            apply_update((update[0], now), parameters, gradient, state, lr[k], step + k)
            report[2] += 1
        return report


# --------------------------------------------------------------------------------------- optimizers


def apply_update(update, p, g, state, lr, step):
    """One optimizer step in place, in torch's formulas; `step` counts the steps already taken."""
    name, options = update
    weight_decay = options["weight_decay"]
    if name == "sgd":
        momentum = options["momentum"]
        g = g + weight_decay * p
        if state:
            (velocity,) = state
            velocity[:] = momentum * velocity + g
            g = g + momentum * velocity if options["nesterov"] else velocity
        p -= lr * g
        return
    m, v = state
    beta1, beta2, t = options["beta1"], options["beta2"], step + 1
    if name == "adamw":  # decoupled: Loshchilov and Hutter (2019)
        p *= 1 - lr * weight_decay
    else:
        g = g + weight_decay * p
    m[:] = beta1 * m + (1 - beta1) * g
    v[:] = beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    p -= lr * m_hat / (np.sqrt(v_hat) + options["eps"])


def initial_state(update, n_parameters, dtype=np.float64):
    """Return the zero-filled state vectors that `update` works on."""
    name, options = update
    count = 2 if name != "sgd" else 1 if np.any(options["momentum"]) else 0
    return [np.zeros(n_parameters, dtype) for _ in range(count)]
