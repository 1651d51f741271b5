"""Limits on what others state, each met once: a description, a member, a key, a body, a slow reader."""

import asyncio
import io
import tarfile

import hef_builder
import pytest
from places import places

from modelreg import strict_yaml
from modelreg.artifacts import hef_file, tar_stream
from modelreg.errors import InputError
from modelreg.release.github.answers import Retry
from modelreg.release.github.http_client import Body
from modelreg.runtime.connections import ClientLimits, Connection, Waiting


def test_a_description_over_its_limit_is_not_read(monkeypatch) -> None:
    """It would be read into memory."""
    monkeypatch.setattr(hef_file, "_DESCRIPTION_LIMIT", 10)
    with pytest.raises(InputError) as caught:
        hef_file.parse_hef(hef_builder.hef(), "x.hef")

    assert "more than the limit of 10" in caught.value.problems[0].message


def test_a_member_over_the_limit_of_its_archive_is_refused() -> None:
    """By the size that it states, before its bytes are read."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.size = 10
        archive.addfile(member, io.BytesIO(bytes(10)))
    data = packed.getvalue()
    with pytest.raises(tarfile.TarError, match="'a'"):
        list(
            tar_stream.members(
                io.BytesIO(data[:124] + b"00000100000\0" + data[136:148] + _sum(data) + data[156:]), 20_000
            )
        )


def _sum(data: bytes) -> bytes:
    """Return the checksum of a header whose size was changed to 32 KiB."""
    header = data[:124] + b"00000100000\0" + data[136:148] + b" " * 8 + data[156:512]
    return f"{sum(header):06o}\0 ".encode()


def test_a_key_that_is_a_list_is_refused() -> None:
    """YAML allows it, and no setting has it."""
    with pytest.raises(InputError) as caught:
        strict_yaml.parse("? [a, b]\n: 1\n", "x")

    assert [rule for _, rule in places(caught.value.problems)] == ["config.yaml-syntax"]


def test_a_stopped_body_sends_nothing_more() -> None:
    """Another thread stops it."""
    body = Body(io.BytesIO(b"abc"), "a", 3, lambda *_: None)
    body.stop()
    with pytest.raises(Retry):
        body.read()


def test_a_client_that_reads_again_is_kept() -> None:
    """The time for its answer ends with the pause."""
    calls: list[str] = []

    class Inner(asyncio.Protocol):
        def pause_writing(self) -> None:
            calls.append("pause")

        def resume_writing(self) -> None:
            calls.append("resume")

    async def read_again() -> None:
        connection = Connection(Waiting(ClientLimits(unread_s=0.01), calls.append), Inner())
        connection.pause_writing()
        connection.resume_writing()
        await asyncio.sleep(0.03)

    asyncio.run(read_again())

    assert calls == ["pause", "resume"]
