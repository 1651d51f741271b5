"""A model system in a few sentences, for its card. They may not change: `verify` renders old cards again (ADR 4)."""

from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqTokensSettings,
    ConvSettings,
    FsqSpec,
    ModelSpec,
    TcnVaeSettings,
)


def in_words(spec: ModelSpec) -> str:
    """Say what stands between the convolutions and the answer, if anything does, after a space."""
    match spec.settings:
        case TcnVaeSettings() as settings:
            said = _of_tcn_vae(spec, settings)
        case Conv2dVqTokensSettings() as settings:
            said = _of_tokens(settings)
        case settings:
            said = _of_conv2d(spec, settings)
    return f" {said}" if said else ""


def _of_tcn_vae(spec: ModelSpec, settings: TcnVaeSettings) -> str:
    domains = (
        f"\nIt was trained to say nothing of which of {len(spec.domains)} data sets a window is."
        if spec.domains
        else ""
    )
    return f"""Causal
convolutions over time, the first across all devices, end in the mean of a latent vector of {settings.latent}
numbers; the classifier on the host takes that mean.{domains}"""


def _of_tokens(settings: Conv2dVqTokensSettings) -> str:
    return f"""Convolutions
without pooling give a vector for each timestep; vector quantization replaces it by the nearest of {settings.vq.codes}
codes of {settings.embedding} numbers, and the classifier takes the mean of a window's codes. The index of a window is
its commonest code."""


def _of_conv2d(spec: ModelSpec, settings: ConvSettings) -> str:
    said = []
    if isinstance(spec.quantizer, FsqSpec):
        what = f"finite scalar quantization with levels {list(spec.quantizer.levels)}"
        said.append(f"Between its convolutions and\nits classifier stands {what}.")
    elif spec.quantizer is not None:
        what = (
            f"vector quantization,\nthe nearest of {spec.quantizer.codes} codes of {spec.quantizer.dimension} numbers"
        )
        said.append(f"Between its convolutions and\nits classifier stands {what}.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings) and settings.hdp:
        said.append(f"A stick-breaking mixture of at most {settings.hdp.clusters} clusters joins them.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings | Conv2dFsqHsmmSettings) and settings.hsmm:
        what = f"explicit durations of\nup to {settings.hsmm.max_duration} windows smooth the classes"
        said.append(f"On the host, {what} of consecutive windows (`hsmm.json`).")
    if len(spec.input.devices) > 1 and all(height == 1 for height, _ in settings.kernels):
        said.append("**Its kernels see one device at a time:\nit takes the devices as interchangeable.**")
    return " ".join(said)
