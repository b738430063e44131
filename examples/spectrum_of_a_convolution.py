"""
The large eigenvalues of a convolutional network's Hessian are those of Gauss-Newton
====================================================================================

The Hessian of the mean loss is the sum of two parts: the Gauss-Newton matrix J' H J, which is
positive semi-definite, and what the residuals add. Of a network that classifies well the residuals
are small: all but a few eigenvalues form a bulk near zero, negative ones among them, and those that
stand far outside are those of the Gauss-Newton matrix (V. Papyan 2018,
https://arxiv.org/abs/1811.07062). Products with either cost a few gradients, whatever the number of
parameters: Lanczos' method finds the spectrum by some of them, and Hutchinson's the traces.

Needs SciPy: ``pip install 'pyfast-nn[curvature,plot]'``.
"""

import matplotlib.pyplot as plt
import numpy as np

import pyfast_nn as fnn

plt.style.use("tableau-colorblind10")
EPOCHS = 60
ROWS = 600
PROBES = 8  # random vectors for the spectrum
SAMPLES = 200  # for the traces

X, y = fnn.datasets.load_digits()
X, y = X[:ROWS].reshape(-1, 8, 8, 1) / np.float32(16), y[:ROWS]
layers = [
    *(fnn.Conv2d(4, 3), fnn.Tanh()),
    *(fnn.Conv2d(8, 3, 2), fnn.Tanh()),
    *(fnn.Flatten(), fnn.Dense(10)),
]
model = fnn.Sequential(layers, seed=0)
model.fit(X, y, loss="cross_entropy", epochs=EPOCHS, batch_size=32, verbose=0)
print(f"{model.n_parameters} parameters, accuracy {model.evaluate(X, y)['accuracy']:.3f}")

# %%
# Both operators, by their products: traces with their standard errors, the largest eigenvalues, and
# the distribution of all of them.

hessian = fnn.curvature.Hessian(model, X, y)
gauss_newton = fnn.curvature.GaussNewton(model, X, y)
traces, tops = {}, {}
for name, A in (("Hessian", hessian), ("Gauss-Newton", gauss_newton)):
    traces[name] = fnn.curvature.hutchinson_trace(A, num_matvecs=SAMPLES)
    tops[name] = fnn.curvature.top_eigenpairs(A, 16, tol=1e-3)[0]
    print(f"{name:>12s}: trace {traces[name].value:.3f} +- {traces[name].std_error:.3f}")
    print(f"{'':12s}  eigenvalues", " ".join(f"{each:.3f}" for each in tops[name]))
density = fnn.curvature.spectral_density(hessian, num_probes=PROBES)

# %%
# All eigenvalues, from as many products as there are parameters, which few networks are small
# enough for.

products = hessian @ np.eye(model.n_parameters, dtype=np.float32)
eigenvalues = np.linalg.eigvalsh((products + products.T) / 2)[::-1]
error = np.abs(tops["Hessian"] / eigenvalues[:16] - 1).max()
outside = int(np.sum(eigenvalues > eigenvalues[0] / 20))
negative = -eigenvalues[eigenvalues < 0].sum() / np.abs(eigenvalues).sum()
print(f"largest eigenvalues by products against all of them: {error:.0e}")
print(f"beyond a twentieth of the largest: {outside} of {len(eigenvalues)}")
print(f"of the sum of their sizes, negative: {100 * negative:.1f}%")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
rank = np.arange(1, 17)
left.semilogy(rank, eigenvalues[:16], "ko", mfc="none", ms=9, label="Hessian, all products")
left.semilogy(rank, tops["Hessian"], "C0.", label="Hessian")
left.semilogy(rank, tops["Gauss-Newton"], "C1x", label="Gauss-Newton")
left.set(xlabel="rank", ylabel="eigenvalue", title="the largest")
left.legend()
width = eigenvalues[0] / 100
grid = np.linspace(eigenvalues[-1] - 4 * width, eigenvalues[0] + 4 * width, 600)
exact = np.exp(-(((grid[:, None] - eigenvalues) / width) ** 2) / 2).mean(axis=1)
right.semilogy(grid, exact / width / np.sqrt(2 * np.pi), "k", lw=3, alpha=0.3, label="exact")
right.semilogy(grid, density.density(grid, width), label=f"{density.num_matvecs} products")
right.set(xlabel="eigenvalue", title="density of the Hessian's", ylim=(1e-5, None))
right.legend()
figure.savefig("spectrum_of_a_convolution.png")
