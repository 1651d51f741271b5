"""Import a legacy checkpoint without a configuration.

Its data are the embedded sample, and the settings that it does not determine are the defaults of its model system, if
both fit the weights. Else there is an example of a configuration of the shape that they need. Its values that begin
with FILL IN are those that no tensor shows; a configuration that still has one is refused.
"""

from collections.abc import Iterator
from typing import Any

from modelreg import config as settings
from modelreg.config import TrainConfig
from modelreg.config_errors import FILL_IN, shown
from modelreg.data.sources import sample
from modelreg.errors import Notice, Problem
from modelreg.ml.legacy_conversion import Needs
from modelreg.workflows import import_checkpoint
from modelreg.workflows.import_checkpoint import Older

DEFAULT = "the built-in default"
FILE = "import.yaml"  # of the example

SAMPLE = import_checkpoint.Shape(len(sample.CHANNELS), 1, len(sample.CLASSES))

_SOURCE = """\
  sources:
    # one text file for each recording and device; docs/data.md has other kinds
    - kind: csv
      path: data  # the folder of the recordings
      name: my-recordings
      license: FILL IN who may use them, as CC-BY-4.0 or proprietary
      citation: FILL IN who recorded them, when
      label: FILL IN the column with the labels
      devices:
"""
_DEVICE = """\
        - name: device{number}  # FILL IN if it has another name: watch, collar
          # a regular expression for the path of each file below `path`;
          # (?P<subject>...) is the subject's id
          files: '(?P<subject>[^/_]+)_(?P<session>[^/_]+){ending}\\.csv'
          rate_hz: 50  # FILL IN if it is another rate: samples per second
          channels:
"""
_CHANNEL = "            - {{name: FILL IN name {number}, column: FILL IN column, unit: FILL IN}}\n"
_MERGED = """\
            # if the training had several devices: their channels, one device
            # after the other; list each device, with its share of them
"""
_REST = """\
  window: 100  # timesteps; FILL IN if the windows of the training were others
  hop: 50  # timesteps from one window to the next
# how many subjects are held back for the test and for validation
split: {by: subject, test: 3, validation: 1}
"""


def find_problems(older: Older) -> Iterator[Problem]:
    """Yield why a checkpoint cannot be imported without a configuration."""
    yield from import_checkpoint.find_misfits(older.adopted.needs, SAMPLE, "the embedded sample has")
    taken = _defaults(older)
    yield from (
        import_checkpoint.unsaid(f"model.{name}", what.meaning)
        for name, what in older.adopted.unsaid.items()
        if name not in taken
    )


def settle(older: Older) -> TrainConfig:
    """Return the configuration of an import without one, if `find_problems` finds nothing."""
    document = settings.default()
    evaluation = {
        key: value for key, value in document.get("evaluation", {}).items() if key not in ("protocol", "folds")
    }
    made = {**document, "evaluation": evaluation, "model": {"name": older.model, **_defaults(older)}}
    return import_checkpoint.settle(older, made, DEFAULT)


def describe(older: Older, config: TrainConfig) -> Iterator[Notice]:
    """Yield what an import without a configuration takes, and where each part is from."""
    data, model = config.data, older.model
    shape = f"{SAMPLE.channels} channels, {SAMPLE.devices} device, windows of {data.window} timesteps"
    yield Notice("data", f"the embedded sample recordings ({shape} at {sample.RATE_HZ:g} Hz)")
    own = "has no classifier" if older.adopted.needs.classes is None else "does not name its own"
    yield Notice("classes", f"{', '.join(sample.CLASSES)}: those of the sample, in its order; the checkpoint {own}")
    known = ", ".join(f"{name} {shown(value)}" for name, value in older.adopted.settings.items())
    yield Notice("model", f"{known}: from the checkpoint; all others: the defaults of {model}")
    for name, value in _defaults(older).items():
        what = f"{shown(value)}: the default of {model}; the checkpoint does not determine it"
        yield Notice(f"model.{name}", what)


def _defaults(older: Older) -> dict[str, Any]:
    """Return the settings that a checkpoint does not determine, as the model system has them, if their length fits."""
    document: Any = {"model": {"name": older.model}}
    model = settings.settle(document, TrainConfig, DEFAULT).to_document()["model"]
    return {name: model[name] for name, what in older.adopted.unsaid.items() if len(model[name]) == what.length}


def example(older: Older, command: str) -> str:
    """Return the text of a configuration; `command` imports the checkpoint with it."""
    needs = older.adopted.needs
    shape = "".join(f"#   {name}: {what}\n" for name, what in needs.described().items())
    fits = not list(import_checkpoint.find_misfits(needs, SAMPLE))
    data = "  sources: [{kind: sample}]  # the embedded recordings, which fit\n" if fits else _data(needs)
    return (
        f"# A configuration for {older.file}. Fill in the values with {FILL_IN}, then:\n#   {command}\n"
        f"# The data that the checkpoint needs, as far as its tensors show it:\n{shape}"
        f"data:\n{data}{_REST}{_model(older)}"
    )


def _data(needs: Needs) -> str:
    """Return the lines of a source with as many devices, channels and classes as the checkpoint needs."""
    channels = "".join(_CHANNEL.format(number=number) for number in range(1, needs.channels + 1))
    devices = "".join(
        _DEVICE.format(number=number, ending="" if number == 1 else f"_device{number}")
        + (_MERGED if needs.merged else "")
        + channels
        for number in range(1, (needs.devices or 1) + 1)
    )
    classes = "".join(f"    - {FILL_IN} label of class {number}\n" for number in range(needs.classes or 0))
    return _SOURCE + devices + (f"  classes:  # in the order of the training\n{classes}" if classes else "")


def _model(older: Older) -> str:
    """Return the lines of the model: its settings are in the checkpoint, except for those that no tensor shows."""
    lists = "".join(
        f"  {name}:  # {what.meaning}\n" + f"    - {FILL_IN} number\n" * what.length
        for name, what in older.adopted.unsaid.items()
    )
    return f"model:  # the checkpoint has its other settings\n  name: {older.model}\n{lists}"
