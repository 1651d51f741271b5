"""The documentation's site: it builds without a warning, and its pages load nothing from another host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import untraced

VENDORED = Path(__file__).parents[1] / "docs/assets/vendor/mermaid.min.js"
pytestmark = [
    pytest.mark.skipif(find_spec("material") is None, reason="mkdocs-material is not installed: make docs"),
    pytest.mark.skipif(not VENDORED.exists(), reason="the vendored scripts are not installed: make docs"),
]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "form": "action"}


class Loads(HTMLParser):
    """Collect what a page loads: scripts, styles, pictures, frames; links that a reader follows are not loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add the address of an element that a browser loads."""
        self.found += [value or "" for name, value in attrs if LOADED.get(tag) == name]


@pytest.fixture(scope="module")
def site(root, tmp_path_factory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    variables = untraced.environment() | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_a_page_loads_nothing_from_another_host(site) -> None:
    """Neither a script nor a style, a font or a picture."""
    elsewhere = set()
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        elsewhere |= {(page.name, address) for address in loads.found if re.match(r"(https?:)?//", address)}

    assert elsewhere == set()


def test_a_style_loads_nothing_from_another_host(site) -> None:
    """No font and no picture."""
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))

    assert re.findall(r"""(?:url\(|@import )["']?(?:https?:)?//[^)"']*""", styles) == []


def test_a_page_with_a_diagram_has_mermaid(site) -> None:
    """The theme would load it from another host otherwise."""
    pages = {page.name: page.read_text("utf-8") for page in site.rglob("*.html")}
    drawn = {name for name, text in pages.items() if 'class="mermaid"' in text}

    assert drawn == {name for name, text in pages.items() if "vendor/mermaid.min.js" in text}
    assert drawn


def test_every_rule_has_its_anchor(site) -> None:
    """Messages name rules; a browser finds each by its id."""
    from modelreg.rules import catalogue

    anchors = set(re.findall(r'id="([^"]+)"', (site / "rules.html").read_text("utf-8")))

    assert set(catalogue.load()) <= anchors
