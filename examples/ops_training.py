"""
A network from its pieces
=========================

A loop of one's own, in which every heavy line is one call of ``fnn.ops``: two layers forward, the
loss with its derivative, two layers backward, the norm of all gradients clipped, and a step of
gradient descent with momentum in NumPy. It writes into its own arrays (``out=``), so that after
the first step nothing is allocated for the gradients.

The picture shows the loss and the accuracy on handwritten digits that it has not seen. The numbers
are the accuracy in the end, and the largest difference from `Sequential.loss_and_grad`, relative to
the largest derivative: the functions are the kernels that a model runs.
"""

import numpy as np

import pyfast_nn as fnn
from _gallery import run, sheet
from pyfast_nn import ops


def forward(parameters, X):
    w1, b1, w2, b2 = parameters
    z1 = ops.dense_forward(X, w1, b1)
    a1 = ops.gelu(z1)
    return z1, a1, ops.dense_forward(a1, w2, b2)


def loss_and_gradients(parameters, X, y, gradients):
    """Return the loss; its derivatives in w1, b1, w2 and b2 go into `gradients`."""
    z1, a1, z2 = forward(parameters, X)
    loss, dz2 = ops.cross_entropy(z2, y, label_smoothing=0.1, out=z2)
    da1, *_ = ops.dense_backward(dz2, a1, parameters[2], out=(None, *gradients[2:]))
    dz1 = ops.gelu_backward(da1, z1, out=da1)
    ops.dense_backward(dz1, X, parameters[0], input_gradient=False, out=(None, *gradients[:2]))
    return loss


def train(parameters, X, y, Xt, yt, epochs, lr=0.1, momentum=0.9, batch_size=64):
    """Return the mean loss and the accuracy on (Xt, yt) of each epoch, (epochs, 2)."""
    rng, history = np.random.default_rng(0), []
    gradients, velocities = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for _ in range(epochs):
        losses = []
        for rows in np.array_split(rng.permutation(len(X)), len(X) // batch_size):
            losses.append(loss_and_gradients(parameters, X[rows], y[rows], gradients))
            ops.clip_grad_norm(gradients, 1.0)
            for p, g, v in zip(parameters, gradients, velocities, strict=True):
                v *= momentum
                v += g
                p -= lr * v
        right = forward(parameters, Xt)[2].argmax(axis=1) == yt
        history.append((np.mean(losses), right.mean()))
    return np.array(history)


def main(quick=False):
    X, y = fnn.datasets.load_digits()
    X, Xt, y, yt = X[300:] / 16, X[:300] / 16, y[300:], y[:300]
    model = fnn.Sequential([fnn.Dense(64), fnn.GELU(), fnn.Dense(10)], dtype="float64", seed=0)
    model.build(64)
    parameters = [model.parameters[:4096].reshape(64, 64), model.parameters[4096:4160]]
    parameters += [model.parameters[4160:4800].reshape(64, 10), model.parameters[4800:]]  # views

    gradients = [np.empty_like(p) for p in parameters]
    loss_and_gradients(parameters, X, y, gradients)
    _, expected = model.loss_and_grad(X, y, loss=fnn.losses.CrossEntropy(label_smoothing=0.1))
    difference = abs(np.concatenate([g.ravel() for g in gradients]) - expected).max()

    history = train(parameters, X, y, Xt, yt, epochs=5 if quick else 20)
    figure, (left, right) = sheet(2)
    left.plot(history[:, 0])
    left.set(xlabel="epoch", ylabel="loss", title="Training")
    right.plot(history[:, 1])
    right.set(xlabel="epoch", ylabel="accuracy", title="Unseen digits")
    return figure, {
        "accuracy on unseen digits": history[-1, 1],
        "largest relative difference from the model's gradient": difference / abs(expected).max(),
    }


if __name__ == "__main__":
    run(main)
