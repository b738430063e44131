"""The second door: an optimizer for arrays of one's own, in any structure."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

import pyfast_nn as fnn

Floats = npt.NDArray[np.float64]

w: Floats = np.ones((3, 2))
adam = fnn.optim.Adam(w, lr=1e-3, betas=(0.9, 0.99), eps_mode="keras")
adam.step(np.ones_like(w))
adam.betas = [0.8, 0.99]

several: list[Floats] = [np.zeros(3), np.zeros((2, 2))]
sgd = fnn.optim.SGD(several, lr=0.1, momentum=0.9, nesterov=True)
sgd.step([np.ones_like(p) for p in several])
sgd.step([None, np.ones((2, 2))])
sgd.lr *= 0.5
rate: float = sgd.lr
sgd.momentum = fnn.schedules.Linear(0.9, 100)


named: dict[str, Floats] = {"w": np.ones((3, 2)), "b": np.zeros(2)}
nested: dict[str, list[dict[str, Floats]]] = {"layers": [{"w": np.ones((3, 2)), "b": np.zeros(2)}]}
lion = fnn.optim.Lion(named, lr=[0.1, 0.01], groups=lambda key: {"weight_decay": 0.0})
lion.step({"w": np.ones((3, 2)), "b": np.ones(2)})
muon = fnn.optim.Muon(nested, fallback=fnn.optim.AdamW(lr=3e-4), ema=0.99)
muon.step({"layers": ({"w": np.ones((3, 2)), "b": np.ones(2)},)})
with muon.averaged():
    print(nested["layers"][0]["w"])
print(muon.averages["layers"][0]["b"], muon.state["layers.0.b"]["exp_avg"])
muon.clip_norm = 1
norm: float | None = muon.grad_norm

mixed = {"layers": [w, np.zeros(2)], "scale": np.ones(()), "head": {"b": np.zeros(1)}}
fnn.optim.NAdam(mixed).step({**copy.deepcopy(mixed), "scale": np.float64(1.0)})

groups: list[dict[str, Any]] = [{"params": w, "lr": 0.1}, {"params": several}]
rms = fnn.optim.RMSprop(groups, alpha=0.9, accumulate=2)
rms.param_groups[1]["lr"] = 1e-4
rms.load_state_dict(rms.state_dict())
count: int = rms.step_count

scalar = fnn.optim.Adagrad(np.zeros(()), lr=lambda step: 0.1 / (1 + step))
scalar.step(np.float64(1.0))


def square(x: Floats) -> tuple[float, Floats]:
    return float(x @ x), 2 * x


result = minimize(square, [1.0, 2.0], jac=True, method=fnn.optim.as_scipy("adam", lr=0.1))
print(result.x, rate, norm, count)
