"""Lines on kernels, data and threads that must fail: each names the error that it is to be."""

import numpy as np

from pyfast_nn import datasets, ops

z = np.zeros((2, 3))

ops.softmx(z)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
ops.relu(z, z)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ops.relu(z, out=[0.0])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ops.gelu(z, "erf")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ops.dense_forward(z, z)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ops.dense_backward(z, z, z, out=z)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ops.cross_entropy(z)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ops.cross_entropy(z, [0, 1], label_smoothing="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ops.mse(z, z, class_weight="balanced")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ops.clip_grad_norm(z)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ops.clip_grad_norm([[1.0]], 1.0)  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
loss, dz, rest = ops.mse(z, z)  # type: ignore[misc]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
text: str = ops.softmax(z)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
datasets.make_xr()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
datasets.make_xor(noise="much")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
datasets.make_parity(n_features=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
datasets.stratified_split([0, 1], 0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
datasets.read_npz(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
datasets.read_idx()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
X, y, more = datasets.load_digits()  # type: ignore[misc]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
