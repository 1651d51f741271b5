"""Names of the files and folders of runs, versions, exports and bundles."""

from typing import Final

# The registry
REGISTRY = "registry"
KEEP = ".gitkeep"  # git does not store empty folders
ALIASES = "aliases.json"  # in the model's folder, next to its versions

# A run and a version
CHECKPOINT = "checkpoint.safetensors"
NORMALIZATION = "normalization.json"
DATA = "data.json"
RUN = "run.json"
METRICS = "eval_metrics.json"
PREDICTIONS = "predictions.npz"
VALIDATION = "validation.npz"  # predictions that calibration.json was fitted on
FITTED = "fitted.npz"  # cross-fitted runs only: the final model's predictions for the windows it was trained on
CALIBRATION = "calibration.json"  # versions of modelreg 0.1 have neither file
HSMM = "hsmm.json"  # systems with durations only
ENCODER = "encoder.safetensors"  # tcn_vae only: the weights of the device part
LATENCY = "latency.json"  # written by `modelreg bench`

# A run only
CONFIG = "config.json"
LAST = "last.safetensors"
HISTORY = "history.jsonl"
QUALITY = "quality.json"
AUDIT = "audit.json"
CROSSVAL = "crossval.json"
RANDOM_SPLIT = "random_split.json"  # metrics of a random split, which leaks subjects
FOLDS = "folds"  # folder of the runs of each fold
REPORT = "report.md"
PAGE = "report.html"

# A version only
CARD = "model_card.md"
MODEL_CONFIG = "model_config.json"
PROVENANCE = "provenance.json"
GATES = "gates.json"
SBOM = "bom.cdx.json"  # missing in versions of modelreg 0.2 and earlier
MANIFEST = "manifest.json"
SUMS = "sha256sum.txt"
SIGNATURE = "model.sig"
DOCUMENTS = (CARD, MODEL_CONFIG, NORMALIZATION, METRICS, DATA, RUN, PROVENANCE)
ASSETS = (CHECKPOINT, PREDICTIONS)

# An export
ONNX: Final = "onnx"  # folder
GRAPH_FILES = ("encoder.onnx", "head.onnx", "model.onnx")
PARITY = "parity.json"
VECTORS = "test_vectors.npz"
INT8 = "int8.json"
BUNDLE = "bundle.json"
ARCHIVE = "bundle.tar.gz"
