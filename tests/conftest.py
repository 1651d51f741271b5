"""What every test shares: a bounded hypothesis profile and the paths of the checkout."""

import inspect
import os
import signal
from pathlib import Path

import fast_part
import fuzz_counts
import pytest
import untraced
from hypothesis import settings

# Read by torch when it is imported, and by every process that a test starts. Each worker of pytest-xdist has a core of
# its own at best: with a pool of threads in each, they spend their time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # and where a test asks for two, none of them waits by spinning

settings.register_profile("modelreg", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("modelreg")

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    """Add `--fast`, which leaves out what needs packages that are not installed."""
    parser.addoption("--fast", action="store_true", help="skip tests that need packages of extras not installed here")


def pytest_configure(config):
    """Skip by a plugin under `--fast`; else load in a worker what is slow, for the whole suite needs all of it."""
    if "FUZZ" in os.environ:
        config.pluginmanager.register(fuzz_counts, "fuzz_counts")
    if config.getoption("--fast"):
        settings.load_profile("fast")
        config.pluginmanager.register(fast_part, "fast_part")
    elif "PYTEST_XDIST_WORKER" in os.environ:
        untraced.load()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Let nothing trace a test marked `no_cover`: in a worker, pytest-cov stops but one of its two tracers."""
    if pyfuncitem.get_closest_marker("no_cover"):
        pyfuncitem.obj = untraced.untraced(pyfuncitem.obj)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    """Let nothing trace the fixtures of a module whose tests are all marked `no_cover`; generators are traced."""
    own = fixturedef.baseid.endswith(".py") and not inspect.isgeneratorfunction(fixturedef.func)
    if own and request.node.getparent(pytest.Module).get_closest_marker("no_cover"):
        fixturedef.func = untraced.untraced(fixturedef.func)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Keep what is read in a folder of this session, which workers share: tests know nothing of the user's cache."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "modelreg-cache"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MODELREG_CACHE", str(folder))
        yield


@pytest.fixture
def heeds_ctrl_c():
    """Heed Ctrl-C, here and in what is started, though whoever runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
