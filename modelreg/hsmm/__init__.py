"""Hidden semi-Markov models with explicit durations (Yu 2010): arrays in, named tuples out. No torch; numba comes late.

Letters: T windows of a stream, S states, D longest duration. Durations are in windows, d = 1 … D; no state
follows itself. A stream starts with the start of a segment; its end cuts the last segment off (`censored`), unless
said otherwise: then p(d) of that segment becomes Σ_{u ≥ d} p(u).

durations        how long a state lasts: the families, their tables and means
duration_fit     durations from counts; the last step of fitting
model            the parameters, from and to hsmm.json, and what a stream says of the states
inference        log likelihood, posterior marginals, best path, of a whole stream
fitting          parameters from labels
from_checkpoint  the model as the tensors of a checkpoint hold it
online_filter    the posterior of the newest window, step by step in constant memory: numpy alone
segmentation     scores of a stream that is cut into segments
kernels          the loops over time, compiled
"""
