"""A loss of one's own by `vjp`; gradients, Hessian products, directional derivatives."""

import numpy as np
import numpy.typing as npt

import pyfast_nn as fnn

X, y = fnn.datasets.make_noisy_sine(50)
model = fnn.Sequential([fnn.Dense(8), fnn.Tanh(), fnn.Dense(1)], dtype=np.dtype("float64")).build(1)
adam = fnn.optim.Adam(model.parameters, lr=1e-2)


def quartic(z: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    error = z - y[:, None]
    return float(np.mean(error**4)), 4 * error**3 / error.size


for _ in range(3):
    out, pullback = model.vjp(X)
    value, dout = quartic(out)
    dparams, dX = pullback(dout)
    adam.step(dparams)
    print(value, dX.shape)

loss, grad = model.loss_and_grad(X, y, loss="mse")
model.parameters -= 0.1 * grad
out, along = model.jvp(X, grad)
print(round(loss, 3), model.hvp(X, y, grad, loss="mse") @ grad, along.sum())
predictions: npt.NDArray[np.float64] = model.predict(X, loss="mse")

# Through a fit: features of five rows for the others.
features, through_network = model.vjp(X)
predicted, through_fit = fnn.Ridge(0.1).vjp(features[:5], np.eye(5), features[5:])
gradients = through_fit(np.ones_like(predicted))
rows = np.concatenate([gradients.support, gradients.query])
print(through_network(rows)[0].shape, gradients.lam + 0.0, fnn.Ridge().lam)
