"""Send one large sparse file to the tests' fake GitHub with modelreg's client and with curl; the best round counts.

    python benchmarks/upload.py [GIB]

Prints seconds, MiB/s, the ratio, and the peak memory of the sending process. The server runs in this process and hashes
what it receives. Both senders use the same server.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fake_github import FakeGitHub

TURNS = 3
SEND = """
import resource, sys, time
from pathlib import Path
from modelreg.release.github.client import Client
from modelreg.release.github.plan import Asset, RemoteRelease
from modelreg.release.github.http_client import Secret, Server

api, repository, token, url, name, file = sys.argv[1:]
path = Path(file)
server = Server(repository, Secret(token), time.monotonic, time.sleep, api)
release = RemoteRelease(0, "", True, False, "", (), url, "")
with Client(server) as client:
    client.upload(release, Asset(name, path.name, path.stat().st_size, ""), path.parent)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main(gib: float) -> None:
    """Print one row for each sender."""
    with tempfile.TemporaryDirectory() as folder, FakeGitHub(Path(folder)) as fake:
        file = Path(folder) / "large.bin"
        with file.open("wb") as made:
            made.truncate(int(gib * 2**30))
        release = fake.add_release("v1.0.0", draft=True)
        url = f"{fake.uploads_url}/repos/{fake.repository}/releases/{release.id}/assets"
        best: dict[str, float] = {}
        memory = 0
        for turn in range(TURNS):
            ours = (sys.executable, "-c", SEND, fake.api_url, fake.repository, fake.token, url, f"m{turn}", str(file))
            curl = [
                "curl",
                "--silent",
                "--fail",
                "--request",
                "POST",
                "--upload-file",
                str(file),
                "--output",
                "/dev/null",
            ]
            curl += ["--header", f"Authorization: Bearer {fake.token}"]
            curl += ["--header", "Content-Type: application/octet-stream", f"{url}?name=c{turn}"]
            for name, command in (("modelreg", ours), ("curl", curl)):
                start = time.perf_counter()
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                best[name] = min(best.get(name, 1e9), time.perf_counter() - start)
                memory = max(memory, int(done.stdout)) if name == "modelreg" else memory
        for name, seconds in best.items():
            print(f"{name:10} {seconds:6.2f} s  {gib * 1024 / seconds:7.0f} MiB/s  {seconds / best['curl']:.2f} x curl")
        print(f"peak memory of modelreg's process: {memory} MiB; of this one, with the server:", end=" ")
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.5)
