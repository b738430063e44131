"""PyTorch on a GPU, where all examples lie: eager, compiled, and steps replayed by CUDA graphs."""

from contextlib import contextmanager
from functools import partial

import torch

from contestants.torch_mlp import LOSS, network

DEVICE = "cuda"
WARM_UP = 3  # steps before a capture, as torch's documentation asks for


@contextmanager
def rounding(compute_dtype):
    """Within, products are as torch computes them with operands of that type."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = compute_dtype == "tfloat32"
    halves = compute_dtype == "bfloat16"
    try:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=halves, cache_enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class Training:
    """A network on examples; a step is compiled, or captured once and replayed, where asked for."""

    def __init__(
        self, layers, x, y, batch_size, compiled=False, captured=False, compute_dtype="float32"
    ):
        self.rounding = partial(rounding, compute_dtype)
        self.model = network(layers).train().to(DEVICE)
        self.x, self.y = (torch.from_numpy(array).to(DEVICE) for array in (x, y))
        self.batch_size = batch_size
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, fused=True, capturable=captured
        )
        self.loss = torch.compile(self._loss) if compiled else self._loss
        self.rows = torch.arange(batch_size, device=DEVICE)  # of a captured step
        self.graph = self._capture() if captured else None

    def _loss(self, x, y):
        return LOSS(self.model(x), y)

    def step(self, rows):
        self.optimizer.zero_grad(set_to_none=True)
        with self.rounding():
            self.loss(self.x.index_select(0, rows), self.y.index_select(0, rows)).backward()
        self.optimizer.step()

    def _capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.step(self.rows)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(self.rows)
        return graph

    def run(self, epochs):
        for _ in range(epochs):
            for rows in torch.randperm(len(self.x), device=DEVICE).split(self.batch_size):
                if self.graph is None:
                    self.step(rows)
                else:
                    self.rows.copy_(rows)
                    self.graph.replay()
        wait()


def wait():
    torch.cuda.synchronize()


def trainers(layers, x, y, batch_size):
    """Return {name: run(epochs)}."""
    make = partial(Training, layers, x, y, batch_size)
    torch.compiler.reset()
    return {
        "torch eager": make().run,
        "torch compiled": make(compiled=True).run,
        "torch CUDA graphs": make(captured=True).run,
        **{
            f"torch CUDA graphs, {name}": make(captured=True, compute_dtype=name).run
            for name in ("tfloat32", "bfloat16")
        },
    }


def adam(size):
    """Return parameters and their gradient, and a step of fused Adam on others like them."""
    parameters, gradient, others = (torch.randn(size, device=DEVICE) for _ in range(3))
    others.grad = gradient
    return parameters, gradient, torch.optim.Adam([others], lr=1e-3, fused=True).step


def copying(size):
    """Return a copy of float32 numbers within the memory of the GPU."""
    a, b = (torch.zeros(size, device=DEVICE) for _ in range(2))
    return partial(a.copy_, b)


def hessian_product(layers, x, y, v):
    """Return a product by curvlinops; ImportError without it."""
    from curvlinops import HessianLinearOperator

    model = network(layers).to(DEVICE)
    examples = [(torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).to(DEVICE))]
    parameters = list(model.parameters())
    operator = HessianLinearOperator(model, LOSS, parameters, examples, check_deterministic=False)
    there = torch.from_numpy(v).to(DEVICE)
    return lambda: operator @ there
