"""The reference: everything the core computes, in float64 NumPy, from the formulas of textbooks.

Nothing here is fast and nothing is shared with the C++. A network is `(in_features, layers)` with
`layers` a list of `(kind, units)`; its parameters are one flat vector, layer after layer, each
dense layer its weight (in, out) row-major, then its bias (out,).
"""

from __future__ import annotations

import numpy as np

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


# kind: value, first derivative, second derivative, each as a function of the input z.
# The derivative of ReLU at 0 is 0, as in torch.
ACTIVATIONS = {
    "relu": (
        lambda z: np.maximum(z, 0.0),
        lambda z: (z > 0).astype(np.float64),
        lambda z: np.zeros_like(z),
    ),
    "tanh": (np.tanh, _tanh_first, lambda z: -2.0 * np.tanh(z) * _tanh_first(z)),
    "sigmoid": (
        sigmoid,
        _sigmoid_first,
        lambda z: _sigmoid_first(z) * (sigmoid(-z) - sigmoid(z)),
    ),
}


# ----------------------------------------------------------------------------------------- losses


def log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _probabilities(z, y):
    """Rows of probabilities (n, k), from themselves or from integer labels (n,)."""
    return np.eye(z.shape[1])[y] if y.ndim == 1 else np.asarray(y, np.float64)


def loss_rows(z, y, loss):
    """Loss of each row (n,), such that their mean is the loss of the batch."""
    if loss == "mse":
        return ((z - y) ** 2).mean(axis=1)
    return -(_probabilities(z, y) * log_softmax(z)).sum(axis=1)


def loss_value(z, y, loss):
    """Mean loss of a batch: over rows for cross-entropy, over all elements for mse."""
    return loss_rows(z, y, loss).mean()


def loss_gradient(z, y, loss):
    """Derivative of `loss_value` in the outputs z (n, k)."""
    if loss == "mse":
        return 2.0 * (z - y) / z.size
    p = _probabilities(z, y)
    return (np.exp(log_softmax(z)) * p.sum(axis=1, keepdims=True) - p) / len(z)


def loss_hvp(z, dz, y, loss):
    """Hessian of `loss_value` in the outputs, times the direction dz (n, k)."""
    if loss == "mse":
        return 2.0 * dz / z.size
    p, s = _probabilities(z, y), np.exp(log_softmax(z))
    mass = p.sum(axis=1, keepdims=True)
    return mass * (s * dz - s * (s * dz).sum(axis=1, keepdims=True)) / len(z)


def count_correct(z, y):
    """Number of rows whose largest output is the label (the first largest, as np.argmax)."""
    return int((z.argmax(axis=1) == y).sum())


# ---------------------------------------------------------------------------------------- networks


class Network:
    """A chain of layers. The four maps of a layer are one line each in the loops below."""

    def __init__(self, in_features, layers):
        self.in_features, self.layers = in_features, list(layers)
        self.shapes = []  # per layer (in, out) of the weight, or None
        width = in_features
        for kind, units in self.layers:
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
        for (kind, _), weights in zip(self.layers, self.unflatten(parameters), strict=True):
            x = values[-1]
            values.append(x @ weights[0] + weights[1] if weights else ACTIVATIONS[kind][0](x))
        return values

    def _tangents(self, parameters, v, values):
        """Directional derivative of every entry of `values` along v."""
        tangents = [np.zeros_like(values[0])]
        layers = zip(
            self.layers, self.unflatten(parameters), self.unflatten(v), values[:-1], strict=True
        )
        for (kind, _), weights, direction, x in layers:
            dx = tangents[-1]
            if weights:
                tangents.append(dx @ weights[0] + x @ direction[0] + direction[1])
            else:
                tangents.append(ACTIVATIONS[kind][1](x) * dx)
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
                g = ACTIVATIONS[self.layers[i][0]][1](x) * g
        return gradient, g

    def forward(self, parameters, X):
        return self._inputs(np.asarray(parameters, np.float64), X)[-1]

    def loss_and_grad(self, parameters, X, y, loss):
        parameters = np.asarray(parameters, np.float64)
        values = self._inputs(parameters, X)
        g = loss_gradient(values[-1], y, loss)
        return loss_value(values[-1], y, loss), self._backward(parameters, values, g)[0]

    def vjp(self, parameters, X, dout):
        """Return (J.T dout in the parameters, in X)."""
        parameters = np.asarray(parameters, np.float64)
        return self._backward(parameters, self._inputs(parameters, X), np.asarray(dout, np.float64))

    def jvp(self, parameters, v, X):
        """Return (out, dout): outputs and their derivative along v in parameter space."""
        parameters, v = np.asarray(parameters, np.float64), np.asarray(v, np.float64)
        values = self._inputs(parameters, X)
        return values[-1], self._tangents(parameters, v, values)[-1]

    def hvp(self, parameters, v, X, y, loss):
        """Hessian of the mean loss times v: Pearlmutter (1994), the derivative of backprop."""
        parameters, v = np.asarray(parameters, np.float64), np.asarray(v, np.float64)
        values = self._inputs(parameters, X)
        tangents = self._tangents(parameters, v, values)
        g = loss_gradient(values[-1], y, loss)
        dg = loss_hvp(values[-1], tangents[-1], y, loss)
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
                _, first, second = ACTIVATIONS[self.layers[i][0]]
                g, dg = first(x) * g, first(x) * dg + second(x) * dx * g
        return result

    def distance_to_kink(self, parameters, X):
        """Per row, the smallest |input of a ReLU|; inf where there is none. An exact zero does not
        count: it comes from an earlier ReLU that is off, and stays zero."""
        distance = np.full(len(X), np.inf)
        values = self._inputs(np.asarray(parameters, np.float64), X)
        for (kind, _), z in zip(self.layers, values[:-1], strict=True):
            if kind == "relu":
                distance = np.minimum(distance, np.where(z == 0, np.inf, np.abs(z)).min(axis=1))
        return distance

    def train(self, parameters, X, y, loss, order, batch_size, lr, update, state, step):
        """Run one epoch in place; return [sum of the rows' losses, right labels, steps]."""
        report = [0.0, 0, 0]
        for k, start in enumerate(range(0, len(order), batch_size)):
            rows = order[start : start + batch_size]
            z = self.forward(parameters, X[rows])
            report[0] += loss_rows(z, y[rows], loss).sum()
            report[1] += count_correct(z, y[rows]) if y.ndim == 1 else 0
            gradient = self.loss_and_grad(parameters, X[rows], y[rows], loss)[1]
            apply_update(update, parameters, gradient, state, lr[k], step + k)
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
        if momentum:
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
    count = 2 if name != "sgd" else 1 if options["momentum"] else 0
    return [np.zeros(n_parameters, dtype) for _ in range(count)]
