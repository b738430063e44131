"""One call on one batch: the four maps of a network and its curvature."""

import numpy as np

from pyfast_nn.inspect import loss_landscape

from .common import LOSS, NetworkBenchmark


class Maps(NetworkBenchmark):
    def setup(self, network, dtype, threads):
        super().setup(network, dtype, threads)
        self.v = np.ones_like(self.model.parameters)

    def time_forward(self, *_):
        self.model.forward(self.x)

    def time_loss_and_grad(self, *_):
        self.model.loss_and_grad(self.x, self.y, loss=LOSS)

    def time_jvp(self, *_):
        self.model.jvp(self.x, self.v)

    def time_loss_landscape(self, *_):
        loss_landscape(self.model, self.x, self.y, self.v, [-0.5, 0.0, 0.5], loss=LOSS)

    def time_hvp(self, *_):
        self.model.hvp(self.x, self.y, self.v, loss=LOSS)
