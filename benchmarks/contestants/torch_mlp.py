"""PyTorch, eager: the usual loop with fused Adam, batches taken by index_select."""

from itertools import pairwise

import torch

NAME = "torch eager"


def trainer(sizes, x, y, batch_size):
    torch.manual_seed(0)
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).train()
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
