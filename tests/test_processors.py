"""The same weights and predictions give the same results on other processors, within the documented tolerances.

numpy, OpenBLAS, torch and numba can be restricted to the instructions of the oldest processor that they support. ONNX
Runtime cannot: integer_encoder.py is the oracle for its results (test_int8.py).
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import untraced


def oldest_processor() -> dict[str, str]:
    """Return the environment of a process without newer instructions and with one thread."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    features = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
    libraries = {"OPENBLAS_CORETYPE": "Nehalem", "ATEN_CPU_CAPABILITY": "default", "NUMBA_CPU_NAME": "generic"}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**untraced.environment(), **libraries, **threads, "NPY_DISABLE_CPU_FEATURES": features}


def run(root, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as on the oldest processor."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=root, env=oldest_processor(), capture_output=True, text=True, check=False, timeout=300
    )


def test_the_oldest_processor_is_another_one(root) -> None:
    """Otherwise the tests below would compare a processor with itself."""
    ask = "from numpy._core import _multiarray_umath as m; print(sum(map(m.__cpu_features__.get, m.__cpu_dispatch__)))"

    assert run(root, "-c", ask).stdout == "0\n"


@pytest.mark.parametrize("version", ["v0.1.0", "v0.2.0"])
def test_a_version_verifies_on_the_oldest_processor(root, version) -> None:
    """Each number is computed again from its predictions, with a tolerance of 1e-9."""
    found = run(root, "-m", "modelreg", "verify", version, "--complete")

    assert found.returncode == 0, found.stderr


@pytest.mark.needs("torch")
def test_a_version_is_reproduced_on_the_oldest_processor(root) -> None:
    """Logits agree within 1e-3 for equal codes; codes differ in few windows."""
    found = run(root, "-m", "modelreg", "verify", "v0.2.0", "--reproduce")

    assert found.returncode == 0, found.stderr


TEMPERATURE = """
import json, numpy as np
from modelreg.evaluation import metrics, temperature_scaling
rng = np.random.default_rng(0)
logits = (2 * rng.normal(size=(500, 5))).astype(np.float32)
y = (metrics.log_softmax(logits) + rng.gumbel(size=logits.shape)).argmax(axis=1)
fitted = temperature_scaling.fit_temperature(logits, y)
print(json.dumps([fitted.value, fitted[2], fitted[3], float(metrics.log_softmax(logits).sum())]))
"""
DURATIONS = """
import json, sys
sys.path.insert(0, "tests")
from hsmm_enumeration import stream
from modelreg.hsmm import inference
model, log_b = stream(0, 1000)
found = inference.posterior(model, log_b)
path = inference.best_path(model, log_b)
print(json.dumps([found.log_likelihood, path.score, *found.gamma.ravel().tolist(), *path.states.tolist()]))
"""


@pytest.mark.parametrize(
    "script",
    [TEMPERATURE, pytest.param(DURATIONS, marks=pytest.mark.needs("numba", "scipy"))],
    ids=["temperature", "durations"],
)
def test_recomputed_values_are_equal_on_the_oldest_processor(root, script) -> None:
    """They agree within the tolerance of `verify`: 1e-9, relative or absolute."""
    here = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    there = run(root, "-c", script)

    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    np.testing.assert_allclose(json.loads(there.stdout), json.loads(here.stdout), rtol=1e-9, atol=1e-9)
