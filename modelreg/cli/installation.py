"""Where this modelreg was installed from, as pip recorded it (PEP 610), and the command that installs the same again.

The package is on no index: a bare name there is not ours. So no message and no generated file ever names it alone.
"""

import json
from collections.abc import Mapping
from typing import Any

FILL_IN = "FILL IN: the URL that you install modelreg from, as git+https://…@COMMIT"


def requirement(direct_url: Mapping[str, Any] | None, extra: str = "") -> str | None:
    """Return the requirement that installs the same modelreg: `modelreg[train] @ git+https://…@<commit>`.

    None where it was installed from a folder or a file of this machine, or pip recorded nothing.
    """
    origin = direct_url or {}
    version_control, url = origin.get("vcs_info"), origin.get("url")
    if not isinstance(version_control, Mapping) or not isinstance(url, str):
        return None
    kind, commit = version_control.get("vcs"), version_control.get("commit_id")
    if not (isinstance(kind, str) and isinstance(commit, str) and url.startswith("https://")) or "@" in url:
        return None  # `user:password@host` is nobody else's, and a path works on this machine alone
    name = f"modelreg[{extra}]" if extra else "modelreg"
    folder = f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
    return f"{name} @ {kind}+{url}@{commit}{folder}"


def local_folder(direct_url: Mapping[str, Any] | None) -> str | None:
    """Return the folder of this machine that modelreg was installed from: a checkout. None where there is none."""
    url = (direct_url or {}).get("url")
    return url.removeprefix("file://") if isinstance(url, str) and url.startswith("file://") else None


def recorded() -> Mapping[str, Any] | None:
    """Return what pip recorded of where this modelreg came from; None where it recorded nothing that can be read."""
    from importlib.metadata import PackageNotFoundError, distribution  # 20 ms

    try:
        text = distribution("modelreg").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    try:
        document = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def command(extra: str, direct_url: Mapping[str, Any] | None) -> str:
    """Return the shell command that adds an extra to this installation."""
    if folder := local_folder(direct_url):
        return f"pip install '{folder}[{extra}]'"
    found = requirement(direct_url, extra)
    return f"pip install '{found or f'modelreg[{extra}] @ {FILL_IN}'}'"
