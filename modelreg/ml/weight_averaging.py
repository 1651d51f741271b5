"""The moving average of the weights of a network over training steps.

Averaging reduces the noise of single steps (Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4):838-855). Floating
point buffers are averaged too; integer buffers, such as the batch count of BatchNorm, are copied.
"""

import copy

import torch

from modelreg.ml.network import Network


class Average:
    """A copy of a network with averaged weights."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, network: Network, step: int) -> None:
        """Update the average with the weights after `step` steps, counted from 1: a <- d a + (1 - d) w.

        d is min(decay, (1 + step) / (10 + step)), so that the influence of the initial weights ends soon.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:
                mean.copy_(now)
