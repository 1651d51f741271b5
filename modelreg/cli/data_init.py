"""`modelreg data init`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.records.draft import DataDraft

LATER = "counted by data check (a file may hold several)"
SHOWN = 8  # subjects or classes that are listed
WIDTH, NAMES = 80, 12  # characters of a line, and of the names before the texts


def init(
    folder: Annotated[Path, typer.Argument(help="The folder of the recordings, or an archive.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write. Default: configs/mine.yaml of the registry.", metavar="FILE"),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", help="The format, such as `phyphox`; `tables`: none that is known.", metavar="FORMAT"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration that was edited.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the draft as JSON.")] = False,
) -> None:
    """Draft the configuration of a folder of recordings.

    Reads names, headers and the first rows, recognizes known exports and data sets, and writes a training configuration
    with a comment on each decision. What it cannot know is a line `FILL IN`. It replaces the file that `modelreg init`
    wrote, and a draft that was not edited since.

    Example: modelreg data init data --out configs/mine.yaml
    """
    from modelreg import files
    from modelreg.data.draft import drafting, stamp
    from modelreg.data.sources import containers
    from modelreg.release import init as release_init

    target = out or host.workplace() / release_init.MINE
    _refuse_edited(target, release_init.documents()[release_init.MINE], force=force)
    files.refuse_unwritable(target.parent)
    host.need_extra("train", "pandas", "clevercsv")
    if not folder.exists():
        raise InputError(drafting.NOTHING, [Problem(str(folder), "draft.nothing-found", "no such folder")])
    place = drafting.Place(_written(folder), folder.resolve().name)
    with containers.open_tree(folder, place.path) as tree:
        proposal = drafting.draft(tree, place, as_)
        count = len(tree.paths)
    shown = host.shown(target)
    text = stamp.stamped(drafting.render(proposal, shown))
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(target, text.encode())
    record = drafting.to_record(proposal, text, str(target), count)
    if as_json:
        emit_json(record.to_document())
        return
    _show(record)
    for line in record.left_out:
        say(line)
    for blank in record.fill_in:
        note(f"{shown}:{blank.line}: FILL IN {blank.setting}: {blank.text}")
    say(f"wrote {shown}")
    say(f"next: modelreg data check {shown}")


def _refuse_edited(target: Path, starter: str, *, force: bool) -> None:
    """Raise InputError if a file exists that somebody edited."""
    from modelreg import files
    from modelreg.data.draft import stamp

    if force or not target.exists():
        return
    data = files.read_bytes(target)
    if data != starter.encode() and not stamp.is_unedited(data):
        step = "choose another file with --out, or replace it with --force"
        problem = Problem(str(target), "draft.edited", "was edited since it was written", step)
        raise InputError("nothing was written", [problem])


def _written(folder: Path) -> str:
    """Return a folder as a configuration has it: relative to the registry's root if it is inside."""
    root, place = host.workplace().resolve(), folder.resolve()
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


def _show(record: "DataDraft") -> None:
    """Print what was found."""
    rows = [
        ("format", record.title),
        ("files", f"{record.files:,}: {record.matched:,} with recordings, {record.opened:,} opened"),
        ("recordings", LATER if record.recordings is None else f"{record.recordings:,}"),
        ("subjects", _listed(record.subjects)),
        ("classes", _listed(record.classes)),
        ("duration", _duration(record.hours)),
    ]
    for name, text in rows:
        first, further = f"{name:<{NAMES}}", " " * NAMES
        lines = wrap(text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False)
        for line in lines or [first]:
            say(line)
    columns = ("device", "channels", "units", "rate (Hz)", "time")
    devices = [
        (d.name, _axes(d.channels), ", ".join(d.units), "?" if d.rate_hz is None else f"{d.rate_hz:g}", d.clock)
        for d in record.devices
    ]
    if devices:
        draw(table(columns, devices, right=("rate (Hz)",)), sys.stdout)


def _axes(channels: Sequence[str]) -> str:
    """Return the names of channels, the axes of a sensor together: `acc xyz, gyro xyz`."""
    sensors: dict[str, str] = {}
    for channel in channels:
        sensor, _, axis = channel.rpartition("_")
        sensors[sensor] = sensors.get(sensor, "") + axis
    return ", ".join(f"{sensor} {axes}" for sensor, axes in sensors.items())


def _duration(hours: float | None) -> str:
    if hours is None:
        return "counted by data check"
    return f"{hours:.3g} h" if hours >= 1 else f"{60 * hours:.3g} min"


def _listed(names: Sequence[str] | None) -> str:
    if names is None:
        return "not known"
    more = f", and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"
