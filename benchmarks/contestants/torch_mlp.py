"""PyTorch, eager: the usual loop with fused Adam, batches taken by index_select."""

import torch

from contestants import networks

NAME = "torch eager"
KINDS = networks.ALL


class Residual(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = translate(layers)

    def forward(self, x):
        return x + self.layers(x)


LAYERS = {
    "dense": torch.nn.Linear,
    "relu": torch.nn.ReLU,
    "dropout": torch.nn.Dropout,
    "batch_norm": torch.nn.BatchNorm1d,
    "layer_norm": torch.nn.LayerNorm,
    "residual": Residual,
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


def trainer(layers, x, y, batch_size):
    model = network(layers).train()
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def run(epochs):
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_function(model(x.index_select(0, rows)), y.index_select(0, rows))
                loss.backward()
                optimizer.step()

    return run
