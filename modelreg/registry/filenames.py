"""The names of the files and folders of runs, versions, exports and bundles."""

from typing import Final

# The registry
REGISTRY = "registry"
KEEP = ".gitkeep"  # git knows no empty folder
ALIASES = "aliases.json"  # of a model, beside its versions

# A run and a version
CHECKPOINT = "checkpoint.safetensors"
NORMALIZATION = "normalization.json"
DATA = "data.json"
RUN = "run.json"
METRICS = "eval_metrics.json"
PREDICTIONS = "predictions.npz"
VALIDATION = "validation.npz"  # the predictions that calibration.json was fitted on
CALIBRATION = "calibration.json"  # versions of modelreg 0.1 have neither
HSMM = "hsmm.json"  # of systems with durations
ENCODER = "encoder.safetensors"  # of tcn_vae: the device part's weights alone
LATENCY = "latency.json"  # of `modelreg bench`, where it was run

# A run alone
CONFIG = "config.json"
LAST = "last.safetensors"
HISTORY = "history.jsonl"
QUALITY = "quality.json"
AUDIT = "audit.json"
CROSSVAL = "crossval.json"
RANDOM_SPLIT = "random_split.json"  # what a leaky evaluation would have claimed
REPORT = "report.md"
PAGE = "report.html"

# A version alone
CARD = "model_card.md"
MODEL_CONFIG = "model_config.json"
PROVENANCE = "provenance.json"
GATES = "gates.json"
SBOM = "bom.cdx.json"  # the first versions have none
MANIFEST = "manifest.json"
SUMS = "sha256sum.txt"
SIGNATURE = "model.sig"
DOCUMENTS = (CARD, MODEL_CONFIG, NORMALIZATION, METRICS, DATA, RUN, PROVENANCE)
ASSETS = (CHECKPOINT, PREDICTIONS)

# An export
ONNX: Final = "onnx"  # its folder
GRAPH_FILES = ("encoder.onnx", "head.onnx", "model.onnx")
PARITY = "parity.json"
VECTORS = "test_vectors.npz"
INT8 = "int8.json"
BUNDLE = "bundle.json"
ARCHIVE = "bundle.tar.gz"
