"""model_config.json: settings, input and quantizer of a network."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from modelreg.records.base import LEFT_OUT, Count, Name, Record, setting

Width = Annotated[int, Field(ge=1, le=4096)]
OddKernel = Annotated[int, Field(ge=1, le=99, multiple_of=1)]
Levels = Annotated[int, Field(ge=2, le=1000)]  # above 1000, (1 + 1e-3) of the half range would exceed it
Weight = Annotated[float, Field(ge=0, le=1000)]  # of a term of the loss
Dropout = Annotated[float, Field(ge=0, lt=1)]
Concentration = Annotated[float, Field(gt=0, le=1000)]
Temperature = Annotated[float, Field(gt=0, le=100)]


class Convolutions(Record):
    """Convolutions over time, a projection, and a small classifier."""

    widths: Annotated[
        tuple[Width, ...], setting("Output channels of each convolution.", [32, 64, 128], min_length=1, max_length=8)
    ] = (32, 64, 128)
    kernels: Annotated[
        tuple[tuple[Width, OddKernel], ...],
        setting(
            "Height (devices) and length (timesteps) of each kernel.",
            [[1, 7], [1, 5], [1, 3]],
            "rows, timesteps",
            min_length=1,
            max_length=8,
        ),
    ] = (
        (1, 7),
        (1, 5),
        (1, 3),
    )
    pooling: Annotated[bool, setting("Halve the timesteps between two convolutions.", True)] = True
    batchnorm: Annotated[bool, setting("Batch normalization after each convolution.", True)] = True
    hidden: Annotated[Width, setting("Width of the classifier's hidden layer.", 64)] = 64
    dropout: Annotated[Dropout, setting("Dropout of the classifier.", 0.1)] = 0.0

    @model_validator(mode="after")
    def _blocks_agree(self) -> "Convolutions":
        if len(self.widths) != len(self.kernels):
            raise ValueError(f"{len(self.widths)} widths but {len(self.kernels)} kernels")
        if any(kernel[1] % 2 == 0 for kernel in self.kernels):
            raise ValueError("the length of a kernel in time must be odd, because the padding is symmetric")
        return self


class VqSettings(Record):
    """Vector quantization; the codebook is a moving average of its vectors (docs/models.md)."""

    codes: Annotated[int, setting("Size of the codebook.", 512, ge=2, le=65536)] = 512
    commitment: Annotated[Weight, setting("Weight of the commitment term.", 0.25)] = 0.25
    decay: Annotated[float, setting("Decay of the moving average of the codebook.", 0.99, gt=0, lt=1)] = 0.99
    restart_below: Annotated[
        float,
        setting("Restart a code whose moving count per batch is lower. 0: never.", 0.1, "vectors per batch", ge=0),
    ] = 0.1


class HdpSettings(Record):
    """A truncated stick-breaking mixture over the quantized vectors."""

    clusters: Annotated[int, setting("Largest number of clusters.", 20, ge=2, le=20)] = 20
    gamma: Annotated[
        Concentration,
        setting("Concentration of the sticks that all sessions share. Small values keep few clusters.", 1.0),
    ] = 1.0
    alpha: Annotated[Concentration, setting("Concentration of each session around them.", 1.0)] = 1.0
    sessions: Annotated[bool, setting("Weights for each recording of train. false: one mixture for all.", True)] = True
    weight: Annotated[Weight, setting("Weight of the mixture's term in the loss.", 0.1)] = 0.1
    temperature: Annotated[
        tuple[Temperature, Temperature],
        setting("Temperature of the Gumbel softmax at the first and at the last step.", [1.0, 0.3]),
    ] = (1.0, 0.3)


class HsmmSettings(Record):
    """Explicit durations of the classes of consecutive windows."""

    durations: Annotated[
        Literal["negative_binomial", "poisson", "gaussian"], setting("Distribution of the durations.", "poisson")
    ] = "negative_binomial"
    max_duration: Annotated[int, setting("Longest duration of a state.", 50, "windows", ge=2, le=50)] = 50
    chunk: Annotated[
        int, setting("Consecutive windows of a training step. At most `max_duration`.", 32, "windows", ge=2, le=1024)
    ] = 32
    weight: Annotated[Weight, setting("Weight of the duration term in the loss.", 0.5)] = 0.5

    @model_validator(mode="after")
    def _covers_its_chunks(self) -> "HsmmSettings":
        if self.chunk > self.max_duration:
            raise ValueError(f"chunk: {self.chunk} windows exceed max_duration ({self.max_duration})")
        return self


Off = Literal[False]


class Conv2dFsqSettings(Convolutions):
    """Convolutions, finite scalar quantization and a classifier."""

    name: Annotated[Literal["conv2d_fsq"], setting("The model system.", "conv2d_fsq")] = "conv2d_fsq"
    levels: Annotated[
        tuple[Levels, ...],
        setting("Levels of each dimension of the code.", [8, 6, 5, 5, 4], min_length=1, max_length=16),
    ] = (8, 6, 5, 5, 4)
    batchnorm_before_fsq: Annotated[bool, setting("Batch normalization before rounding.", True)] = False


class Conv2dFsqHsmmSettings(Convolutions):
    """conv2d_fsq, with explicit durations over consecutive windows."""

    name: Annotated[Literal["conv2d_fsq_hsmm"], setting("The model system.", "conv2d_fsq_hsmm")]
    levels: Annotated[
        tuple[Levels, ...],
        setting("Levels of each dimension of the code.", [8, 6, 5, 5, 4], min_length=1, max_length=16),
    ] = (8, 6, 5, 5, 4)
    batchnorm_before_fsq: Annotated[bool, setting("Batch normalization before rounding.", True)] = False
    hsmm: Annotated[
        HsmmSettings | Off, setting("Explicit durations. false switches them off.", {"max_duration": 30, "chunk": 16})
    ] = HsmmSettings()


class Conv2dVqSettings(Convolutions):
    """Convolutions, vector quantization, a decoder and a classifier."""

    name: Annotated[Literal["conv2d_vq"], setting("The model system.", "conv2d_vq")]
    embedding: Annotated[Width, setting("Dimensions of a code.", 64)] = 64
    vq: Annotated[VqSettings | Off, setting("Vector quantization. false switches it off.", {"codes": 256})] = (
        VqSettings()
    )
    reconstruction: Annotated[Weight, setting("Weight of the decoder's error. 0: no decoder.", 1.0)] = 1.0
    classification: Annotated[Weight, setting("Weight of the cross entropy.", 1.0)] = 1.0


class Conv2dVqHdpHsmmSettings(Convolutions):
    """conv2d_vq, with a mixture over its codes and explicit durations over consecutive windows."""

    name: Annotated[Literal["conv2d_vq_hdp_hsmm"], setting("The model system.", "conv2d_vq_hdp_hsmm")]
    embedding: Annotated[Width, setting("Dimensions of a code.", 64)] = 64
    vq: Annotated[VqSettings | Off, setting("Vector quantization. false switches it off.", {"codes": 256})] = (
        VqSettings()
    )
    hdp: Annotated[HdpSettings | Off, setting("Mixture over the codes. false switches it off.", {"clusters": 10})] = (
        HdpSettings()
    )
    hsmm: Annotated[
        HsmmSettings | Off, setting("Explicit durations. false switches them off.", {"max_duration": 30, "chunk": 16})
    ] = HsmmSettings()
    reconstruction: Annotated[Weight, setting("Weight of the decoder's error. 0: no decoder.", 1.0)] = 1.0
    classification: Annotated[Weight, setting("Weight of the cross entropy.", 1.0)] = 1.0


class Conv2dVqTokensSettings(Record):
    """Convolutions without pooling, one code per timestep, and a classifier of the mean code."""

    name: Annotated[Literal["conv2d_vq_tokens"], setting("The model system.", "conv2d_vq_tokens")]
    widths: Annotated[
        tuple[Width, ...], setting("Output channels of each convolution.", [64, 128, 256], min_length=1, max_length=8)
    ] = (64, 128, 256)
    embedding: Annotated[Width, setting("Dimensions of a code.", 64)] = 64
    vq: Annotated[VqSettings, setting("Vector quantization.", {"codes": 256})] = VqSettings()
    hidden: Annotated[Width, setting("Width of the classifier's hidden layer.", 128)] = 128
    dropout: Annotated[Dropout, setting("Dropout of the classifier.", 0.1)] = 0.0
    classification: Annotated[Weight, setting("Weight of the cross entropy.", 1.0)] = 1.0


class TcnVaeSettings(Record):
    """A variational autoencoder of causal dilated convolutions, with an activity and a domain head."""

    name: Annotated[Literal["tcn_vae"], setting("The model system.", "tcn_vae")]
    widths: Annotated[
        tuple[Width, ...],
        setting(
            "Channels of each residual block. Dilations are 1, 2, 4, …", [64, 128, 256], min_length=1, max_length=6
        ),
    ] = (64, 128, 256)
    kernel: Annotated[int, setting("Length of each kernel.", 3, "timesteps", ge=2, le=15)] = 3
    latent: Annotated[Width, setting("Dimensions of the latent vector.", 64)] = 64
    batchnorm: Annotated[bool, setting("Batch normalization in the blocks.", True)] = True
    dropout: Annotated[Dropout, setting("Dropout of the blocks.", 0.2)] = 0.2
    decoder: Annotated[Width, setting("Width of the decoder's hidden layers.", 64)] = 64
    noise: Annotated[
        float, setting("Standard deviation of the reconstruction.", 1.0, "deviations of a channel", gt=0)
    ] = 1.0
    beta: Annotated[Weight, setting("Weight of the divergence after the warm-up.", 1.0)] = 1.0
    warm_up: Annotated[float, setting("Share of the training steps over which `beta` rises.", 0.3, ge=0, le=1)] = 0.3
    elbo: Annotated[Weight, setting("Weight of the negative ELBO. 0: no decoder.", 0.01)] = 0.01
    classification: Annotated[Weight, setting("Weight of the cross entropy.", 1.0)] = 1.0
    domain: Annotated[Weight, setting("Weight of the reversed gradient, if the data have several domains.", 0.1)] = 0.1


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


Gravity = Literal["included", "removed"]


class Channel(Record):
    """One channel of a device's signal."""

    name: Name
    unit: Name
    gravity: Annotated[Gravity | None, LEFT_OUT] = None


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
