"""The kernels, with and without `out`."""

import numpy as np
import numpy.typing as npt

from pyfast_nn import ops

rng = np.random.default_rng(0)
x: npt.NDArray[np.float64] = rng.normal(size=(4, 3))
w, b = rng.normal(size=(3, 2)), np.zeros(2)
z = np.empty((4, 2))
dw, db = np.empty_like(w), np.empty_like(b)

ops.dense_forward(x, w, b, out=z)
a = ops.leaky_relu(z, 0.1)
loss, dz = ops.cross_entropy(a, [0, 1, 1, 0], label_smoothing=0.1, class_weight="balanced", out=z)
dx, dw_again, db_again = ops.dense_backward(dz, x, w, out=(None, dw, db))
ops.dense_backward(dz, x, w, input_gradient=False)
norm: float = ops.clip_grad_norm([dw, db], 1.0)
product: npt.NDArray[np.float32] = ops.gemm(np.ones((2, 2), np.float32), np.eye(2), alpha=2)
print(round(loss, 3), dx.shape, dw_again is dw, db_again is db, norm, product.sum())
print(ops.softmax([[1.0, 2.0]]), ops.gelu([1.0], "tanh"), ops.mse([[1.0]], [2.0])[0])
