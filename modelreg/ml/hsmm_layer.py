"""The duration layer: a hidden semi-Markov model over consecutive windows, trained with the network."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.hsmm import fitting, model
from modelreg.hsmm.durations import Durations as Family
from modelreg.hsmm.model import Hsmm
from modelreg.ml.semimarkov import FLOOR, SemiMarkov
from modelreg.records.hsmm import HsmmSpec, PosteriorEmission
from modelreg.records.model import HsmmSettings

START = 5.0  # windows; the mean duration before the labels are known


class Durations(nn.Module):
    """A hidden semi-Markov model whose states are the classes and whose emissions come from the classifier.

    Hybrid models of this kind: Bourlard & Morgan 1994.
    """

    prior: Tensor

    def __init__(self, settings: HsmmSettings, classes: int) -> None:
        super().__init__()
        self.settings = settings
        first = fitting.start(
            settings.durations, classes, settings.max_duration, START, random=np.random.default_rng(0)
        )
        self.model = self._model(first)
        self.register_buffer("prior", torch.full((classes,), 1 / classes))

    def _model(self, start: Hsmm) -> SemiMarkov:
        tables = (start.initial, start.transition, start.durations.parameters)
        initial, transition, durations = (torch.tensor(table, dtype=torch.float32, device="cpu") for table in tables)
        with torch.device("cpu"):
            return SemiMarkov(self.settings.durations, initial, transition, durations, self.settings.max_duration)

    def start(self, y: Tensor, streams: tuple[int, ...]) -> None:
        """Initialize to the most likely model of the labels (N,) of streams, and the prior to the class shares."""
        labels = [stream.numpy() for stream in y.cpu().split(streams)]
        counts = fitting.count_labels(labels, len(self.prior), self.settings.max_duration)
        found = self._model(fitting.fit_counts(self.settings.durations, counts))
        self.model.load_state_dict(found.state_dict())
        shares = torch.bincount(y.cpu(), minlength=len(self.prior)).float() + 0.5
        self.prior.copy_(shares / shares.sum())

    def loss(self, logits: Tensor, y: Tensor, streams: tuple[int, ...]) -> Tensor:
        """Return the weighted −log p(y | x) per window, (), of logits (N, K) and labels (N,) of consecutive windows.

        It is log p(x) − log p(x, y), each computed by the forward pass. For log p(x, y), all states except the labels
        have likelihood 0. −log p(x) alone is not a useful loss: it is minimal for confident predictions of a rare
        class.
        """
        log_b = logits.log_softmax(1) - self.prior.log()
        labelled = log_b.masked_fill(F.one_hot(y, len(self.prior)) == 0, FLOOR)
        padded = nn.utils.rnn.pad_sequence([*log_b.split(streams), *labelled.split(streams)], batch_first=True)
        found = self.model(padded, torch.tensor(2 * streams, device=logits.device)).log_likelihood
        every, these = found.split(len(streams))
        lost: Tensor = every.sum() - these.sum()
        return self.settings.weight * lost / len(logits)

    def mean(self) -> float:
        """Return the mean duration in windows, averaged over the states."""
        p = self.model.tables().duration.detach().exp()  # (S, D)
        return float((p * torch.arange(1, p.shape[1] + 1, device=p.device)).sum(1).mean())

    def spec(self, classes: Sequence[str]) -> HsmmSpec:
        """Return the record of the model, in double precision, with probabilities that sum to 1."""
        initial, transition, durations, prior = (
            part.double().cpu().numpy() for part in (*self.model.estimates(), self.prior)
        )
        made = Hsmm(
            initial / initial.sum(),
            transition / transition.sum(1, keepdims=True),
            Family(self.settings.durations, durations, self.settings.max_duration),
        )
        return model.to_spec(made, classes, PosteriorEmission(prior=tuple((prior / prior.sum()).tolist())))
