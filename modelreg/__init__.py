"""Train small behaviour models on inertial recordings; release them versioned and verified.

docs/api.md shows what this module offers. It is imported on first use, so that `import modelreg` costs nothing.
"""

__version__ = "0.2.0"

__all__ = [
    "Channel",
    "InputError",
    "Model",
    "ModelregError",
    "Notice",
    "Predictions",
    "Problem",
    "RegistryError",
    "Summary",
    "Timeline",
    "Verification",
    "VerificationFailed",
    "__version__",
    "load",
    "verify",
    "versions",
]


def __getattr__(name: str) -> object:
    """Return a public name from modelreg.api. A string is imported, so that no import edge starts here."""
    if name not in __all__:
        raise AttributeError(f"module 'modelreg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("modelreg.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
