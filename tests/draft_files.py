"""Made-up recordings in the layouts of formats that have no miniature: for tests only."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

G = 9.80665
RATE = 50.0


def motion(rows: int = 300, one: float = G, *, moving: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return seconds (rows,), an acceleration with gravity and an angular velocity in rad/s (rows, 3)."""
    time = np.arange(rows) / RATE
    waves = np.stack([np.sin(2 * np.pi * f * time + p) for f, p in ((1.8, 0.0), (3.6, 0.5), (1.8, 1.0))], axis=1)
    noise = np.random.default_rng(0).normal(0, 0.002, (rows, 3))
    size = 0.3 if moving else 0.0
    return time, one * (np.array([0.0, 0.6, 0.8]) + size * waves + noise), size * 3 * waves + noise


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    """Write a text file."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))


def table(header: str, rows: Iterable[Iterable[object]], separator: str = ",") -> str:
    """Return a table as text; an empty header is left out."""
    lines = [header] * bool(header) + [separator.join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def plain(rows: int = 300, one: float = G, *, moving: bool = True, header: str = "t,ax,ay,az") -> str:
    """Return a table of a time in seconds and an acceleration."""
    time, acceleration, _ = motion(rows, one, moving=moving)
    return table(header, ((f"{t:.2f}", *np.round(a, 4)) for t, a in zip(time, acceleration, strict=True)))


def geneactiv(folder: Path, subject: str) -> None:
    """A hundred lines before the rows, whose stamps have milliseconds after a colon."""
    head = ["Device Type,GENEActiv", "Device Model,1.1", *[""] * 8, "Measurement Frequency,50 Hz"]
    head += ["Extract Notes,a file of a test"] * (100 - len(head))
    time, acceleration, _ = motion(one=1.0)
    rows = [
        (f"2014-05-07 16:29:{30 + int(t):02d}:{round(t * 1000) % 1000:03d}", *np.round(a, 4), 10, 0, 26.7)
        for t, a in zip(time, acceleration, strict=True)
    ]
    write(folder, f"{subject}_left wrist.csv", "\n".join(head) + "\n" + table("", rows))


def movesense(folder: Path, subject: str) -> None:
    """A file for each sensor; packets of four rows share a stamp."""
    time, acceleration, turning = motion()
    for name, values in (("Acc", acceleration), ("Gyro", np.degrees(turning))):
        rows = [(int(1000 * time[n // 4 * 4]) + 5000, *np.round(values[n], 4)) for n in range(len(time) // 4 * 4)]
        for activity in ("sit", "walk"):
            write(folder, f"{subject}/{activity}/Movesense{name}.csv", table("timestamp,x,y,z", rows))


def sensorlog(folder: Path, subject: str) -> None:
    """One wide table; gravity apart, in G; the label is a number."""
    time, acceleration, turning = motion(one=1.0)
    gravity = np.array([0.0, 0.6, 0.8])
    names = [
        f"{kind}{axis}{unit}"
        for kind, unit in (
            ("motionUserAcceleration", "(G)"),
            ("motionGravity", "(G)"),
            ("motionRotationRate", "(rad/s)"),
        )
        for axis in "XYZ"
    ]
    rows = [
        (
            f"2024-05-07T08:30:{int(t):02d}.{round(t * 1000) % 1000:03d}+02:00",
            *np.round(a - gravity, 4),
            *gravity,
            *np.round(w, 4),
            1 + (t >= 3),
        )
        for t, a, w in zip(time, acceleration, turning, strict=True)
    ]
    write(folder, f"{subject}.csv", table(",".join(["loggingTime(txt)", *names, "label(N)"]), rows))


def opportunity(folder: Path, subject: int) -> None:
    """Two hundred and fifty columns; milliseconds, then mg and thousandths of rad/s."""
    time, acceleration, turning = motion(one=1000.0)
    cells = np.zeros((len(time), 250))
    cells[:, 0] = np.round(time * 1000 * RATE / 30)
    for first in (37, 50, 63, 76, 89):
        cells[:, first : first + 6] = np.hstack([np.round(acceleration), np.round(1000 * turning)])
    cells[:, 243] = np.where(time < 2, 0, np.where(time < 4, 1, 2))
    write(folder, f"dataset/S{subject}-ADL1.dat", table("", cells.astype(int), " "))


def realworld(folder: Path, subject: int) -> None:
    """A zip for each activity and sensor, with a file for each position; one with several zips in it."""
    time, acceleration, _ = motion()
    rows = [
        (n + 1, int(1435000000000 + 1000 * t), *np.round(a, 4))
        for n, (t, a) in enumerate(zip(time, acceleration, strict=True))
    ]
    text = table("id,attr_time,attr_x,attr_y,attr_z", rows)
    inner = packed({f"acc_climbingup_{p}.csv": text.encode() for p in ("chest", "waist")})
    outer = {
        "acc_walking_csv.zip": packed({f"acc_walking_{p}.csv": text.encode() for p in ("chest", "waist")}),
        "acc_climbingup_csv.zip": packed({f"acc_climbingup_{n}_csv.zip": inner for n in (1, 2)}),
    }
    for name, data in outer.items():
        place = folder / f"proband{subject}" / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def packed(files: dict[str, bytes]) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def dsads(folder: Path, subject: int) -> None:
    """Files of five seconds at 25 Hz, 45 columns."""
    for activity in (1, 9):
        for piece in (1, 2):
            cells = np.random.default_rng(activity).normal(0, 1, (125, 45))
            write(folder, f"a{activity:02d}/p{subject}/s{piece:02d}.txt", table("", np.round(cells, 4)))


def hapt(folder: Path, subject: int) -> None:
    """Two files for each experiment, and the labels of all."""
    _, acceleration, turning = motion(one=1.0)
    for name, values in (("acc", acceleration), ("gyro", turning)):
        write(folder, f"RawData/{name}_exp{subject:02d}_user{subject:02d}.txt", table("", np.round(values, 4), " "))
    with (folder / "RawData/labels.txt").open("a") as labels:
        labels.write(f"{subject} {subject} 5 1 150\n{subject} {subject} 1 151 300\n")
    names = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
    names += ("STAND_TO_SIT", "SIT_TO_STAND", "SIT_TO_LIE", "LIE_TO_SIT", "STAND_TO_LIE", "LIE_TO_STAND")
    write(folder, "RawData/activity_labels.txt", "".join(f"{n} {name}\n" for n, name in enumerate(names, 1)))


def sp_sw_har(folder: Path, subject: int) -> None:
    """A phone and a watch, each with its own stamps in milliseconds."""
    time, acceleration, turning = motion()
    header = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
    for device, lag in (("sp", 0), ("sw", 7)):
        rows = [
            (*np.round(a, 4), *np.round(w, 4), 1650000000000 + lag + round(1000 * t), "WALKING" if t < 3 else "SEATED")
            for t, a, w in zip(time, acceleration, turning, strict=True)
        ]
        write(folder, f"DATA/s{subject:02d}/s{subject:02d}_01_{device}.csv", table(header, rows))
