"""`modelreg serve` and `modelreg bench`: errors, output and exit codes."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from example_bundle import VERSION, bundle, write_bundle
from test_server import Client

from modelreg.cli import serve
from modelreg.cli.main import main
from modelreg.records.base import load
from modelreg.records.latency import LatencyRecord

KEY = "0123456789abcdef"


@contextmanager
def started(*arguments: str):
    """Run `modelreg serve` in a separate process; yield the process and a client."""
    command = [sys.executable, "-m", "modelreg", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        yield process, Client(int(line.rsplit(":", 1)[-1]))
        process.kill()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_serve_runs_until_sigterm() -> None:
    """And exits with 0."""
    with started(str(VERSION)) as (process, client):
        said = json.loads(client.ask("GET", "/healthz")[2])
        process.send_signal(signal.SIGTERM)
        code, errors = process.wait(20), process.stderr.read()

    assert (said["ok"], said["version"], code, errors) == (True, "0.2.0", 0, "")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--host", "192.0.2.1"], "--api-key-file FILE or --no-auth"),
        (["--host", "::"], "--api-key-file FILE or --no-auth"),
        (["--host", "device.local"], "--api-key-file FILE or --no-auth"),
        (["--no-auth", "--api-key-file", "key"], "--no-auth: cannot be combined with --api-key-file"),
    ],
    ids=["all", "all of 6", "name", "both"],
)
def test_an_open_address_needs_a_key_or_no_auth(capsys, arguments, options) -> None:
    """Exit 2, with the options."""
    code = main(["serve", str(VERSION), *arguments])

    assert (code, options in " ".join(capsys.readouterr().err.split())) == (2, True)


@pytest.mark.parametrize(
    "key", ["short", "with blanks in the middle of it", "ключ, который длиннее"], ids=["short", "blanks", "cyrillic"]
)
def test_an_invalid_key_is_refused(tmp_path, capsys, key) -> None:
    """Exit 3, without the key in the message."""
    (tmp_path / "key").write_text(key)
    code = main(["serve", str(VERSION), "--api-key-file", str(tmp_path / "key")])
    errors = capsys.readouterr().err

    assert (code, "[serve.key-invalid]" in errors, key in errors) == (3, True, False)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_key_of_the_file_is_accepted(tmp_path) -> None:
    """Without the line break at its end."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    with started(str(VERSION), "--api-key-file", str(tmp_path / "key"), "--host", "127.0.0.1") as (_, client):
        statuses = [client.ask("GET", "/metrics", authorization=f"Bearer {key}")[0] for key in (KEY, "another key")]

    assert statuses == [200, 401]


def test_the_key_of_a_file_is_read(tmp_path) -> None:
    """One line of printable characters."""
    (tmp_path / "key").write_text(f" {KEY}\n")

    assert serve._read_key(tmp_path / "key") == KEY


def test_sets_that_a_version_does_not_promise_are_not_served(capsys) -> None:
    """Exit 3: v0.2.0 has no calibration."""
    code = main(["serve", str(VERSION), "--sets", "new-subject"])

    assert (code, "[predict.no-threshold]" in capsys.readouterr().err) == (3, True)


def test_a_changed_version_is_not_served(tmp_path, capsys) -> None:
    """Exit 4, with the name of the file."""
    shutil.copytree(VERSION, tmp_path / "v0.2.0")
    (tmp_path / "v0.2.0/onnx/head.onnx").write_bytes(b"other")
    code = main(["serve", str(tmp_path / "v0.2.0")])

    assert (code, "onnx/head.onnx" in capsys.readouterr().err) == (4, True)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_port_in_use_is_an_error(capsys) -> None:
    """Exit 3."""
    with started(str(VERSION)) as (_, client):
        code = main(["serve", str(VERSION), "--port", str(client.port)])

    assert (code, "in use" in capsys.readouterr().err) == (3, True)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_without_the_device_the_server_starts_with_a_warning(tmp_path) -> None:
    """503 until HailoRT is available."""
    with started(str(write_bundle(tmp_path, bundle(compiled=True))), "--backend", "hailo") as (process, client):
        status = client.ask("GET", "/healthz")[0]
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()

    assert (status, "[hailo.not-installed]" in errors and "responding 503" in errors) == (503, True)


@pytest.mark.parametrize("reference", ["no/such", "v9.9.9"])
def test_an_unknown_reference_is_an_error(capsys, root, monkeypatch, reference) -> None:
    """Exit 5."""
    monkeypatch.chdir(root)

    assert (main(["bench", reference]), reference in capsys.readouterr().err) == (5, True)


def test_bench_writes_its_figures(tmp_path, root, monkeypatch, capsys) -> None:
    """For a version by its reference: the quantiles are ordered, and the device part is faster than the whole."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    out = tmp_path / "latency.json"
    code = main(["bench", "v0.2.0", "--windows", "300", "--out", str(out), "--json"])
    record = load(out, LatencyRecord)

    assert (code, json.loads(capsys.readouterr().out)) == (0, record.to_document())
    assert record.device_part.p50_ms < record.p50_ms <= record.p95_ms <= record.p99_ms
    assert (record.version, record.windows, record.hardware.cores > 0) == ("0.2.0", 300, True)


def test_bench_prints_its_figures(tmp_path, capsys) -> None:
    """For a bundle."""
    code = main(["bench", str(write_bundle(tmp_path)), "--windows", "100"])

    assert (code, "windows/s (sequential, 100 windows)" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize("command", ["serve", "bench"])
def test_without_its_extra_a_command_names_it(command) -> None:
    """Exit 3."""
    probe = (
        "import sys; sys.modules['onnxruntime'] = None; from modelreg.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", probe, command, "x"], capture_output=True, text=True, check=False)

    first, step = done.stderr.splitlines()[:2]
    assert (done.returncode, first) == (3, "error: onnxruntime: not installed  [install.extra-missing]")
    assert step.startswith("  next: pip install '")
    assert "[serve]" in step
