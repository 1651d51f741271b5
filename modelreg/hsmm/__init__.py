"""Hidden semi-Markov models with explicit durations (Yu 2010), as functions on arrays. torch is not used.

Letters: T windows of a stream, S states, D longest duration. Durations are in windows, d = 1 … D. No state follows
itself. A stream starts with the start of a segment. By default the last segment is censored: it may continue after the
end of the stream, so its p(d) is replaced by Σ_{u ≥ d} p(u).

durations        duration families, their tables and means
duration_fit     fit durations to counts
model            parameters, from and to hsmm.json, and emissions from a network
inference        log likelihood, posterior marginals and best path of a whole stream
fitting          fit parameters to labels
from_checkpoint  parameters from the tensors of a checkpoint
online_filter    posterior of the newest window, in constant memory, with numpy only
segmentation     segmentation scores
kernels          loops over time, compiled by numba
"""
