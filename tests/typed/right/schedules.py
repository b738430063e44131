"""Schedules: of one step, of many, and as hyper-parameters."""

import numpy as np
import numpy.typing as npt

import pyfast_nn as fnn
from pyfast_nn import schedules

cosine = schedules.Cosine(0.1, 100, end=1e-3)
start: float = cosine.start
steps: int = cosine.steps
first: float = cosine(0)
some: npt.NDArray[np.float64] = cosine([0, 10, 20])
more: npt.NDArray[np.float64] = cosine(np.arange(100))
last: npt.NDArray[np.float64] = cosine(range(90, 100))


def own(step: int) -> float:
    return 0.1 / (1 + step)


print(schedules.Warmup(cosine, 5), schedules.Sequence([0.1, cosine, own], [10, 20])(30))
print(schedules.Cyclic(0.1, 0.5, mode="triangular2"), schedules.MultiStep(0.1, [30, 60], gamma=0.5))
lr = schedules.OneCycle(0.5, 1000, anneal_strategy="linear")
sgd = fnn.optim.SGD(lr=lr, momentum=lr.momentum())
adam = fnn.optim.Adam(lr=own, betas=(schedules.Linear(0.9, 100), 0.999))
rms = fnn.optim.RMSprop(lr=np.linspace(0.1, 0.01, 10), alpha=[0.9, 0.99])
print(start, steps, first, some, more, last, sgd, adam, rms)
