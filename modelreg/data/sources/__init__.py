"""One module per native format; `read` takes what a configuration names to a Dataset."""

from pathlib import Path

from modelreg.config import DsadsSource, NpySource, SampleSource
from modelreg.data.recording import Dataset
from modelreg.data.sources import dsads, npy, sample


def read(source: SampleSource | NpySource | DsadsSource, base: Path) -> Dataset:
    """Read a source; a relative path starts at `base`. Raises InputError with every problem."""
    if isinstance(source, SampleSource):
        return sample.read()
    if isinstance(source, DsadsSource):
        return dsads.read(base / source.path, source.units)
    return npy.read(base / source.path)
