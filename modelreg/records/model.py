"""model_config.json: settings, input and quantizer of a network."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from modelreg.records.base import Count, Name, Record

Width = Annotated[int, Field(ge=1, le=4096)]
OddKernel = Annotated[int, Field(ge=1, le=99, multiple_of=1)]
Levels = Annotated[int, Field(ge=2, le=1000)]  # above 1000, (1 + 1e-3) of the half range would exceed it
Weight = Annotated[float, Field(ge=0, le=1000)]  # of a term of the loss
Dropout = Annotated[float, Field(ge=0, lt=1)]
Concentration = Annotated[float, Field(gt=0, le=1000)]
Temperature = Annotated[float, Field(gt=0, le=100)]


class Convolutions(Record):
    """Convolutions over time, a projection, and a small classifier."""

    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (32, 64, 128)
    kernels: Annotated[tuple[tuple[Width, OddKernel], ...], Field(min_length=1, max_length=8)] = (
        (1, 7),
        (1, 5),
        (1, 3),
    )
    pooling: bool = True  # halves the timesteps between convolutions
    batchnorm: bool = True  # after each convolution; pooling and batchnorm are false for some legacy checkpoints
    hidden: Width = 64
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _blocks_agree(self) -> "Convolutions":
        if len(self.widths) != len(self.kernels):
            raise ValueError(f"{len(self.widths)} widths but {len(self.kernels)} kernels")
        if any(kernel[1] % 2 == 0 for kernel in self.kernels):
            raise ValueError("the length of a kernel in time must be odd, because the padding is symmetric")
        return self


class VqSettings(Record):
    """Vector quantization; the codebook is a moving average of its vectors (docs/models.md)."""

    codes: Annotated[int, Field(ge=2, le=65536)] = 512  # K
    commitment: Weight = 0.25  # β
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99  # γ
    restart_below: Annotated[float, Field(ge=0)] = 0.1  # restart codes with a lower moving count per batch; 0: never


class HdpSettings(Record):
    """A truncated stick-breaking mixture over the quantized vectors."""

    clusters: Annotated[int, Field(ge=2, le=20)] = 20
    gamma: Concentration = 1.0  # of the sticks shared by all sessions; small values keep few clusters
    alpha: Concentration = 1.0  # of the weights of each session
    sessions: bool = True  # weights per recording of the train split; false: a DP mixture
    weight: Weight = 0.1  # γ of the loss
    temperature: tuple[Temperature, Temperature] = (1.0, 0.3)  # of the Gumbel softmax, at the first and last step


class HsmmSettings(Record):
    """Explicit durations of the classes of consecutive windows."""

    durations: Literal["negative_binomial", "poisson", "gaussian"] = "negative_binomial"
    max_duration: Annotated[int, Field(ge=2, le=50)] = 50  # windows
    chunk: Annotated[int, Field(ge=2, le=1024)] = 32  # consecutive windows per training step
    weight: Weight = 0.5  # δ of the loss

    @model_validator(mode="after")
    def _covers_its_chunks(self) -> "HsmmSettings":
        if self.chunk > self.max_duration:
            raise ValueError(f"chunk: {self.chunk} windows exceed max_duration ({self.max_duration})")
        return self


Off = Literal[False]


class Conv2dFsqSettings(Convolutions):
    """Convolutions, finite scalar quantization and a classifier."""

    name: Literal["conv2d_fsq"] = "conv2d_fsq"
    levels: Annotated[tuple[Levels, ...], Field(min_length=1, max_length=16)] = (8, 6, 5, 5, 4)
    batchnorm_before_fsq: bool = False


class Conv2dFsqHsmmSettings(Convolutions):
    """conv2d_fsq, with explicit durations over consecutive windows."""

    name: Literal["conv2d_fsq_hsmm"]
    levels: Annotated[tuple[Levels, ...], Field(min_length=1, max_length=16)] = (8, 6, 5, 5, 4)
    batchnorm_before_fsq: bool = False
    hsmm: HsmmSettings | Off = HsmmSettings()


class Conv2dVqSettings(Convolutions):
    """Convolutions, vector quantization, a decoder and a classifier."""

    name: Literal["conv2d_vq"]
    embedding: Width = 64  # D
    vq: VqSettings | Off = VqSettings()
    reconstruction: Weight = 1.0  # of the reconstruction error; 0: no decoder
    classification: Weight = 1.0  # λ


class Conv2dVqHdpHsmmSettings(Convolutions):
    """conv2d_vq, with a mixture over its codes and explicit durations over consecutive windows."""

    name: Literal["conv2d_vq_hdp_hsmm"]
    embedding: Width = 64  # D
    vq: VqSettings | Off = VqSettings()
    hdp: HdpSettings | Off = HdpSettings()
    hsmm: HsmmSettings | Off = HsmmSettings()
    reconstruction: Weight = 1.0
    classification: Weight = 1.0  # λ


class Conv2dVqTokensSettings(Record):
    """Convolutions without pooling, one code per timestep, and a classifier of the mean code."""

    name: Literal["conv2d_vq_tokens"]
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (64, 128, 256)
    embedding: Width = 64  # D
    vq: VqSettings = VqSettings()
    hidden: Width = 128
    dropout: Dropout = 0.0
    classification: Weight = 1.0  # λ


class TcnVaeSettings(Record):
    """A variational autoencoder of causal dilated convolutions, with an activity and a domain head."""

    name: Literal["tcn_vae"]
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (64, 128, 256)  # dilations 1, 2, 4, …
    kernel: Annotated[int, Field(ge=2, le=15)] = 3
    latent: Width = 64
    batchnorm: bool = True  # in the blocks; false: as published, and in legacy checkpoints
    dropout: Dropout = 0.2
    decoder: Width = 64  # width of the hidden layers
    noise: Annotated[float, Field(gt=0)] = 1.0  # σ of the reconstruction, in standard deviations of a channel
    beta: Weight = 1.0  # of the divergence, after the warm-up
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.3  # share of the steps over which β rises
    elbo: Weight = 0.01  # of the ELBO, a sum over C·T values; 0: no decoder, no log σ²
    classification: Weight = 1.0
    domain: Weight = 0.1  # of the reversed gradient, for data with several domains


def _system(value: Any) -> str:
    """Return the model system of settings; settings without a name belong to the first system."""
    first = "conv2d_fsq"  # its validation refuses anything but a mapping
    return str(value.get("name", first) if isinstance(value, dict) else getattr(value, "name", first))


ConvSettings = Conv2dFsqSettings | Conv2dFsqHsmmSettings | Conv2dVqSettings | Conv2dVqHdpHsmmSettings
ModelSettings = Annotated[
    Annotated[Conv2dFsqSettings, Tag("conv2d_fsq")]
    | Annotated[Conv2dFsqHsmmSettings, Tag("conv2d_fsq_hsmm")]
    | Annotated[Conv2dVqSettings, Tag("conv2d_vq")]
    | Annotated[Conv2dVqHdpHsmmSettings, Tag("conv2d_vq_hdp_hsmm")]
    | Annotated[Conv2dVqTokensSettings, Tag("conv2d_vq_tokens")]
    | Annotated[TcnVaeSettings, Tag("tcn_vae")],
    Discriminator(_system),
]


class Channel(Record):
    """One channel of a device's signal."""

    name: Name
    unit: Name


class InputSpec(Record):
    """The shape and meaning of a window: float32 `(C, D, T)` = channels, device rows, timesteps."""

    layout: Literal["NCDT"] = "NCDT"
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    devices: Annotated[tuple[Name, ...], Field(min_length=1)]
    timesteps: Annotated[int, Field(ge=1)]
    rate_hz: Annotated[float, Field(gt=0)]
    fold: Literal[1, 2] = 1  # 2: the time axis of one device is folded into two rows, as in legacy models

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the window's `(C, D, T)`; folding halves T and doubles the rows."""
        return len(self.channels), len(self.devices) * self.fold, self.timesteps // self.fold


class FsqSpec(Record):
    """Finite scalar quantization with all its constants.

    For dimension i: bounded = tanh(z + shift) * half_range - offset, r = round half to even (bounded),
    code = r / half_width, index = sum of (r + half_width) * basis. Mentzer 2023, arXiv:2309.15505, app. A.
    """

    levels: tuple[Levels, ...]
    epsilon: float
    half_range: tuple[float, ...]
    offset: tuple[float, ...]
    shift: tuple[float, ...]
    half_width: tuple[int, ...]
    basis: tuple[int, ...]


class VqSpec(Record):
    """Vector quantization: the code is the nearest row of the codebook; ties go to the first."""

    codes: Count
    dimension: Count
    codebook: Name  # the tensor of the checkpoint, shape (codes, dimension)


class ModelSpec(Record):
    """model_config.json: a network and the meaning of its input and output."""

    schema_version: Literal[1] = 1
    settings: ModelSettings
    input: InputSpec
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    quantizer: FsqSpec | VqSpec | None
    parameters: Count
    domains: tuple[Name, ...] = ()  # datasets of the adversarial domain head
    sessions: Count = 0  # recordings of the train split with mixture weights
    tensors: dict[Name, tuple[Count, ...]] | None = (
        None  # shapes in the checkpoint; null: they follow from the settings
    )

    @property
    def levels(self) -> tuple[int, ...] | None:
        """Return the number of values of each digit of an index; None without a quantizer."""
        if isinstance(self.quantizer, VqSpec):
            return (self.quantizer.codes,)
        return None if self.quantizer is None else self.quantizer.levels

    @property
    def code_width(self) -> int:
        """Return the number of digits of a window's code; 0 without a quantizer."""
        tokens = isinstance(self.settings, Conv2dVqTokensSettings)
        return self.input.shape[2] if tokens else len(self.levels or ())

    @property
    def smooths(self) -> bool:
        """Return whether the network models durations."""
        return bool(getattr(self.settings, "hsmm", False))

    @property
    def grid(self) -> tuple[int, ...]:
        """Return the number of values of each dimension of a scalar quantizer; empty for any other quantizer."""
        return self.quantizer.levels if isinstance(self.quantizer, FsqSpec) else ()

    @property
    def projection(self) -> int:
        """Return the number of values that the device passes to the host."""
        match self.settings:
            case TcnVaeSettings():
                return self.settings.latent
            case Conv2dVqTokensSettings():
                return self.settings.embedding * self.input.shape[2]
            case Conv2dFsqSettings() | Conv2dFsqHsmmSettings():
                return len(self.settings.levels)
            case _:
                return self.settings.embedding
