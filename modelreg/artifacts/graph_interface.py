"""The expected interface of a model's graphs: names and shapes of inputs and outputs, and metadata."""

from collections.abc import Mapping

from modelreg import files
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS, GraphName, Tensor
from modelreg.records.model import ModelSpec
from modelreg.registry.filenames import CHECKPOINT, NORMALIZATION


def interface(spec: ModelSpec) -> dict[GraphName, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """Return the inputs and outputs of each graph of a model."""
    windows = Tensor(name=WINDOWS, shape=(1, *spec.input.shape))
    projection = Tensor(name=PROJECTION, shape=(1, spec.projection))
    code = () if spec.levels is None else (Tensor(name=CODE, shape=(1, spec.code_width)),)
    logits = Tensor(name=LOGITS, shape=(1, len(spec.classes)))
    return {
        "encoder": ((windows,), (projection,)),
        "head": ((projection,), (*code, logits)),
        "model": ((windows,), (projection, *code, logits)),
    }


def metadata(spec: ModelSpec, digests: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a graph. `digests` has the checkpoint and the normalization, by file name."""
    return {
        "model": spec.settings.name,
        "classes": files.to_line(list(spec.classes)).decode().strip(),
        "checkpoint_sha256": digests[CHECKPOINT],
        "normalization_sha256": digests[NORMALIZATION],
    }
