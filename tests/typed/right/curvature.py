"""The third door: curvature of a model, and estimators over any operator."""

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, eigsh

import pyfast_nn as fnn
from pyfast_nn import curvature

X, y = fnn.datasets.make_two_spirals(100, noise=0.02)
model = fnn.Sequential([fnn.Dense(5), fnn.ReLU(), fnn.Dense(2)], dtype="float64").build(2)

H = curvature.Hessian(model, X, y, loss="cross_entropy", damping=1e-3, restrict=[0, "2.weight"])
v = np.ones(H.shape[1])
curved = float(v @ (H @ v))
forms: npt.NDArray[np.float64] = H.quadratic_form(np.eye(len(v), 3))
values, vectors = eigsh(H, k=2)
largest, _ = curvature.top_eigenpairs(H, 1, which="LA", tol=1e-3)
print(curved, forms, values[0], vectors.shape, largest[0], H.keys, H.dtype.name)

trace: float = curvature.exact_trace(curvature.GaussNewton(model, X, y, "cross_entropy"))
parts: dict[str, float] = curvature.exact_trace(H, per_parameter=True)
estimate = curvature.hutchinson_trace(H, num_matvecs=20, distribution="gaussian")
low: float = estimate.value - 2 * estimate.std_error
of_layers = curvature.hutchinson_trace(H, num_matvecs=20, per_parameter=True)
print(trace, parts, low, of_layers["0.weight"].value)
diagonal: npt.NDArray[np.float64] = curvature.hutchinson_diagonal(H, num_matvecs=9).value
spectrum = curvature.spectral_density(H, lanczos_steps=5, num_probes=2)
print(diagonal.max(), spectrum.cdf([0.0, 1.0]), spectrum.spectral_sum(np.exp).value)

matrix = np.diag([1.0, 2.0, 3.0])
for A in (matrix, scipy.sparse.csr_array(matrix), LinearOperator((3, 3), matvec=matrix.dot)):
    print(curvature.xtrace(A, num_matvecs=4).value)
print(curvature.condition_number(lambda x: 2 * x, n=3), fnn.inspect.max_stable_lr(matrix))

J = curvature.Jacobian(model, X[:3])
K = curvature.NTK(model, X[:3], restrict=0)
print((J.rmatvec(J @ np.ones(J.shape[1]))).shape, K @ np.ones(K.shape[0]))
print(curvature.sharpness(model, X, y, "ball", loss="cross_entropy", radius=0.1))
for gradients in curvature.per_example_gradients(model, X, y, "cross_entropy", batch_size=32):
    print(np.linalg.norm(gradients, axis=1))

features = fnn.inspect.local_features(model, X[:10], k=3)
activity = fnn.inspect.unit_activity(model, X)
directions = fnn.inspect.random_directions(model, 2)
landscape = fnn.inspect.loss_landscape(
    model, X, y, directions, np.linspace(-1, 1, 3), loss="cross_entropy"
)
variances = fnn.inspect.layer_variances(model, X, y, loss="cross_entropy")
modes = fnn.inspect.convergence_modes([4.0, 1.0], lr=0.4, momentum=0.5)
print(features.singular_values, activity.dead[0].sum(), landscape.losses.min(), modes.rates)
print(variances.names, variances.activations)
landscape.plot(ax=None)
bound = fnn.inspect.pac_bayes_bound(
    model, X, y, loss="cross_entropy", prior=model.parameters, steps=2, samples=2
)
margins = fnn.inspect.margins(
    model, X, y, normalized=True, reference=np.zeros(model.n_parameters), loss="cross_entropy"
)
print(bound.bound + 0.0, bound.mean.sum(), margins.values.min())
print(fnn.inspect.norm_measures(model).spectral_product + 0.0)
