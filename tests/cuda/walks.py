"""All that a device computes of small networks that are graphs, beside the processor.

A script, as what it opens is compiled with AddressSanitizer, which has to be loaded first. Its
argument is the library; it prints what differs, and at the end a digest of all bits.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import test_ops_of_networks as networks
from pyfast_nn import _core

KINDS = ["dense", "identity", "softmax", "add", "multiply", "concatenate", "slice", "scale"]
KINDS += [
    "prelu",
    "dropout",
    "gaussian_noise",
    "layer_norm",
    "rms_norm",
    "group_norm",
    "batch_norm",
]
PLACES = [
    networks.alone,
    networks.before_what_keeps_its_input,
    networks.beside_a_branch,
    networks.with_two_readers,
    networks.of_one_value,
    networks.over_a_frozen_layer,
    networks.used_twice,
]


def train_mixed(problem):
    """Parameters after an epoch on mixed examples."""
    parameters, steps = problem.parameters.copy(), 4
    problem.net.train(
        parameters, problem.X, problem.y, problem.loss, order=np.arange(len(problem.X)),
        batch_size=10, lr=np.full(steps, 0.02), update=networks.SGD, state=[], step=0,
        report=np.zeros(3), model_state=problem.state, mixup=0.4, run=problem.run,
    )  # fmt: skip
    return parameters


def calibrated(problem):
    """What layers keep besides parameters, of these examples."""
    state = problem.state.copy()
    problem.net.calibrate(problem.parameters, problem.X, state)
    return state


def computed(problem):
    """Everything, as pairs of a name and an array."""
    yield "forward", problem.forward()
    yield from zip(("loss", "gradient"), problem.loss_and_grad(), strict=True)
    yield from zip(("out", "vjp", "dX"), problem.vjp(), strict=True)
    yield from zip(("out", "jvp"), problem.jvp(), strict=True)
    yield "hvp", problem.hvp()
    yield from (("train", problem.train(10)), ("two batches a step", problem.train(10, 2)))
    yield "mixed", train_mixed(problem)
    for kind in ("gauss_newton", "empirical_fisher"):
        yield kind, problem.products(kind)
        yield f"forms of {kind}", problem.quadratic_forms(kind)
    jacobian = problem.operator("jacobian")
    out = problem.empty(len(problem.V), len(problem.X) * problem.net.out_features)
    jacobian.jacobian_products(problem.V, out)
    back = problem.empty(len(problem.U), problem.net.n_parameters)
    jacobian.jacobian_transposed_products(problem.U.reshape(2, -1), back)
    yield from (("J v", out), ("J' u", back))
    if problem.state is not None:
        yield "calibrated", calibrated(problem)
    if problem.net.n_parameters > 0:
        yield "along", problem.losses_along(np.array([[0.0, 0.0], [0.3, 0.0], [0.1, -0.2]]))
    if problem.net.inexact or (problem.training and problem.net.couples_rows):
        return
    for signs in (None, np.sign(problem.U[0])):
        operator = problem.operator("gauss_newton")
        yield from zip(("traces", "of rows"), operator.traces(signs), strict=True)
        diagonal = problem.empty(problem.net.n_parameters)
        operator.diagonal(diagonal, signs)
        yield "diagonal", diagonal
    gradients = problem.empty(len(problem.X), problem.net.n_parameters)
    problem.operator("empirical_fisher").example_gradients(gradients)
    yield "gradients of examples", gradients


def main(library):
    _core.open_device(library)
    wrong, bits = 0, hashlib.sha256()
    for i, kind in enumerate(KINDS):
        for k, place in enumerate(PLACES):
            if not networks.is_possible(kind, place):
                continue
            training, dtype = (i + k) % 2 == 0, ("float64", "float32")[(i + k) // 2 % 2]
            layers = networks.layers_of(kind, place, 9)
            rng = np.random.default_rng(5)
            loss = "cross_entropy" if place is networks.with_two_readers else "mse"
            problem = networks.Problem(rng, dtype, networks.IN, layers, 37, training, loss)
            expected = list(computed(problem))
            problem.net = _core.Network(dtype, networks.IN, layers, True, "cuda")
            for (name, one), (_, other) in zip(expected, computed(problem), strict=True):
                bits.update(np.ascontiguousarray(other).tobytes())
                scale = max(np.abs(one).max(initial=0), 1e-3)
                error = np.abs(np.subtract(one, other)).max(initial=0) / scale
                if not error < {"float64": 1e-11, "float32": 2e-4}[dtype]:
                    print(f"{kind} {place.__name__} {dtype} {training}: {name} differs by {error}")
                    wrong += 1
    print("bits", bits.hexdigest())
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) != 0)
