#!/usr/bin/env bash
# Make docs/images/report.webp: the section on classes of a real report, on the embedded sample with default settings.
# Needs modelreg with [train] on the path, Chromium and Pillow; takes about a minute.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
modelreg init --sample my-models
cd my-models
modelreg train
modelreg evaluate
cd runs/conv2d_fsq-001
python - <<'CODE'
import re
from pathlib import Path
page = Path("report.html").read_text("utf-8")
start, end = (page.index(f'<h2 id="{name}"') for name in ("classes", "subjects"))
title = re.search(r"<h1.*?</h1>", page, re.DOTALL)[0]
Path("section.html").write_text(page[: page.index(title)] + title + page[start:end] + "</body></html>", "utf-8")
CODE
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=780,1300 --screenshot="$work/report.png" \
  "file://$PWD/section.html" 2>/dev/null
python - "$work/report.png" "$root/docs/images/report.webp" <<'CODE'
import sys
from PIL import Image
picture = Image.open(sys.argv[1]).convert("RGB")
picture.crop((0, 0, 780, 950)).save(sys.argv[2], quality=80, method=6)
CODE
