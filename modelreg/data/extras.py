"""Packages of modelreg's extras that are not installed."""

from importlib.util import find_spec

from modelreg.errors import Problem


def find_missing(extra: str, packages: tuple[str, ...], why: str) -> Problem | None:
    """Return the problem of packages that are not installed; `why` completes "not installed, but required because"."""
    missing = [package for package in packages if find_spec(package) is None]
    step = f"install the extra [{extra}] of modelreg: `pip install '.[{extra}]'` in its checkout"
    message = f"not installed, but required because {why}"
    return Problem(", ".join(missing), "install.extra-missing", message, step) if missing else None
