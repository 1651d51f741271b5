"""Whatever the input, a reader returns a record or raises a ModelregError: never another exception, never without end.

Inputs are valid files after structured changes (mutating.py). `make fuzz` draws many more of them. Each input that once
failed is an explicit example.
"""

import gzip
import io
import json
import lzma
import os
import shutil
import struct
import sys
import tarfile
import zipfile
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

import hef_builder
import numpy as np
import pytest
import window_files
from csv_folder import TEXT as CSV
from csv_folder import channels, device, timed
from csv_folder import source as csv_source
from example_run import model_spec, predictions, tensors
from fuzzing import folder, fuzz, read_or_refused, written
from hypothesis import strategies as st
from mutating import altered, altered_json
from packing import KINDS, packed
from safetensors.numpy import save as save_tensors
from test_dsads import text as dsads_text
from test_onnx_file import GRAPH

from modelreg.artifacts import bundle_archive, hef_file, npz, onnx_file, safetensors_file
from modelreg.data.cache import Reading, map_npy
from modelreg.data.sources import csv, csv_table, dsads, hapt, npy, spsw, windows
from modelreg.data.sources.binary_tables import SUFFIXES, read_table
from modelreg.data.sources.containers import open_tree
from modelreg.data.sources.file_formats import FIRST, name_format
from modelreg.evaluation import metrics

pytestmark = pytest.mark.no_cover  # a thousand times what other tests do once

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

__all__ = ["folder"]  # a fixture

ROOT = Path(__file__).parents[1]
VERSION = ROOT / "registry/conv2d_fsq/v0.2.0"


# Arrays, weights, graphs

DESCRIPTION = hef_builder.description()


@fuzz(altered([hef_builder.hef(version=version) for version in range(4)], (b"\x01HEF",)), 60)
def test_hef(data) -> None:
    """Header and checksums."""
    with read_or_refused("HEF"):
        hef_file.parse_hef(data, "x.hef")


@fuzz(
    altered([DESCRIPTION, hef_builder.description(hef_builder.network(), hef_builder.network("b"), extensions=(25,))]),
    150,
)
def test_hef_descriptions(data) -> None:
    """Behind a valid checksum."""
    with read_or_refused("HEF"):
        hef_file.parse_hef(hef_builder.sealed(data), "x.hef")


@fuzz(altered([GRAPH, (VERSION / "onnx/head.onnx").read_bytes()]), 100)
def test_onnx(data) -> None:
    """A graph."""
    with read_or_refused("ONNX"):
        onnx_file.read_onnx(data, "x.onnx")


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in entries.items():
            made.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


ARRAYS = predictions(np.random.default_rng(0), windows=4).arrays()
NPY = [npy_bytes(array) for array in (*ARRAYS.values(), np.zeros((2, 3), "<f4", "F"), np.zeros(()), np.zeros((0, 3)))]
HEADER = (
    b"'descr'",
    b"'fortran_order'",
    b"'shape'",
    b"True",
    b"(4,)",
    b"()",
    b"|O",
    b"<U9999",
    b"<f4",
    b"|V0",
    b"('a', '<f4')",
    b"[",
    b"(" * 200,
    b"-1",
)


@fuzz(
    altered(
        [npz.npz_bytes(ARRAYS), npz.npz_bytes(ARRAYS, compressed=True)], (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
    ),
    100,
)
def test_npz(data) -> None:
    """A zip archive of arrays."""
    with read_or_refused("npz"):
        metrics.from_arrays(npz.parse_npz(data, "x.npz", 2**20), "x.npz", 3)


@fuzz(altered(NPY, HEADER), 100)
def test_npz_entries(data) -> None:
    """Behind a valid checksum."""
    with read_or_refused("npz"):
        metrics.from_arrays(npz.parse_npz(zipped({"y.npy": data}), "x.npz", 2**20), "x.npz", 3)


@fuzz(altered(NPY, HEADER), 100)
def test_npy(folder, data) -> None:
    """An array of recordings, whose errors the source turns into problems."""
    path = written(folder, "x.npy", data)
    with read_or_refused("npy"), suppress(ValueError, OSError):
        map_npy(path, 2**20)


WEIGHTS = save_tensors(tensors(np.random.default_rng(0)))
HEADER_SIZE = int.from_bytes(WEIGHTS[:8], "little")
TENSORS = json.loads(WEIGHTS[8 : 8 + HEADER_SIZE])
WITH_STATE = TENSORS | {"__metadata__": {"state": '{"epoch": 1}'}}


def weights_of(header: bytes) -> bytes:
    """Return a checkpoint with this header."""
    return len(header).to_bytes(8, "little") + header + WEIGHTS[8 + HEADER_SIZE :]


CHECKPOINTS = altered([WEIGHTS], (b"F64", b"BF16", b"shape")) | altered_json(
    [TENSORS, WITH_STATE], ["__metadata__", "state", "dtype", "shape", "data_offsets"]
).map(weights_of)


@fuzz(CHECKPOINTS, 150)
def test_safetensors(folder, data) -> None:
    """Weights, read with numpy."""
    with read_or_refused("safetensors"):
        arrays = safetensors_file.read_safetensors(written(folder, "x.safetensors", data))
        list(safetensors_file.find_tensor_problems(arrays, model_spec(), "x.safetensors"))


@pytest.mark.needs("torch", "safetensors")
@fuzz(CHECKPOINTS, 100)
def test_checkpoints(data) -> None:
    """Weights and the state of a training, read with torch."""
    from modelreg.ml import checkpoint

    with read_or_refused("safetensors"):
        saved = checkpoint.parse(data, "x.safetensors")
        list(checkpoint.non_finite(saved.tensors))


def tar(entries: dict[str, bytes], form: int = tarfile.PAX_FORMAT, **headers: str) -> bytes:
    """Return an archive, not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), headers
            made.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


BUNDLE = {"bundle.json": b"{}", "compile.sh": b"#!/bin/sh", "encoder.onnx": b"x" * 600, "y" * 150: b"long"}
TARS = [
    *(tar(BUNDLE, form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    *(
        tar({"a": b"x" * 5000}, **{name: value})
        for name, value in (("size", "99"), ("GNU.sparse.map", "0,1"), ("path", "b"))
    ),
]
FIELDS = (
    b"ustar\0",
    b"ustar  \0",
    b"\0000000001\0",
    b"77777777777\0",
    b"\x80" + b"\xff" * 11,
    b"L",
    b"K",
    b"x",
    b"g",
    b"S",
    b"12 size=9\n",
)


def checked(data: bytes) -> bytes:
    """Return an archive with the right checksum in each block that may be a header."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for block in blocks:
        if len(block) == 512 and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


@fuzz(
    altered([gzip.compress(TARS[0])]) | altered(TARS, FIELDS).map(checked).map(lambda data: gzip.compress(data, 1)),
    150,
)
def test_bundles(data) -> None:
    """A .tar.gz: damaged itself, or its contents."""
    with read_or_refused("tar.gz"):
        bundle_archive.unpack_stream(io.BytesIO(data), "bundle.tar.gz")


NATIVE = {
    "RawData/labels.txt": b"1 1 5 3 10\n",
    "RawData/acc_exp01_user01.txt": b"1 2 3\n" * 40,
    "RawData/gyro_exp01_user01.txt": b"1 2 3\n" * 40,
}
XZ = [tar(NATIVE, form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)]


@fuzz(
    altered([lzma.compress(XZ[0], preset=0)])
    | altered([*XZ, *TARS], FIELDS).map(checked).map(lambda data: lzma.compress(data, preset=0)),
    60,
)
def test_archives_of_recordings(folder, data) -> None:
    """A .tar.xz: damaged itself, or its contents."""
    with read_or_refused("tar.xz"):
        hapt.read(written(folder, "archives/x.tar.xz", data), Reading(folder))


# Recordings

with suppress(ImportError):
    import pandas as pd

    pd.Series(["a"])  # on first use, the allocator of its texts reserves as many addresses as an example may add

NUMBERS = (
    b"nan",
    b"-inf",
    b"1e400",
    b"0x1",
    b"1_0",
    b"True",
    b"\xd9\xa3",
    b"2024-01-01T00:00:00",
    b"+",
    b"-999",
    b"1,5",
    b"NaT",
    b"now",
    b"99999999999999999999",
)
LAYOUTS = [
    csv_table.Layout.of(csv_source(**changes), "watch")
    for changes in (
        {},
        {"devices": timed("ms")},
        {"devices": timed("ns")},
        {"devices": timed("iso8601")},
        {"separator": ";", "missing": ["", "-999", "x"]},
        {"separator": " ", "header": False, "label": 3, "devices": {"watch": device(channels=channels(1, 2))}},
        {"separator": ";", "decimal": ",", "on_bad_row": "skip", "max_bad_rows": 1, "comment": "a"},
        {"separator": "blanks", "header": False, "label": 3, "devices": {"watch": device(channels=channels(1, 2))}},
        {"encoding": "latin-1", "skip_until": "^a", "devices": timed("time-of-day"), "clock": "sort"},
        {"encoding": "utf-16", "skip": 1, "devices": timed("excel"), "clock": "drop"},
        {"devices": {"watch": device(time={"column": "t", "unit": "iso8601", "zone": "Europe/Berlin"})}},
        {
            "clock": "drop",
            "devices": {
                "watch": device(
                    time={
                        "column": "t",
                        "unit": "strptime",
                        "format": "%Y-%m-%d",
                        "plus": {"column": "a", "unit": "s"},
                    },
                    channels=channels("b", "b"),
                )
            },
        },
    )
]
TABLES = [
    CSV.encode(),
    b"t,a,b,label\n1,1,2,walk\n2,3,4,walk\n3,5,6,rest\n",
    b"t,a,b,label\n2024-01-01T00:00:00Z,1,2,walk\n2024-01-01T00:00:01.5+02:00,3,4,\n",
    b'a;b;label\n1.5;-999;"x;y"\n3;4;walk\n',
    b"1 2 walk\n3 4 rest\n",
    b"t,a,b,label\n23:59:59.5,1,2,walk\n00:00:00:25,3,4,\n00:00:01,3,4,x\n",
    b"t,a,b,label\n2023-10-29 02:59:59,1,2,walk\n2023-10-29 02:00:00,3,4,\n2023-10-29,3,4,x\n",
    b"t,a,b,label\n1,1,2,x\n1,1,2,x\n2,1,2,x\n2,1,2,x\n3,1,2,x\n3,1,2,x\n",
    "a;b;label\n1,5;-2;x\n# no\n1,5;2\n".encode("utf-16"),
]


@pytest.mark.needs("pandas")
@fuzz(st.tuples(st.sampled_from(LAYOUTS), altered(TABLES, NUMBERS)), 120)
def test_csv(data) -> None:
    """Text of rows and columns, by several layouts."""
    with read_or_refused("CSV"):
        dict(csv_table.parse(io.BytesIO(data[1]), "x.csv", data[0]))


@pytest.mark.needs("pandas")
@fuzz(altered([b"anna_1.csv", b"a/b_2.csv"], (b"/", b"..", b".", b"\x80")), 30)
def test_names_of_recordings(folder, data) -> None:
    """The names of files become those of subjects."""
    place = folder / "names"
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError, ValueError):
        written(place, os.fsdecode(data.lstrip(b"/").replace(b"..", b"")) + "_1.csv", CSV.encode())
    with read_or_refused("CSV"):
        csv.read(csv_source(path="names"), Reading(folder))


@pytest.mark.needs("pandas")
@fuzz(altered([gzip.compress(CSV.encode())]) | altered(TABLES, NUMBERS).map(gzip.compress), 40)
def test_compressed_csv(folder, data) -> None:
    """A folder with one file: damaged itself, or its text."""
    written(folder, "compressed/anna_1.csv.gz", data)
    devices = {"watch": device(files=r"(?P<subject>\w+)_(?P<session>\d)\.csv\.gz")}
    with read_or_refused("CSV"):
        csv.read(csv_source(path="compressed", devices=devices), Reading(folder))


LINE = b",".join([b"0.5"] * 45) + b"\n"


@pytest.mark.needs("pandas")
@fuzz(altered([dsads_text(0), LINE * 125], (*NUMBERS, LINE)), 30)
def test_dsads(data) -> None:
    """One segment."""
    with read_or_refused("DSADS"):
        dsads.parse([dsads.Segment("s01.txt", data)])


@pytest.mark.needs("pandas")
@fuzz(altered([b"1 2 3\n4 5 6\n" * 20], NUMBERS), 60)
def test_signals_of_hapt(data) -> None:
    """Three numbers a line."""
    with read_or_refused("HAPT"):
        hapt.parse("acc_exp01_user01", data, "x.txt")


@pytest.mark.needs("pandas")
@fuzz(altered([b"1 1 5 3 10\n1 1 7 11 12\n"], (b"0", b"-1", b"13", b"999999999", b"\xc2\xb2", b"\xd9\xa3")), 60)
def test_labels_of_hapt(folder, data) -> None:
    """Spans of samples."""
    place = folder / "hapt"
    for name, text in NATIVE.items():
        written(place, name, text)
    written(place, "RawData/labels.txt", data)
    with read_or_refused("HAPT"):
        hapt.read(place, Reading(folder))


SPSW = b"x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n" + b"".join(
    b"1,2,3,4,5,6,%d,WALKING\n" % n for n in range(9)
)


@pytest.mark.needs("pandas")
@fuzz(st.tuples(st.sampled_from(["s01_01_sw", "s01_01_sp"]), altered([SPSW], (*NUMBERS, b"WALKING"))), 60)
def test_spsw(data) -> None:
    """A device's file; that of the watch has labels."""
    with read_or_refused("SPSW"):
        spsw.parse(data[0], data[1], "x.csv")


ROWS = window_files.texts(np.arange(48.0).reshape(6, 2, 4) // 3, list("ssssst"), list("xxyyxx"))


@pytest.mark.needs("pandas")
@fuzz(
    st.tuples(
        st.sampled_from(sorted(ROWS)),
        altered([text.encode() for text in ROWS.values()], (*NUMBERS, b"x", b"s")),
        st.sampled_from([0, 0.25, 0.5, 0.75]),
    ),
    80,
)
def test_windows(folder, data) -> None:
    """One file of a part."""
    name, altered_text, overlap = data
    for each, text in ROWS.items():
        written(folder, f"cut/{each}", altered_text if each == name else text.encode())
    with read_or_refused("windows"):
        windows.read(window_files.source(4, overlap, path="cut"), Reading(folder))


DECLARED = {
    "schema_version": 1,
    "name": "mine",
    "license": "CC0-1.0",
    "citation": "none",
    "layout": "NCT",
    "timesteps": 3,
    "rate_hz": 50,
    "channels": [{"name": "ax", "unit": "g"}, {"name": "ay", "unit": "g"}],
    "devices": ["watch"],
    "classes": ["walk", "rest"],
    "parts": {"all": {"x": "x.npy", "y": "y.npy", "subject": "s.npy"}},
}
WINDOWS = {
    "x.npy": np.zeros((4, 2, 3), "<f4"),
    "y.npy": np.array([0, 1, 0, 1]),
    "s.npy": np.array(["a", "b", "a", "b"]),
}


@fuzz(
    st.tuples(
        altered_json([DECLARED], ["all", "train", "x"]),
        st.sampled_from(sorted(WINDOWS)),
        altered(NPY + [npy_bytes(a) for a in WINDOWS.values()], HEADER),
        st.booleans(),
    ),
    60,
)
def test_npy_sources(folder, data) -> None:
    """Arrays, and the JSON document that declares them."""
    declared, name, array, is_declared = data
    for each, values in WINDOWS.items():
        written(folder, f"npy/{each}", npy_bytes(values) if is_declared or each != name else array)
    path = written(folder, "npy/metadata.json", declared if is_declared else json.dumps(DECLARED).encode())
    with read_or_refused("npy"):
        npy.read(path)


# Archives and binary tables

PACKED = {kind: packed({"a.csv": CSV.encode(), "b/c.zip": zipped({"d": b"1"})}, kind) for kind in KINDS}
CONTAINERS = [
    *PACKED.items(),
    (".zip", zipped({"a.csv": CSV.encode(), "b/c.tar": tar(BUNDLE)}, zipfile.ZIP_STORED)),
    (".csv.gz", gzip.compress(CSV.encode())),
]
ZIP = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"../", b"c.zip")


@fuzz(
    st.sampled_from(CONTAINERS).flatmap(lambda made: st.tuples(st.just(made[0]), altered([made[1]], ZIP)))
    | st.tuples(st.sampled_from([".tar", ".tar.gz"]), altered(TARS, FIELDS).map(checked)),
    200,
)
def test_containers(folder, data) -> None:
    """An archive is listed, and all of its files are read."""
    suffix, contents = data
    path = written(folder, f"packed{suffix}", gzip.compress(contents, 1) if suffix == ".tar.gz" else contents)
    place = path.parent if suffix == ".csv.gz" else path
    with read_or_refused("archives"), open_tree(place, "set") as tree:
        for name in tree.paths if place is path else [path.name]:
            with tree.open(name) as stream:
                while stream.read(2**20):
                    pass


TABLE = {"t": np.arange(20), "x": np.arange(20.0), "label": ["walk", "rest"] * 10}


def tables_of(suffix: str) -> list[bytes]:
    """Return small files of a format."""
    import pandas as pd
    from mat73_layout import mat73
    from test_matlab import IMU, mat_5

    frame = pd.DataFrame(TABLE | {"when": pd.to_datetime(TABLE["t"], unit="s", utc=True)})
    match suffix:
        case ".parquet":
            writers = [partial(frame.to_parquet, compression=packing) for packing in (None, "snappy", "zstd")]
        case ".feather":
            writers = [partial(frame.to_feather, compression=packing) for packing in ("uncompressed", "lz4")]
        case ".xlsx":
            writers = [partial(frame.drop(columns="when").to_excel, index=False)]
        case _:
            packings = [mat_5(IMU), mat_5(IMU, compressed=True), mat73(IMU)]
            return [*packings, mat_5({"s": IMU, "x": np.zeros((3, 2), ">i2")})] if suffix == ".mat" else NPY
    made = [io.BytesIO() for _ in writers]
    for write, file in zip(writers, made, strict=True):
        write(file)
    return [file.getvalue() for file in made]


@pytest.mark.needs("pandas", "pyarrow", "openpyxl", "h5py", "scipy")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_binary_tables(suffix) -> None:
    """Files of every format, damaged anywhere."""

    @fuzz(altered(tables_of(suffix), (b"PAR1", b"ARROW1", b"\x89HDF\r\n\x1a\n", *HEADER)), 60)
    def reads(data) -> None:
        with read_or_refused("binary tables"):
            read_table(io.BytesIO(data), "x", suffix, None)

    reads()


@pytest.mark.needs("pandas", "openpyxl")
def test_documents_of_workbooks() -> None:
    """Behind the valid checksums of the zip."""
    with zipfile.ZipFile(io.BytesIO(tables_of(".xlsx")[0])) as book:
        entries = {name: book.read(name) for name in book.namelist()}
    words = (b"<c ", b' t="s"', b' r="XFD1048576"', b"<row>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<v>", b"</")

    @fuzz(st.sampled_from(sorted(entries)).flatmap(lambda n: st.tuples(st.just(n), altered([entries[n]], words))), 60)
    def reads(data) -> None:
        with read_or_refused("binary tables"):
            read_table(io.BytesIO(zipped(entries | dict([data]))), "x", ".xlsx", None)

    reads()


@pytest.mark.needs("scipy", "h5py")
def test_variables_of_matlab() -> None:
    """Behind the valid checksum of their compression."""
    from test_matlab import IMU, mat_5

    whole = mat_5({"imu": IMU})
    words = [bytes([kind, 0, 0, 0, size, 0, 0, 0]) for kind in range(19) for size in (0, 4, 8, 255)]

    @fuzz(altered([whole[128:]], words), 100)
    def reads(data) -> None:
        packing = zlib.compress(data)
        with read_or_refused("binary tables"):
            made = whole[:128] + struct.pack("<II", 15, len(packing)) + packing
            read_table(io.BytesIO(made), "x", ".mat", None)

    reads()


@fuzz(
    altered([b"t,x\n1,2\n", b"PAR1\x15", b"PK\x03\x04", b'[{"', *NPY], (b"ustar\0", b"ftyp", b".FIT")).map(
        lambda data: data[:FIRST]
    ),
    60,
)
def test_first_bytes(data) -> None:
    """Of any file."""
    with read_or_refused("first bytes"):
        name_format(data, "x.csv")


# Legacy checkpoints


def legacy_seeds() -> list[bytes]:
    """Return what torch.save writes, now and before torch 1.6."""
    from test_legacy_checkpoint import STATE, TRAINED, saved

    return [saved(STATE), saved(TRAINED), saved(STATE, new=False), saved(TRAINED, new=False)]


@pytest.mark.needs("torch")
def test_legacy_checkpoints(folder) -> None:
    """Damaged archives, and archives of damaged pickles."""
    from modelreg.ml import legacy_checkpoint

    seeds = legacy_seeds()
    entries = [
        {entry: archive.read(entry) for entry in archive.namelist()}
        for archive in map(zipfile.ZipFile, map(io.BytesIO, seeds[:2]))
    ]
    pickles = [next(data for name, data in found.items() if name.endswith("/data.pkl")) for found in entries]

    def repacked(pickle: bytes) -> bytes:
        changed = {name: pickle if name.endswith("/data.pkl") else data for name, data in entries[1].items()}
        return zipped(changed, zipfile.ZIP_STORED)

    @fuzz(altered(seeds) | altered(pickles, PICKLES).map(repacked), 60)
    def reads(data) -> None:
        with read_or_refused("zip and pickle"):
            legacy_checkpoint.read_legacy_checkpoint(written(folder, "x.pth", data), 2**22)

    reads()


PICKLES = (
    b"ctorch\nFloatStorage\n",
    b"cnumpy\ndtype\n",
    b"cos\nsystem\n",
    b"}",
    b"]",
    b")",
    b"R",
    b"b",
    b"K\xff",
    b"q\x01",
    b"h\x01",
    b".",
    b"\x8a\x08" + b"\xff" * 8,
    b"Q",
    b"t",
    b"(",
    b"N",
    b"u",
    b"s",
)
