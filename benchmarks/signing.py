"""Sign and verify one large file with modelreg and with the reference implementation, alternately; the best round
counts.

    python benchmarks/signing.py [GIB]

Each round is a new process, so that imports count. All use the same file of random bytes, which is deleted at the end.
modelreg does the work of `sign` and `verify --key`: hash every file, then sign or compare the digests. Its checks of
documents and metrics are left out, because the reference implementation has none. Prints seconds, the ratio to the
reference, the share of hashing alone, and the peak memory of the processes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TURNS = 5
HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1] + '/model.bin', 'rb'), 'sha256')"
OURS = """
import sys
from pathlib import Path
from modelreg import files; from modelreg.verification import keys, signing
folder, key = Path(sys.argv[1]), Path(sys.argv[2])
digests = {path.name: files.sha256(path) for path in folder.iterdir() if path.name != "model.sig"}
"""
OURS_SIGN = f"""{OURS}
private = keys.parse_private(keys.read_secret(key), None, key.name)
files.write_atomic(folder / "model.sig", signing.sign(digests, folder.name, private))
"""
OURS_VERIFY = f"""{OURS}
public = keys.load_public(keys.public_path(key))
assert not list(signing.find_signature_problems((folder / "model.sig").read_bytes(), digests, public))
"""
THEIRS_SIGN = """
import sys
from pathlib import Path
from model_signing import hashing, signing
folder, key = Path(sys.argv[1]), Path(sys.argv[2])
ignored = hashing.Config().set_ignored_paths(paths=["model.sig"])
signing.Config().set_hashing_config(ignored).use_elliptic_key_signer(private_key=key).sign(folder, folder / "model.sig")
"""
THEIRS_VERIFY = """
import sys
from pathlib import Path
from model_signing import verifying
folder, key = Path(sys.argv[1]), Path(sys.argv[2]).with_name("key.pub.pem")
verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, folder / "model.sig")
"""
PROGRAMS = {
    "hash alone": HASH,
    "modelreg sign": OURS_SIGN,
    "modelreg verify": OURS_VERIFY,
    "reference sign": THEIRS_SIGN,
    "reference verify": THEIRS_VERIFY,
}


def main(gib: float) -> None:
    """Print one row for each program."""
    from modelreg.verification import keys

    with tempfile.TemporaryDirectory() as scratch:
        folder, key = Path(scratch) / "model", Path(scratch) / "key.pem"
        folder.mkdir()
        write(folder / "model.bin", int(gib * 1024))
        keys.write_pair(key, keys.new("p256"), None)
        best = dict.fromkeys(PROGRAMS, float("inf"))
        memory = dict.fromkeys(PROGRAMS, 0)
        for _ in range(TURNS):
            for name, program in PROGRAMS.items():
                seconds, peak = timed([sys.executable, "-c", program, str(folder), str(key)])
                best[name], memory[name] = min(best[name], seconds), max(memory[name], peak)
    for name, seconds in best.items():
        reference = best.get(name.replace("modelreg", "reference"), seconds)
        ratio = f"{seconds / reference:.2f} x reference" if name.startswith("modelreg") else ""
        print(f"{name:17} {seconds:6.3f} s  {memory[name]:4} MiB  {ratio}")


def write(path: Path, mebibytes: int) -> None:
    """Write random bytes."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(2**20))


def timed(command: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and its peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return seconds, usage.ru_maxrss // 1024


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
