"""docs/models.md: the settings that it explains are those that there are, with their defaults."""

import json
import re

import pytest

from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dFsqSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqSettings,
    Convolutions,
    HdpSettings,
    HsmmSettings,
    Record,
    TcnVaeSettings,
    VqSettings,
)

STATED = re.compile(r"`([a-z_.]+)` \[(.*?)\](?=,? [`|])")
SHARED = set(Convolutions.model_fields)
SECTIONS: dict[str, tuple[tuple[str, type[Record]], ...]] = {
    "Convolutions (all but `tcn_vae`)": (("", Convolutions),),
    "`conv2d_fsq`": (("", Conv2dFsqSettings),),
    "`conv2d_vq`": (("", Conv2dVqSettings), ("vq.", VqSettings)),
    "`conv2d_fsq_hsmm`: explicit durations": (("hsmm.", HsmmSettings),),
    "`conv2d_vq_hdp_hsmm`": (("hdp.", HdpSettings),),
    "`tcn_vae`": (("", TcnVaeSettings),),
}


@pytest.fixture(scope="module")
def sections(root):
    """The page's sections by their headings."""
    text = (root / "docs" / "models.md").read_text()
    return dict(part.split("\n", 1) for part in text.split("\n## ")[1:])


def defaults(prefix: str, record: type[Record]) -> dict[str, object]:
    """The defaults of plain settings, by their names on the page."""
    skipped = {"name"} if record is Convolutions else {"name", *SHARED} - ({"widths", "dropout"} & _own(record))
    plain = {name: field for name, field in record.model_fields.items() if name not in skipped}
    found = {prefix + name: field.default for name, field in plain.items() if not isinstance(field.default, Record)}
    return json.loads(json.dumps(found))


def _own(record: type[Record]) -> set[str]:
    return set() if issubclass(record, Convolutions) else set(record.model_fields)


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_states_every_setting_with_its_default(sections, heading) -> None:
    """None is left out, none is made up, none is old."""
    rows = [line for line in sections[heading].splitlines() if line.startswith("| `")]
    stated = {name: _value(text) for row in rows for name, text in STATED.findall(row.split(" | ")[0] + " |")}
    expected = {name: value for pair in SECTIONS[heading] for name, value in defaults(*pair).items()}

    assert stated == expected


def _value(text: str) -> object:
    """Read a default as the page has it: JSON but for words, and for the brackets of a list, which are the page's."""
    try:
        return json.loads(f"[{text}]") if "," in text else json.loads(text)
    except json.JSONDecodeError:
        return text


def test_systems_that_share_settings_have_no_others() -> None:
    """What the page says once is so for each."""
    both = (
        Conv2dFsqHsmmSettings.model_fields.keys() - {"hsmm"},
        Conv2dVqHdpHsmmSettings.model_fields.keys() - {"hdp", "hsmm"},
    )

    assert both == (Conv2dFsqSettings.model_fields.keys(), Conv2dVqSettings.model_fields.keys())
