"""Convert seglearn's watch data set to the sample in the package.

    python scripts/make_sample.py PATH/TO/seglearn-1.2.5/seglearn/data/watch_dataset.npy

The source is an .npy file with a pickle. Its digest is checked, and an unpickler reads it that allows only the four
names that plain numpy arrays need. The sample is int16 in steps of 0.001, uncompressed, sorted by subject, class and
side. The same source gives the same bytes.
"""

import io
import pickle  # noqa: TID251 the source is a pickle with a known digest, read by an allow-list
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError, ModelregError, Problem

SOURCE_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
TARGET = Path(__file__).parents[1] / "modelreg" / "data" / "sources" / "sample.npz"
ALLOWED = {
    ("_codecs", "encode"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
}
STEPS = 1000  # per unit: g and rad/s


class PlainUnpickler(pickle.Unpickler):
    """Load arrays, lists, numbers and strings; refuse every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed names. Raises InputError for any other."""
        renamed = module.replace("numpy.core", "numpy._core")  # numpy 2 renamed it
        if (renamed, name) not in ALLOWED:
            problem = Problem(f"{module}.{name}", "sample.pickle", "this name is not on the allow-list")
            raise InputError("cannot read the source of the sample", [problem])
        return super().find_class(renamed, name)


def read_objects(data: bytes) -> Any:
    """Return the object of an .npy file, read by the allow-list."""
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return PlainUnpickler(file).load().item()


def convert(source: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the sample's arrays: samples (S, 6), and lengths, label, subject, side (R,)."""
    label, subject, side = (np.asarray(source[key]).astype(np.int8) for key in ("y", "subject", "side"))
    order = np.lexsort((side, label, subject))
    signals = [source["X"][i] for i in order]
    return {
        "samples": np.round(np.concatenate(signals) * STEPS).astype(np.int16),
        "lengths": np.array([len(signal) for signal in signals], dtype=np.int32),
        "label": label[order],
        "subject": subject[order],
        "side": side[order],
    }


def make(source: Path, target: Path) -> str:
    """Write the sample and return its digest. Raises InputError if the source is another file."""
    data = files.read_bytes(source, 2**25)
    if files.sha256_bytes(data) != SOURCE_SHA256:
        problem = Problem(str(source), "sample.source-changed", f"must have the SHA-256 {SOURCE_SHA256}")
        raise InputError("cannot make the sample", [problem])
    arrays = convert(read_objects(data))
    files.write_atomic(target, npz.npz_bytes(arrays))
    return files.sha256_arrays(arrays)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(make(Path(sys.argv[1]), TARGET))
    except ModelregError as error:
        sys.exit(str(error))
