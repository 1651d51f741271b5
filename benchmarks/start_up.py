"""Measure the import of modelreg and the start of its command line: `python benchmarks/start_up.py`.

Each round is a new process, alternating with a Python that does nothing. Prints the best round, because other processes
can only make a round slower.
"""

import subprocess
import sys
from time import perf_counter

ROUNDS = 20
STARTS = {
    "python -c pass": ["-c", "pass"],
    "import modelreg": ["-c", "import modelreg"],
    "modelreg.load (imported, not called)": ["-c", "import modelreg; modelreg.load"],
    "modelreg --help": ["-m", "modelreg", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Return how long a new Python takes."""
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def main() -> None:
    """Print the best of all rounds, and the difference to Python alone."""
    rounds = [{name: seconds(arguments) for name, arguments in STARTS.items()} for _ in range(ROUNDS)]
    bare = min(found["python -c pass"] for found in rounds)
    for name in STARTS:
        best = min(found[name] for found in rounds)
        print(f"{name:40} {best * 1000:7.1f} ms, {(best - bare) * 1000:+7.1f} ms")


if __name__ == "__main__":
    main()
