"""Read sections of CHANGELOG.md and move [Unreleased] under a new heading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.documents import changelog
from modelreg.errors import InputError

TEXT = """# Changelog

## [Unreleased]

### Added

- A thing
  that goes on.

```
## [v9.9.9] - not a heading
```

## [v0.1.0] - 2026-01-02

- First.

[v0.1.0]: https://example.org
"""

lines = st.lists(st.sampled_from(["- a", "", "  b", "### Added", "text [x]"]), max_size=6)


@pytest.mark.parametrize(
    ("tag", "body"),
    [("v0.1.0", "- First."), ("v9.9.9", None), ("v0.2.0", None)],
)
def test_a_section_is_found_by_its_tag(tag, body) -> None:
    """Its body has no blank lines around it and no link references; a heading in a code fence is text."""
    assert changelog.section(TEXT, tag) == body


def test_rolling_moves_the_unreleased_entries() -> None:
    """The new section has the body of [Unreleased]."""
    rolled = changelog.roll(TEXT, "v0.2.0", "2026-11-21")

    assert changelog.section(rolled, "v0.2.0") == changelog.section(TEXT, "Unreleased")


def test_rolling_empties_unreleased() -> None:
    """No entry remains under [Unreleased]."""
    assert changelog.section(changelog.roll(TEXT, "v0.2.0", "2026-11-21"), "Unreleased") == ""


@given(lines.filter(lambda body: "".join(body).strip()), lines)
def test_rolling_adds_one_heading_and_changes_nothing_else(body, old) -> None:
    """Without the new heading, the text is unchanged."""
    text = "\n".join(["# C", "", "## [Unreleased]", *body, "## [v1.0.0] - x", *old, ""])
    rolled = changelog.roll(text, "v1.1.0", "2026-11-21")

    assert rolled.replace("\n## [v1.1.0] - 2026-11-21\n", "", 1) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("# C\n", "changelog.no-unreleased"),
        ("## [Unreleased]\n\n\n## [v1.0.0]\n- x\n", "changelog.nothing-new"),
    ],
)
def test_nothing_to_roll_is_refused(text, rule) -> None:
    """A missing section and an empty section break different rules."""
    with pytest.raises(InputError) as refused:
        changelog.roll(text, "v1.1.0", "2026-11-21")

    assert places(refused.value.problems) == [("CHANGELOG.md", rule)]


def test_headings_without_brackets_count() -> None:
    """`## v1.0.0` is a heading too."""
    assert changelog.section("## v1.0.0\n- x\n", "v1.0.0") == "- x"
