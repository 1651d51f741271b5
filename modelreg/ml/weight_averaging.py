"""The moving average of a network's weights over the steps of a training.

Single steps are noisy, their average is less so (Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4):838-855). What
is counted (BatchNorm's batches) is copied; all other buffers are averaged too.
"""

import copy

import torch

from modelreg.ml.network import Network


class Average:
    """A second network, whose weights follow those of the first."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, network: Network, step: int) -> None:
        """Take in the weights after `step` steps, from 1: a <- d a + (1 - d) w.

        d is min(decay, (1 + step) / (10 + step)): the first weights are soon forgotten.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:
                mean.copy_(now)
