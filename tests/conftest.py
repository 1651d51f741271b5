"""What every test shares: a bounded hypothesis profile and the paths of the checkout."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("modelreg", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("modelreg")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Keep what is read in a folder of this session: tests know nothing of the user's cache."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MODELREG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
