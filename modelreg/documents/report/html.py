"""Render a report as one self-contained HTML file: no script, no font, no network request.

Raw HTML in the Markdown is disabled, so that a name that looks like markup is shown literally. A content security
policy allows only the inline style and the embedded pictures.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from modelreg.escaping import one_line

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Picture = tuple[bytes, bytes]  # in light and in dark colors, each PNG or SVG

PNG = b"\x89PNG\r\n\x1a\n"
PNG_SCALE = 120 / 96  # dots per CSS pixel: plots.DOTS / 96
READABLE = 0.68  # smallest scale of a picture before it scrolls: 10 pt become 9 px
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --shade: #f4f6f8; --link: #0059a3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181d; --ink: #e8eaed; --soft: #a3acb6; --line: #3a424b; --shade: #1f242b; --link: #79c0ff; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: clamp(1.5rem, 1.2rem + 1.5vw, 2.1rem); }
h2 { margin: 2.75rem 0 0.75rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line); font-size: 1.35rem;
  scroll-margin-top: 1rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
li { margin: 0.5rem 0; }
a { color: var(--link); }
code { padding: 0.1em 0.35em; border-radius: 4px; background: var(--shade); overflow-wrap: anywhere;
  font: 0.875em ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
nav { padding: 0.6rem 1rem; border-radius: 8px; background: var(--shade); }
main nav ul { display: flex; flex-wrap: wrap; gap: 0.1rem 1.25rem; margin: 0; padding: 0; list-style: none; }
nav li { margin: 0; padding: 0.2rem 0; }
.scroll { display: block; max-width: 100%; margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9375rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom-width: 2px; color: var(--soft); font-weight: 600; vertical-align: bottom; }
td { min-width: 3rem; max-width: 30rem; overflow-wrap: break-word; }
td[style], td code { white-space: nowrap; }
td:last-child:not([style], :has(code)) { min-width: 14rem; }
tbody tr:nth-child(even) { background: var(--shade); }
img { display: block; max-width: 100%; height: auto; }
@media (max-width: 56rem) {
  th, td { padding: 0.35rem 0.5rem; }
  table { font-size: 0.875rem; }
  ul { padding-left: 1.25rem; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --shade: #fff; --link: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  img { min-width: 0 !important; max-height: 22cm; width: auto; }
  h2, tr, img { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


def html(markdown_text: str, title: str, pictures: Mapping[str, Picture]) -> str:
    """Return the page of a Markdown text; `pictures` has each picture by its path in the text.

    An image without an entry is shown as its alternative text, because the page must not load files.
    """
    from markdown_it import MarkdownIt  # a dependency of rich, slow to import

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = list(_dressed(reader.parse(markdown_text), pictures))
    after_title = next((i + 1 for i, token in enumerate(tokens) if token.type == "heading_close"), 0)
    head = reader.renderer.render(tokens[:after_title], reader.options, {})
    body = reader.renderer.render(tokens[after_title:], reader.options, {})
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(one_line(title))}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{head}{_contents(reader, tokens)}{body}</main>
</body>
</html>
"""


def _dressed(tokens: Sequence["Token"], pictures: Mapping[str, Picture]) -> Iterator["Token"]:
    """Yield the tokens of a page: headings with an anchor, tables that scroll, embedded images."""
    seen: set[str] = set()
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            token.attrSet("id", _anchor(tokens[index + 1].content, seen))
        if token.type == "table_open":
            yield _raw('<div class="scroll" role="group" aria-label="Table" tabindex="0">\n')
        token.children = token.children and [
            _shown(child, pictures) if child.type == "image" else child for child in token.children
        ]
        yield token
        if token.type == "table_close":
            yield _raw("</div>\n")


def _anchor(heading: str, seen: set[str]) -> str:
    """Return a unique id for a heading."""
    plain = re.sub("[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"
    anchor = plain
    while anchor in seen:
        anchor += "-"
    seen.add(anchor)
    return anchor


def _contents(reader: "MarkdownIt", tokens: Sequence["Token"]) -> str:
    """Return the table of contents: a link to each section; empty if there are fewer than two."""
    places = [i for i, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    items = [
        f'<li><a href="#{tokens[i].attrs["id"]}">'
        f"{reader.renderer.render([tokens[i + 1]], reader.options, {})}</a></li>\n"
        for i in places
    ]
    return f'<nav aria-label="Contents">\n<ul>\n{"".join(items)}</ul>\n</nav>\n' if len(items) > 1 else ""


def _shown(image: "Token", pictures: Mapping[str, Picture]) -> "Token":
    """Return the HTML of an image: the picture in light and dark colors, or its alternative text."""
    text = escape("".join(part.content for part in image.children or ()))
    if (picture := pictures.get(str(image.attrs["src"]))) is None:
        return _raw(f"<em>{text}</em>", inline=True)
    light, dark = picture
    width, height = _size(light)
    return _raw(
        '<span class="scroll"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{_uri(dark)}">'
        f'<img src="{_uri(light)}" alt="{text}" width="{width}" height="{height}" '
        f'style="min-width:{READABLE * width:.0f}px"></picture></span>',
        inline=True,
    )


def _raw(text: str, *, inline: bool = False) -> "Token":
    """Return a token that is rendered as the given HTML."""
    from markdown_it.token import Token

    return Token("html_inline" if inline else "html_block", "", 0, content=text)


def _size(picture: bytes) -> tuple[int, int]:
    """Return width and height in CSS pixels, from a PNG's header or the first attributes of an SVG."""
    if picture.startswith(PNG):
        sides = (int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big"))
        return round(sides[0] / PNG_SCALE), round(sides[1] / PNG_SCALE)
    width, height = re.findall(rb'(?:width|height)="(\d+)"', picture)[:2]
    return int(width), int(height)


def _uri(picture: bytes) -> str:
    kind = "image/png" if picture.startswith(PNG) else "image/svg+xml"
    return f"data:{kind};base64,{b64encode(picture).decode()}"
