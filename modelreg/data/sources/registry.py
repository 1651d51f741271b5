"""Read any source: one module per format, chosen by the configured `kind`."""

from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.sources import csv, dsads, hapt, npy, sample, spsw, windows
from modelreg.records.source import DsadsSource, HaptSource, NpySource, SampleSource, Source, SpswSource, WindowsSource

NATIVE = {"hapt": hapt.read, "spsw": spsw.read}  # sources without settings


def read(source: Source, reading: Reading) -> Dataset:
    """Read a source under its own names of channels, devices and labels. Raises InputError with every problem."""
    match source:
        case SampleSource():
            return sample.read()
        case NpySource():
            return npy.read(reading.base / source.path)
        case DsadsSource():
            return dsads.read(reading.base / source.path, source.units, reading)
        case HaptSource() | SpswSource():
            return NATIVE[source.kind](reading.base / source.path, reading)
        case WindowsSource():
            return windows.read(source, reading)
        case _:
            return csv.read(source, reading)
