"""The model system tcn_vae: causal convolutions over time compute a latent mean, and a linear head classifies it.

The device part maps windows (N, C, D, T) to μ. The first block merges the devices, which is equivalent to a sequence of
D·C channels (`tcn.to_sequence`). Training adds the ELBO with a decoder, and a domain head with gradient reversal.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.errors import Problem
from modelreg.ml import tcn
from modelreg.ml.network import Batch, HostOutput, Network, Output, Shape
from modelreg.ml.tcn import Decoder, DomainHead, Encoder, Form, LatentHeads, MeanHead
from modelreg.records.model import TcnVaeSettings


class DevicePart(nn.Module):
    """Windows (N, C, D, T) to the latent mean (N, Z)."""

    heads: LatentHeads | MeanHead

    def __init__(self, settings: TcnVaeSettings, shape: Shape) -> None:
        super().__init__()
        C, D, T = shape
        form = Form(settings.kernel, settings.dropout, settings.batchnorm, rows=D)
        self.encoder = Encoder(D * C, T, settings.widths, form)
        heads = LatentHeads if settings.elbo else MeanHead
        self.heads = heads(settings.widths[-1], settings.latent)

    def forward(self, x: Tensor) -> Tensor:
        """Return μ."""
        mu: Tensor = self.heads.mu(self.encoder(x))
        return mu


class HostPart(nn.Module):
    """The activity head on the latent mean."""

    def __init__(self, settings: TcnVaeSettings, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(settings.latent, classes)

    def forward(self, projection: Tensor) -> HostOutput:
        """Return the logits of a latent mean (N, Z), without quantization."""
        none = projection.new_zeros(len(projection), dtype=torch.int64)
        return HostOutput(projection[:, :0], none, self.head(projection), projection)


class TrainingPart(nn.Module):
    """The components for training: a decoder for the ELBO, and a domain head if there are several data sets."""

    decoder: Decoder | None

    def __init__(self, settings: TcnVaeSettings, shape: Shape, domains: int) -> None:
        super().__init__()
        C, D, T = shape
        width, form = settings.decoder, Form(batchnorm=settings.batchnorm, causal=False)
        widths = (2 * width, width, width)
        self.decoder = Decoder(D * C, T, settings.latent, widths, form) if settings.elbo else None
        self.domain = DomainHead(settings.latent, domains) if domains > 1 else None


class TcnVae(Network):
    """The model system tcn_vae. `factory.build` creates it."""

    device_part: DevicePart
    training_part: TrainingPart

    def __init__(self, settings: TcnVaeSettings, shape: Shape, classes: int, domains: int) -> None:
        super().__init__(shape, classes, None, settings.latent)
        self.settings = settings
        self.classification = settings.classification
        self.device_part = DevicePart(settings, shape)
        self.host_part = HostPart(settings, classes)
        self.training_part = TrainingPart(settings, shape, domains)

    def forward(self, x: Tensor) -> Output:
        """Return the output for windows (N, C, D, T); `features` are the input of the latent heads."""
        features = self.device_part.encoder(x)
        projection = self.device_part.heads.mu(features)
        answer: HostOutput = self.host_part(projection)
        return Output(projection, *answer._replace(features=features))

    def terms(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return both terms of the ELBO, summed over the values of a window, and the domain cross entropy."""
        terms = self._elbo(batch, output)
        if self.training_part.domain is not None and batch.domain is not None:
            logits = self.training_part.domain(output.projection)
            terms["domain"] = self.settings.domain * F.cross_entropy(logits, batch.domain)
        return terms

    def _elbo(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        settings, heads, decoder = self.settings, self.device_part.heads, self.training_part.decoder
        if decoder is None or not isinstance(heads, LatentHeads):
            return {}
        q = heads(output.features)
        found = tcn.elbo(tcn.to_sequence(batch.x), decoder(heads.draw(q)), q, variance=settings.noise**2)
        beta = tcn.warm_up(self.progress, settings.warm_up, settings.beta)
        return {
            "reconstruction": settings.elbo * found.reconstruction,
            "divergence": settings.elbo * beta * found.divergence,
        }

    def advance(self, progress: float) -> None:
        """Update β and the strength of the gradient reversal."""
        super().advance(progress)
        if self.training_part.domain is not None:
            self.training_part.domain.advance(progress)


def find_problems(settings: TcnVaeSettings, shape: Shape) -> Iterator[Problem]:
    """Yield why a network with these settings cannot be built for this input."""
    field = tcn.receptive_field(len(settings.widths), settings.kernel)
    if field > 4 * shape[2]:
        what = f"{len(settings.widths)} blocks have a receptive field of {field} timesteps, must be at most "
        what += f"{4 * shape[2]} (4 times the window of {shape[2]})"
        yield Problem("model.widths", "model.receptive-field-too-long", what)
