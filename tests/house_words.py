"""The words of this project's first prose that a stranger has to translate, and the texts that are read for them.

`python tests/house_words.py [FILE ...]` lists each place. The replacements: a split is train, validation or test;
people and animals are subjects; software expects, requires and requests; a file is missing; a fault is fixed.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
HOUSE_WORDS = re.compile(
    r"""\b(?:
      whom | whoever | whosoever | thereof | therein | herein | hence | lest | ought | amidst | whereby
    | beside s? | told | tells? \s of | of \s (?:its|their) \s own
    | let \s (?:an? \s alias | it \s | them \s | a \s name | the \s name)
    | goes \s on | go \s on | went \s on | going \s on | tak(?:e|es|en|ing) \s up | took \s up
    | (?<!there\ ) (?:is|are|was|were) \s no \s (?!longer|more|less|later|earlier|larger|smaller|better|worse)[\w-]+
    | stand s? \s in | stood \s in | stands? \s for
    | held \s (?:against|to\b) | hold s? \s (?:it|them|each|both) \s (?:against|to\b)
    | held[- ]out \s part | the \s parts \s share | (?:test|training|validation) \s part
    | look s? \s at \s the \s test
    | persons? | (?<!for\ )people | older \s code | old(?:er)? \s checkpoints?
    | (?:before|after) \s the \s temperature | the \s temperature \s (?:makes|made|helps|is|was)
    | wanted | asked \s for | lack(?:s|ed|ing)? | mend(?:s|ed|ing|able)? | alike | put \s aside | nameless | coats
    | (?:come|comes|came) \s to \s be | became \s of | whichever | wherever
    | says? \s so | said \s so | makes? \s of \s it | in \s turn | as \s it \s was
    | what \s (?:it|they) \s (?:was|were|is|are)\b | always \s answering | no \s use | who \s are \s you
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
TEXTS = ("*.md", "*.yaml", "*.yml", "*.toml", "*.sh", "*.json", "Makefile", "deploy/*", ".ci/run")
TEXTS += ("modelreg/**", "scripts/*.py", "benchmarks/*.py")
FROZEN = re.compile(
    r"""registry/ | docs/adr/ | tests/ | RELEASES\.md | modelreg/documents/templates/(?:card_v1|gates_v1|sbom_v1)
    | .*package-lock\.json | modelreg/data/sources/sample""",
    re.VERBOSE,
)  # released documents, decisions of their day, template 1
RELEASED = re.compile(r"^## \[v?\d", re.MULTILINE)  # in CHANGELOG.md: the first released section

KEPT = {  # text that must not change, by file
    "modelreg/evaluation/calibration_v1.py": {"validation part"},  # in calibration.json, which `verify` computes again
    "modelreg/records/export.py": {"makes of it"},  # in released bundles, where `hef attach` replaces it
    "schemas/RunRecord.schema.json": {"lacks"},  # the name of a field
    "docs/records.md": {"lacks"},
    "modelreg/data/draft/words.yaml": {"person"},  # as users name columns and files
    "modelreg/release/privacy.py": {"persons"},  # an id that users write
}


class Place(NamedTuple):
    """One house word: file, line, and the words."""

    file: str
    line: int
    words: str


def find_in(path: Path) -> Iterator[Place]:
    """Yield each house word of a file's text, or of a Python module's comments and strings."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text("utf-8")
    passages = (
        _of_python(text) if path.suffix == ".py" else [(1, _unreleased(text) if name == "CHANGELOG.md" else text)]
    )
    for first, passage in passages:
        for found in HOUSE_WORDS.finditer(passage):
            if found[0].lower() in KEPT.get(name, ()):
                continue
            yield Place(name, first + passage.count("\n", 0, found.start()), " ".join(found[0].split()))


def _unreleased(changelog: str) -> str:
    released = RELEASED.search(changelog)
    return changelog[: released.start()] if released else changelog


def _of_python(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def public_texts() -> list[Path]:
    """Return every tracked text that a user or a maintainer reads, but for what may never change."""
    listed = subprocess.run(["git", "ls-files", "--", *TEXTS], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if not FROZEN.match(name)]


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or public_texts()
    places = [place for path in chosen for place in find_in(path)]
    sys.stdout.writelines(f"{place.file}:{place.line}: {place.words}\n" for place in places)
    sys.stdout.write(f"{len(places)} house words in {len({place.file for place in places})} files\n")
