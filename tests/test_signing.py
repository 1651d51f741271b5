"""signing: whoever changes anything after a version was signed is found out."""

import base64
import json
import shutil

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from example_run import write_registry, write_run
from example_version import edit, make_version, reseal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg import files
from modelreg.errors import InputError
from modelreg.verification import integrity, keys, signing

DIGESTS = {name: files.sha256_bytes(name.encode()) for name in ("a.txt", "onnx/b.onnx", "onnx.json")}
KEY = keys.new("p256")
OTHER = keys.new("p256")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A signed version, made once."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    folder = make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))
    (folder / "model.sig").write_bytes(signing.sign_version(folder, KEY))
    return folder


@pytest.fixture
def version(made, tmp_path):
    """A copy of it that a test may break."""
    return shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")


def problems(version, key=KEY):
    """What `verify --key` finds, as text."""
    found = [*integrity.inspect(version).problems, *signing.find_version_problems(version, key.public_key())]
    return [str(problem) for problem in found]


def bundle_problems(bundle, digests=None, key=KEY):
    """What is found of a bundle alone, as text."""
    found = signing.find_signature_problems(bundle, DIGESTS if digests is None else digests, key.public_key())
    return [str(problem) for problem in found]


def changed(bundle, change):
    """A bundle whose outer document was changed."""
    document = json.loads(bundle)
    change(document)
    return json.dumps(document).encode()


def resigned(change):
    """A bundle whose statement was changed, and signed after that by the very key."""
    document = json.loads(signing.sign(DIGESTS, "v0.1.0", KEY))
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(statement)
    return signing._sealed(json.dumps(statement).encode(), KEY)


def test_what_was_signed_verifies(version) -> None:
    """Nothing is wrong with a signed version."""
    assert problems(version) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_flipped_bit_is_found(version, data) -> None:
    """In any file of a signed version, the signature itself included."""
    path = data.draw(st.sampled_from(sorted(version.iterdir())))
    flipped = flip(data, path.read_bytes())
    original = path.read_bytes()
    path.write_bytes(flipped)
    found = problems(version)
    path.write_bytes(original)

    assert found


@settings(max_examples=300)
@given(st.data(), st.sampled_from([KEY, keys.new("p384"), keys.new("p521")]))
def test_any_flipped_bit_of_a_signature_is_found(data, key) -> None:
    """Names, base64, digests, white space: no byte of a bundle is free."""
    assert bundle_problems(flip(data, signing.sign(DIGESTS, "v0.1.0", key)), key=key)


def flip(data, original):
    """Turn one bit."""
    broken = bytearray(original)
    broken[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(broken)


@given(st.data())
def test_every_difference_is_named(data) -> None:
    """Extra, missing and changed files: all of them, and nothing else."""
    names = st.sampled_from(["a", "b/c", "b.c", "d", "e"])
    digests = st.dictionaries(names, st.sampled_from(["0" * 64, "1" * 64]), min_size=1)
    signed, here = data.draw(digests), data.draw(digests)
    found = bundle_problems(signing.sign(signed, "m", KEY), here)

    assert [text.partition(":")[0] for text in found] == sorted(
        name for name in signed.keys() | here.keys() if signed.get(name) != here.get(name)
    )


@pytest.mark.parametrize(
    ("here", "problem"),
    [
        ({**DIGESTS, "x": "0" * 64}, "x: was not signed"),
        ({name: DIGESTS[name] for name in ("a.txt", "onnx.json")}, "onnx/b.onnx: was signed, but is not part"),
        ({**DIGESTS, "a.txt": "0" * 64}, f"a.txt: has sha256 {'0' * 64}, but {DIGESTS['a.txt']} was signed"),
    ],
    ids=["extra", "missing", "changed"],
)
def test_a_difference_is_said_in_words(here, problem) -> None:
    """Extra, missing, changed."""
    assert bundle_problems(signing.sign(DIGESTS, "m", KEY), here)[0].startswith(problem)


def test_the_same_key_and_files_give_the_same_bytes() -> None:
    """RFC 6979: no randomness, whatever the order of the list."""
    assert signing.sign(dict(reversed(DIGESTS.items())), "m", KEY) == signing.sign(DIGESTS, "m", KEY)


def test_an_openssl_that_cannot_repeat_itself_is_named(monkeypatch) -> None:
    """One of before 3.2, as some distributions link cryptography with."""

    def older(*_: object, deterministic_signing: bool) -> None:
        raise UnsupportedAlgorithm("ECDSA with deterministic signature (RFC 6979)")

    monkeypatch.setattr(signing.ec, "ECDSA", older)
    with pytest.raises(InputError, match=r"OpenSSL: is older than 3\.2"):
        signing.sign(DIGESTS, "m", KEY)


def test_another_key_is_named() -> None:
    """By the fingerprints of both."""
    (found,) = bundle_problems(signing.sign(DIGESTS, "m", KEY), key=OTHER)

    assert all(keys.fingerprint(key.public_key()) in found for key in (KEY, OTHER))


@pytest.mark.parametrize(("key", "rule"), [(KEY, []), (OTHER, ["is no signature of the key"])], ids=["right", "wrong"])
def test_a_bundle_need_not_name_its_key(key, rule) -> None:
    """Bundles of older tools hold no fingerprint; the signature alone decides."""
    bundle = changed(
        signing.sign(DIGESTS, "m", KEY), lambda d: d["verificationMaterial"].update(publicKey={"rawBytes": "AAAA"})
    )

    assert [text.split(": ")[1][:26] for text in bundle_problems(bundle, key=key)] == rule


def test_one_who_reseals_a_version_is_found_out(version) -> None:
    """Manifest and sums that fit again do not help: they were signed too."""
    edit(version / "run.json", lambda document: document.update(stopped="patience"))
    reseal(version)

    assert integrity.inspect(version).problems == ()
    assert [text.split(":")[0] for text in problems(version)] == ["manifest.json", "run.json", "sha256sum.txt"]


def test_an_absent_asset_is_covered_by_its_digest(version) -> None:
    """What is not on this machine was signed with the manifest."""
    (version / "checkpoint.safetensors").unlink()

    assert problems(version) == []


def test_an_asset_is_not_covered_once_its_digest_is_another(version) -> None:
    """Without the file, the digest in the manifest is what counts."""
    (version / "checkpoint.safetensors").write_bytes(b"x")
    reseal(version)
    (version / "checkpoint.safetensors").unlink()

    assert any(text.startswith("checkpoint.safetensors: has sha256") for text in problems(version))


def test_the_signature_of_another_version_does_not_fit(version) -> None:
    """Not even of one with another number and the same weights: its manifest says so."""
    edit(version / "manifest.json", lambda document: document.update(version="0.2.0"))
    reseal(version)

    assert any(text.startswith("manifest.json: has sha256") for text in problems(version))


def test_an_unsigned_version_is_a_problem(version) -> None:
    """Where a key was given."""
    (version / "model.sig").unlink()

    assert problems(version) == ["model.sig: is missing: nobody has signed this version"]


def test_a_signature_that_is_no_file_is_a_problem(version) -> None:
    """No crash over a folder in its place."""
    (version / "model.sig").unlink()
    (version / "model.sig").mkdir()

    assert any("not a regular file" in text for text in problems(version))


def test_a_broken_manifest_is_a_problem(version) -> None:
    """Without one, nothing says what should have been signed."""
    (version / "manifest.json").write_text("{}")
    (found, *_) = signing.find_version_problems(version, KEY.public_key())

    assert found.where.startswith("manifest.json")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"), "mediaType"),
        (lambda d: d.update(surprise=1), "unknown key"),
        (lambda d: d["verificationMaterial"].pop("publicKey"), "publicKey: "),
        (lambda d: d["verificationMaterial"].update(certificate={"rawBytes": ""}), "certificate: unknown key"),
        (lambda d: d["dsseEnvelope"].update(payloadType="text/plain"), "payloadType"),
        (lambda d: d["dsseEnvelope"].update(signatures=[]), "signatures"),
        (lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0]), "signatures"),
        (lambda d: d["dsseEnvelope"].update(payload="é"), "payload is no base64"),
        (lambda d: d["dsseEnvelope"].update(payload="AB=="), "payload is no canonical base64"),
        (lambda d: d["dsseEnvelope"]["signatures"][0].update(sig=""), "is no signature of the key"),
        (lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), "is no signature of the key"),
    ],
)
def test_a_malformed_bundle_is_refused(change, rule) -> None:
    """In words that name the place."""
    bundle = changed(signing.sign(DIGESTS, "m", KEY), change)

    assert any(rule in text for text in bundle_problems(bundle)), bundle_problems(bundle)


def test_nothing_is_read_before_the_signature_is_right() -> None:
    """What stands in an envelope of somebody else is not even parsed."""
    bundle = changed(signing.sign(DIGESTS, "m", KEY), lambda d: d["dsseEnvelope"].update(payload="e30="))

    assert [text.split(" of ")[0] for text in bundle_problems(bundle)] == ["model.sig: is no signature"]


@pytest.mark.parametrize(
    ("bundle", "rule"),
    [
        (b"", "line 1"),
        (b"\xff", "not UTF-8"),
        (b'{"mediaType": 1, "mediaType": 1}', "duplicate key"),
        (b"[]", "model.sig"),
        (b" " * (signing.SIGNATURE_LIMIT + 1), "larger than"),
    ],
    ids=["empty", "bytes", "twice", "list", "large"],
)
def test_what_is_no_bundle_is_refused(bundle, rule) -> None:
    """One problem, no crash."""
    assert rule in bundle_problems(bundle)[0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
        (lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"), "predicateType"),
        (lambda s: s["subject"].append(s["subject"][0]), "subject"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "digest of its subject"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "lists a file twice"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"), "algorithm"),
        (lambda s: s["predicate"]["resources"][0].update(digest="0"), "digest"),
        (lambda s: s["predicate"].update(resources=[]), "resources"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "method"),
    ],
)
def test_a_statement_that_breaks_a_rule_is_refused(change, rule) -> None:
    """Even where the right key signed it."""
    assert any(rule in text for text in bundle_problems(resigned(change))), bundle_problems(resigned(change))


def test_a_statement_may_say_more() -> None:
    """What a later version of the format adds is ignored, as version 1.0 demands."""
    assert bundle_problems(resigned(lambda s: s["predicate"].update(card={"license": "MIT"}))) == []


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(noise) -> None:
    """Whatever they are."""
    with pytest.raises(InputError):
        signing.signed_digests(noise, KEY.public_key())
