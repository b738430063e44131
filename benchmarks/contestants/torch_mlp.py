"""PyTorch, eager: the usual loop with fused Adam, batches taken by index_select."""

from itertools import pairwise

import torch

NAME = "torch eager"


def network(sizes):
    torch.manual_seed(0)
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def predictor(sizes, x):
    model = network(sizes).eval()

    def run(count):
        with torch.inference_mode():
            for _ in range(count):
                model(torch.from_numpy(x)).softmax(1).numpy()

    return run


def trainer(sizes, x, y, batch_size):
    model = network(sizes).train()
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
