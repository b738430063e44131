"""Lines on curvature that must fail: each names the error that it is to be."""

import numpy as np

import pyfast_nn as fnn
from pyfast_nn import curvature

X, y = fnn.datasets.make_xor()
model = fnn.Sequential([fnn.Dense(2)]).build(2)
H = curvature.Hessian(model, X, y, loss="cross_entropy")
estimate = curvature.hutchinson_trace(H, num_matvecs=4)

curvature.Hesian(model, X, y)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
curvature.Hessian(model)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
curvature.Hessian(X, model, y)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
curvature.Hessian(model, X, y, dampin=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
curvature.NTK(model, X, dampin=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
curvature.hutchinson_trace(model)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
curvature.hutchinson_trace(H, matvecs=10)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
curvature.hutchinson_trace(H, num_matvecs=4, distribution="uniform")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
curvature.top_eigenpairs(H, 1, which="largest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
curvature.exact_trace(np.eye(2))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
curvature.exact_trace(H, per_parameter=True) + 1.0  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
curvature.exact_trace(H)["0.weight"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
curvature.sharpness(model, X, y, "cube")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
curvature.spectral_density(H).density(0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
print(estimate.values)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
estimate.value["0.weight"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
shape: str = H.shape  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
fnn.inspect.loss_landscape(model, X, y)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.inspect.unit_activity(model)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.inspect.local_features(model, X, k="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
