"""`modelreg serve` and `modelreg bench`: what they refuse, what they write, how they end."""

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
    """`modelreg serve` in a process of its own; yields it and a client."""
    command = [sys.executable, "-m", "modelreg", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        yield process, Client(int(line.rsplit(":", 1)[-1]))
        process.kill()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_serve_answers_until_it_is_told_to_stop() -> None:
    """And then ends in order: systemd sees a 0."""
    with started(str(VERSION)) as (process, client):
        said = json.loads(client.ask("GET", "/healthz")[2])
        process.send_signal(signal.SIGTERM)
        code, errors = process.wait(20), process.stderr.read()

    assert (said["ok"], said["version"], code, errors) == (True, "0.2.0", 0, "")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--host", "192.0.2.1"], "give --api-key-file FILE, or say --no-auth"),
        (["--host", "::"], "give --api-key-file FILE, or say --no-auth"),
        (["--host", "device.local"], "give --api-key-file FILE, or say --no-auth"),
        (["--no-auth", "--api-key-file", "key"], "contradicts --api-key-file"),
    ],
    ids=["all", "all of 6", "name", "both"],
)
def test_an_open_door_is_refused(capsys, arguments, rule) -> None:
    """What can be reached from elsewhere asks for a key, unless it is said that it does not: exit 2."""
    code = main(["serve", str(VERSION), *arguments])

    assert (code, rule in " ".join(capsys.readouterr().err.split())) == (2, True)


@pytest.mark.parametrize(
    "key", ["short", "with blanks in the middle of it", "ключ, который длиннее"], ids=["short", "blanks", "cyrillic"]
)
def test_a_key_that_is_none_is_refused(tmp_path, capsys, key) -> None:
    """Exit 3; the key is not repeated."""
    (tmp_path / "key").write_text(key)
    code = main(["serve", str(VERSION), "--api-key-file", str(tmp_path / "key")])
    errors = capsys.readouterr().err

    assert (code, "openssl rand -hex 32" in errors, key in errors) == (3, True, False)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_key_opens_the_door(tmp_path) -> None:
    """It is what the file holds, without its line's end."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    with started(str(VERSION), "--api-key-file", str(tmp_path / "key"), "--host", "127.0.0.1") as (_, client):
        statuses = [client.ask("GET", "/metrics", authorization=f"Bearer {key}")[0] for key in (KEY, "another key")]

    assert statuses == [200, 401]


def test_the_key_of_a_file_is_read(tmp_path) -> None:
    """One line of printable characters."""
    (tmp_path / "key").write_text(f" {KEY}\n")

    assert serve._read_key(tmp_path / "key") == KEY


def test_a_changed_version_is_not_served(tmp_path, capsys) -> None:
    """Exit 4, with the file."""
    shutil.copytree(VERSION, tmp_path / "v0.2.0")
    (tmp_path / "v0.2.0/onnx/head.onnx").write_bytes(b"other")
    code = main(["serve", str(tmp_path / "v0.2.0")])

    assert (code, "onnx/head.onnx: has sha256" in capsys.readouterr().err) == (4, True)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_port_in_use_is_told(capsys) -> None:
    """Exit 3, before anything is served."""
    with started(str(VERSION)) as (_, client):
        code = main(["serve", str(VERSION), "--port", str(client.port)])

    assert (code, "in use" in capsys.readouterr().err) == (3, True)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_without_the_device_it_starts_and_says_so(tmp_path) -> None:
    """HailoRT may come later: 503 until then."""
    with started(str(write_bundle(tmp_path, bundle(compiled=True))), "--backend", "hailo") as (process, client):
        status = client.ask("GET", "/healthz")[0]
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()

    assert (status, "answering 503 until it can be had" in errors) == (503, True)


@pytest.mark.parametrize("reference", ["no/such", "v9.9.9"])
def test_what_is_not_there_is_told(capsys, root, monkeypatch, reference) -> None:
    """Exit 5."""
    monkeypatch.chdir(root)

    assert (main(["bench", reference]), reference in capsys.readouterr().err) == (5, True)


def test_bench_writes_what_it_measured(tmp_path, root, monkeypatch, capsys) -> None:
    """Of a version by its reference; quantiles in order, the device part within the whole."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    out = tmp_path / "latency.json"
    code = main(["bench", "v0.2.0", "--windows", "300", "--out", str(out), "--json"])
    record = load(out, LatencyRecord)

    assert (code, json.loads(capsys.readouterr().out)) == (0, record.to_document())
    assert record.device_part.p50_ms < record.p50_ms <= record.p95_ms <= record.p99_ms
    assert (record.version, record.windows, record.hardware.cores > 0) == ("0.2.0", 300, True)


def test_bench_says_what_was_measured(tmp_path, capsys) -> None:
    """For people: a bundle, as well."""
    code = main(["bench", str(write_bundle(tmp_path)), "--windows", "100"])

    assert (code, "windows/s, one after another, 100 of them" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize("command", ["serve", "bench"])
def test_without_its_extra_a_command_names_it(command) -> None:
    """One line, exit 3."""
    probe = (
        "import sys; sys.modules['onnxruntime'] = None; from modelreg.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", probe, command, "x"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (3, "error: onnxruntime not installed; pip install 'modelreg[serve]'\n")
