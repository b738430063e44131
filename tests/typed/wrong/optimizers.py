"""Lines on optimizers and schedules that must fail: each names the error that it is to be."""

import numpy as np

import pyfast_nn as fnn

w = np.ones((3, 2))
adam = fnn.optim.Adam(w)
cosine = fnn.schedules.Cosine(0.1, 100)

fnn.optim.Adm(w)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
fnn.optim.Adam(w, 1e-3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.optim.Adam(w, learning_rate=1e-3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.optim.Adam(w, clip_nrm=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.optim.Adam(w, clip_norm="one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(lr="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(lr=fnn.schedules.Cosine)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(betas=0.9)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(eps_mode="jax")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam("weights")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(["weights"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
fnn.optim.SGD(w, nesterov=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Muon(w, fallback=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.optim.Adam(w, groups={"w": 0.1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
adam.learning_rate = 10  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
adam.lr = "fast"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
adam.betas = 0.9  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
adam.clip_norm = "one"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
adam.step()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
adam.step("gradient")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
adam.step(w, w)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
adam.stp(w)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
adam.param_groups["lr"]  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
adam.step_count + "1"  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
adam.load_state_dict([])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
adam.save()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.optim.as_scipy(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

fnn.schedules.Cosine(0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.schedules.Cosine("0.1", 100)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.schedules.Cosine(0.1, 100, 0.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
fnn.schedules.Cyclic(0.1, 0.5, mode="square")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.schedules.OneCycle(0.1, 100, anneal_strategy="cosine")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fnn.schedules.MultiStep(0.1, 30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
print(cosine.peak)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
cosine("first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
cosine.start + "1"  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
value: str = cosine(0)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
