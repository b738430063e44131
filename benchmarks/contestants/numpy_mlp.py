"""Plain NumPy: the loop that one writes by hand, with the obvious in-place operations."""

import numpy as np

from contestants import networks

NAME = "NumPy"
KINDS = networks.CHAIN


class Adam:
    def __init__(self, parameters, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.m = [np.zeros_like(p) for p in parameters]
        self.v = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, parameters, grads):
        self.steps += 1
        rate = self.lr / (1 - self.beta1**self.steps)
        root = (1 - self.beta2**self.steps) ** 0.5
        for p, g, m, v in zip(parameters, grads, self.m, self.v, strict=True):
            m *= self.beta1
            m += (1 - self.beta1) * g
            v *= self.beta2
            v += (1 - self.beta2) * g * g
            p -= rate * m / (np.sqrt(v) / root + self.eps)


def initial_parameters(layers, rng):
    """w, b, w, b, ..."""
    parameters = []
    for inputs, outputs in networks.dense_sizes(layers):
        w = rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))
        parameters += [w.astype(np.float32), np.zeros(outputs, np.float32)]
    return parameters


def activate(parameters, x):
    """Return the input of each layer, and the probabilities of the classes."""
    weights, biases = parameters[::2], parameters[1::2]
    activations = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        activations.append(np.maximum(activations[-1] @ w + b, 0))
    z = activations[-1] @ weights[-1] + biases[-1]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return activations, p


def gradients(parameters, x, y):
    """Gradients of the mean cross-entropy, in the order of `parameters` (w, b, w, b, ...)."""
    weights = parameters[::2]
    activations, delta = activate(parameters, x)
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    grads = []
    for layer in reversed(range(len(weights))):
        grads += [delta.sum(axis=0), activations[layer].T @ delta]
        if layer:
            delta = delta @ weights[layer].T
            delta *= activations[layer] > 0
    return grads[::-1]


def predictor(layers, x):
    parameters = initial_parameters(layers, np.random.default_rng(0))

    def run(count):
        for _ in range(count):
            activate(parameters, x)

    return run


def trainer(layers, x, y, batch_size):
    rng = np.random.default_rng(0)
    parameters = initial_parameters(layers, rng)
    adam = Adam(parameters)

    def run(epochs):
        for _ in range(epochs):
            order = rng.permutation(len(x))
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                adam.step(parameters, gradients(parameters, x[rows], y[rows]))

    return run
