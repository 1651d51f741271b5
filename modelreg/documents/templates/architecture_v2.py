"""What a model computes, as the card of template version 2 describes it.

Once a modelreg is released with it, this module never changes: write the next version.
"""

from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqTokensSettings,
    ConvSettings,
    FsqSpec,
    ModelSpec,
    TcnVaeSettings,
)


def describe(spec: ModelSpec) -> str:
    """Return what lies between the convolutions and the prediction, in sentences."""
    match spec.settings:
        case TcnVaeSettings() as settings:
            return _tcn_vae(spec, settings)
        case Conv2dVqTokensSettings() as settings:
            return (
                "Convolutions without pooling give one vector per timestep. Vector quantization replaces each vector "
                f"with the nearest of {settings.vq.codes} codes of dimension {settings.embedding}. The classifier uses "
                "the mean code of a window. The code index of a window is its most frequent code."
            )
        case settings:
            return " ".join(_conv2d(spec, settings))


def _tcn_vae(spec: ModelSpec, settings: TcnVaeSettings) -> str:
    domains = (
        f" A domain head trained the network to hide which of {len(spec.domains)} datasets a window is from."
        if spec.domains
        else ""
    )
    return (
        "Causal convolutions over time, the first across all devices, compute the mean of a latent vector of dimension "
        f"{settings.latent}. The classifier on the host uses this mean.{domains}"
    )


def _conv2d(spec: ModelSpec, settings: ConvSettings) -> list[str]:
    said = []
    if isinstance(spec.quantizer, FsqSpec):
        levels = list(spec.quantizer.levels)
        said.append(f"The classifier uses codes from finite scalar quantization with levels {levels}.")
    elif spec.quantizer is not None:
        which = f"the nearest of {spec.quantizer.codes} codes of dimension {spec.quantizer.dimension}"
        said.append(f"The classifier uses codes from vector quantization: {which}.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings) and settings.hdp:
        said.append(f"A stick-breaking mixture groups the codes into at most {settings.hdp.clusters} clusters.")
    if isinstance(settings, Conv2dVqHdpHsmmSettings | Conv2dFsqHsmmSettings) and settings.hsmm:
        said.append(
            "On the host, a hidden semi-Markov model (`hsmm.json`) smooths the classes of consecutive windows, with "
            f"durations of up to {settings.hsmm.max_duration} windows."
        )
    if len(spec.input.devices) > 1 and all(height == 1 for height, _ in settings.kernels):
        said.append("**Each kernel covers one device: the network treats the devices as interchangeable.**")
    return said
