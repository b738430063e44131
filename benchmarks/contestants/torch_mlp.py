"""PyTorch, eager: the usual loop with fused Adam, batches taken by index_select."""

import numpy as np
import torch

from contestants import networks

NAME = "torch eager"
KINDS = networks.ALL
LOSS = torch.nn.CrossEntropyLoss()


class Residual(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = translate(layers)

    def forward(self, x):
        return x + self.layers(x)


class BatchNorm(torch.nn.modules.batchnorm._BatchNorm):
    """Of vectors, signals and images alike."""

    def _check_input_dim(self, x):
        pass


class MeanPool(torch.nn.Module):
    def forward(self, x):  # (n, channels, ...)
        return x.mean(tuple(range(2, x.ndim)))


class SumPool(torch.nn.Module):
    def forward(self, x):  # (n, positions, channels)
        return x.sum(1)


class Last(torch.nn.Module):
    """The last state of a recurrence."""

    def __init__(self, recurrence, inputs, units):
        super().__init__()
        self.of = recurrence(inputs, units, batch_first=True)

    def forward(self, x):
        return self.of(x)[0][:, -1]


class Positions(torch.nn.Module):
    def __init__(self, positions, units):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(positions, units))

    def forward(self, x):
        return x + self.weight


class Attention(torch.nn.Module):
    def __init__(self, units, heads):
        super().__init__()
        self.heads = heads
        self.to_all = torch.nn.Linear(units, 3 * units)
        self.out = torch.nn.Linear(units, units)

    def forward(self, x):
        n, times, units = x.shape
        split = self.to_all(x).view(n, times, 3, self.heads, units // self.heads)
        of_all = torch.nn.functional.scaled_dot_product_attention(
            *split.permute(2, 0, 3, 1, 4), is_causal=True
        )
        return self.out(of_all.transpose(1, 2).reshape(n, times, units))


def convolution(of):
    return lambda kernel, inputs, outputs, stride, padding: of(
        inputs, outputs, kernel, stride, padding
    )


LAYERS = {
    "dense": torch.nn.Linear,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "dropout": torch.nn.Dropout,
    "batch_norm": BatchNorm,
    "layer_norm": torch.nn.LayerNorm,
    "residual": Residual,
    "conv1d": convolution(torch.nn.Conv1d),
    "conv2d": convolution(torch.nn.Conv2d),
    "max_pool1d": torch.nn.MaxPool1d,
    "max_pool2d": torch.nn.MaxPool2d,
    "mean_pool": MeanPool,
    "sum_pool": SumPool,
    "flatten": lambda *shape: torch.nn.Flatten(),
    "lstm": lambda *numbers: Last(torch.nn.LSTM, *numbers),
    "gru": lambda *numbers: Last(torch.nn.GRU, *numbers),
    "embedding": torch.nn.Embedding,
    "positions": Positions,
    "attention": Attention,
}

# What torch calls the arrays of `networks.parameter_shapes`, and how it transposes them.
_RECURRENCE = {
    f"of.{kind}_{of}_l0": axes
    for of in ("ih", "hh")
    for kind, axes in (("weight", (1, 0)), ("bias", (0,)))
}
_NORM = {"weight": (0,), "bias": (0,)}
PARAMETERS = {
    "dense": {"weight": (1, 0), "bias": (0,)},
    "batch_norm": _NORM,
    "layer_norm": _NORM,
    "conv1d": {"weight": (2, 1, 0), "bias": (0,)},
    "conv2d": {"weight": (3, 2, 0, 1), "bias": (0,)},
    "lstm": _RECURRENCE,
    "gru": _RECURRENCE,
    "embedding": {"weight": (0, 1)},
    "positions": {"weight": (0, 1)},
    "attention": {
        f"{name}.{kind}": axes
        for name in ("to_all", "out")
        for kind, axes in (("weight", (1, 0)), ("bias", (0,)))
    },
}


def translate(layers):
    return torch.nn.Sequential(*(LAYERS[kind](*numbers) for kind, *numbers in layers))


def network(layers):
    torch.manual_seed(0)
    return translate(layers)


def predictor(layers, x):
    model = network(layers).eval()

    def run(count):
        with torch.inference_mode():
            for _ in range(count):
                model(torch.from_numpy(x)).softmax(1).numpy()

    return run


def arrays(model, layers):
    """In our order (parameter, shape, axes): a parameter is ours of that shape, transposed."""
    flattened = None
    for module, (kind, *numbers) in zip(model, layers, strict=True):
        if kind == "residual":
            yield from arrays(module.layers, numbers[0])
            continue
        names, shapes = PARAMETERS.get(kind, {}), networks.parameter_shapes(kind, *numbers)
        for (name, axes), shape in zip(names.items(), shapes, strict=True):
            if flattened and len(shape) == 2:
                shape, axes, flattened = (*flattened, shape[1]), (3, 2, 0, 1), None
            yield module.get_parameter(name), shape, axes
        if kind == "flatten":
            flattened = numbers


class Training:
    """A network, its loss as a function of a batch, and examples; compiled where that is given."""

    def __init__(self, layers, x, y, memory_format=torch.preserve_format, compiled=None):
        self.layers = layers
        self.model = network(layers).train().to(memory_format=memory_format)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        if networks.CONVOLUTIONS & networks.kinds(layers):
            self.x = self.x.movedim(-1, 1).contiguous()  # channels come first
        self.x = self.x.to(memory_format=memory_format)
        self.loss = self._loss if compiled is None else compiled(self._loss)

    def _loss(self, x, y):
        return LOSS(self.model(x).flatten(0, -2), y.flatten())  # positions are rows

    def run(self, epochs, optimizer, batch_size):
        for _ in range(epochs):
            for rows in torch.randperm(len(self.x)).split(batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = self.loss(self.x.index_select(0, rows), self.y.index_select(0, rows))
                loss.backward()
                optimizer.step()

    def gradient(self, weights):
        """The loss of all examples, and its gradient by arrays, at our weights."""
        own = list(arrays(self.model, self.layers))
        with torch.no_grad():
            for (parameter, shape, axes), array in zip(own, weights, strict=True):
                there = torch.from_numpy(array).reshape(shape).permute(axes)
                parameter.copy_(there.reshape(parameter.shape))
        loss = self.loss(self.x, self.y)
        loss.backward()
        gradients = []
        for (parameter, shape, axes), array in zip(own, weights, strict=True):
            there = parameter.grad.reshape([shape[axis] for axis in axes])
            back = there.permute(*np.argsort(axes).tolist())
            gradients.append(back.reshape(array.shape).numpy())
        return loss.item(), gradients


def trainer(layers, x, y, batch_size, **how):
    training = Training(layers, x, y, **how)
    optimizer = torch.optim.Adam(training.model.parameters(), lr=1e-3, fused=True)
    return lambda epochs: training.run(epochs, optimizer, batch_size)


def gradient(layers, weights, x, y, **how):
    return Training(layers, x, y, **how).gradient(weights)
