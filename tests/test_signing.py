"""signing: every change after signing is found."""

import base64
import json
import shutil

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from example_run import write_registry, write_run
from example_version import edit, make_version, reseal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import places

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
    """A copy of the version, for tests that change it."""
    return shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")


def problems(version, key=KEY):
    """Return the place and the rule of each problem of `verify --key`."""
    return places([*integrity.inspect(version).problems, *signing.find_version_problems(version, key.public_key())])


def bundle_problems(bundle, digests=None, key=KEY):
    """Return the problems of a signature bundle."""
    return list(signing.find_signature_problems(bundle, DIGESTS if digests is None else digests, key.public_key()))


def bundle_texts(bundle, **options):
    """Return the problems of a signature bundle as text."""
    return list(map(str, bundle_problems(bundle, **options)))


def changed(bundle, change):
    """Return a bundle whose outer document was changed."""
    document = json.loads(bundle)
    change(document)
    return json.dumps(document).encode()


def resigned(change):
    """Return a bundle whose statement was changed and signed again with the same key."""
    document = json.loads(signing.sign(DIGESTS, "v0.1.0", KEY))
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(statement)
    return signing._sealed(json.dumps(statement).encode(), KEY)


def test_a_signed_version_verifies(version) -> None:
    """There is no problem."""
    assert problems(version) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_flipped_bit_is_found(version, data) -> None:
    """In any file of a signed version, including the signature."""
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
    """Names, base64, digests and white space: every byte of a bundle is checked."""
    assert bundle_problems(flip(data, signing.sign(DIGESTS, "v0.1.0", key)), key=key)


def flip(data, original):
    """Flip one bit."""
    broken = bytearray(original)
    broken[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(broken)


@given(st.data())
def test_every_difference_is_named(data) -> None:
    """All unexpected, missing and changed files, and nothing else."""
    names = st.sampled_from(["a", "b/c", "b.c", "d", "e"])
    digests = st.dictionaries(names, st.sampled_from(["0" * 64, "1" * 64]), min_size=1)
    signed, here = data.draw(digests), data.draw(digests)
    found = bundle_problems(signing.sign(signed, "m", KEY), here)

    assert [each.where for each in found] == sorted(
        name for name in signed.keys() | here.keys() if signed.get(name) != here.get(name)
    )


@pytest.mark.parametrize(
    ("here", "where", "rule"),
    [
        ({**DIGESTS, "x": "0" * 64}, "x", "sign.file-unexpected"),
        ({name: DIGESTS[name] for name in ("a.txt", "onnx.json")}, "onnx/b.onnx", "sign.file-missing"),
        ({**DIGESTS, "a.txt": "0" * 64}, "a.txt", "sign.digest-mismatch"),
    ],
    ids=["unexpected", "missing", "changed"],
)
def test_a_difference_has_its_rule(here, where, rule) -> None:
    """Unexpected, missing and changed files."""
    assert places(bundle_problems(signing.sign(DIGESTS, "m", KEY), here)) == [(where, rule)]


def test_the_same_key_and_files_give_the_same_bytes() -> None:
    """RFC 6979: there is no randomness, and the order does not matter."""
    assert signing.sign(dict(reversed(DIGESTS.items())), "m", KEY) == signing.sign(DIGESTS, "m", KEY)


def test_an_openssl_without_deterministic_signatures_is_refused(monkeypatch) -> None:
    """Some distributions link cryptography with an OpenSSL before 3.2."""

    def older(*_: object, deterministic_signing: bool) -> None:
        raise UnsupportedAlgorithm("ECDSA with deterministic signature (RFC 6979)")

    monkeypatch.setattr(signing.ec, "ECDSA", older)
    with pytest.raises(InputError) as caught:
        signing.sign(DIGESTS, "m", KEY)

    assert places(caught.value.problems) == [("OpenSSL", "sign.openssl-too-old")]


def test_another_key_is_named() -> None:
    """The message has both fingerprints."""
    (found,) = bundle_problems(signing.sign(DIGESTS, "m", KEY), key=OTHER)

    assert found.rule == "sign.key-mismatch"
    assert all(keys.fingerprint(key.public_key()) in found.message for key in (KEY, OTHER))


@pytest.mark.parametrize(
    ("key", "found"),
    [(KEY, []), (OTHER, [("model.sig", "sign.signature-invalid")])],
    ids=["right", "wrong"],
)
def test_a_bundle_need_not_name_its_key(key, found) -> None:
    """Bundles of earlier tools do not have a fingerprint. Only the signature counts."""
    bundle = changed(
        signing.sign(DIGESTS, "m", KEY), lambda d: d["verificationMaterial"].update(publicKey={"rawBytes": "AAAA"})
    )

    assert places(bundle_problems(bundle, key=key)) == found


def test_a_changed_version_with_matching_digests_is_found(version) -> None:
    """The manifest and sha256sum.txt are signed as well."""
    edit(version / "run.json", lambda document: document.update(stopped="patience"))
    reseal(version)

    assert integrity.inspect(version).problems == ()
    changed_files = ("manifest.json", "run.json", "sha256sum.txt")
    assert problems(version) == [(name, "sign.digest-mismatch") for name in changed_files]


def test_an_absent_asset_is_covered_by_its_digest(version) -> None:
    """A file that is not on this machine was signed with the manifest."""
    (version / "checkpoint.safetensors").unlink()

    assert problems(version) == []


def test_a_changed_digest_of_an_absent_asset_is_found(version) -> None:
    """Without the file, the digest in the manifest is compared."""
    (version / "checkpoint.safetensors").write_bytes(b"x")
    reseal(version)
    (version / "checkpoint.safetensors").unlink()

    assert ("checkpoint.safetensors", "sign.digest-mismatch") in problems(version)


def test_the_signature_of_another_version_does_not_fit(version) -> None:
    """Not even for a version with the same weights: its manifest differs."""
    edit(version / "manifest.json", lambda document: document.update(version="0.2.0"))
    reseal(version)

    assert ("manifest.json", "sign.digest-mismatch") in problems(version)


def test_an_unsigned_version_is_a_problem(version) -> None:
    """If a key is given."""
    (version / "model.sig").unlink()

    assert problems(version) == [("model.sig", "sign.signature-missing")]


def test_a_folder_in_place_of_a_signature_is_a_problem(version) -> None:
    """It does not crash."""
    (version / "model.sig").unlink()
    (version / "model.sig").mkdir()

    assert "files.not-regular" in {rule for _, rule in problems(version)}


def test_a_broken_manifest_is_a_problem(version) -> None:
    """Without a manifest, the signed files are unknown."""
    (version / "manifest.json").write_text("{}")
    (found, *_) = signing.find_version_problems(version, KEY.public_key())

    assert found.where.startswith("manifest.json")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"), "mediaType"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["verificationMaterial"].pop("publicKey"), "publicKey: "),
        (lambda d: d["verificationMaterial"].update(certificate={"rawBytes": ""}), "certificate"),
        (lambda d: d["dsseEnvelope"].update(payloadType="text/plain"), "payloadType"),
        (lambda d: d["dsseEnvelope"].update(signatures=[]), "signatures"),
        (lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0]), "signatures"),
    ],
)
def test_a_bundle_that_breaks_the_format_is_refused(change, rule) -> None:
    """The problem names the place."""
    bundle = changed(signing.sign(DIGESTS, "m", KEY), change)

    assert any(rule in text for text in bundle_texts(bundle)), bundle_texts(bundle)


@pytest.mark.parametrize(
    ("change", "rule", "named"),
    [
        (lambda d: d["dsseEnvelope"].update(payload="é"), "sign.bundle-invalid", "payload"),
        (lambda d: d["dsseEnvelope"].update(payload="AB=="), "sign.bundle-invalid", "canonical"),
        (lambda d: d["dsseEnvelope"].update(payload="e30="), "sign.signature-invalid", ""),
        (lambda d: d["dsseEnvelope"]["signatures"][0].update(sig=""), "sign.signature-invalid", ""),
        (lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), "sign.signature-invalid", ""),
    ],
)
def test_a_changed_envelope_is_refused_before_it_is_parsed(change, rule, named) -> None:
    """The statement is parsed only after its signature was verified."""
    (found,) = bundle_problems(changed(signing.sign(DIGESTS, "m", KEY), change))

    assert (found.where, found.rule, named in found.message) == ("model.sig", rule, True)


@pytest.mark.parametrize(
    ("bundle", "rule"),
    [
        (b"", "json.invalid"),
        (b"\xff", "files.not-utf8"),
        (b'{"mediaType": 1, "mediaType": 1}', "json.duplicate-key"),
        (b" " * (signing.SIGNATURE_LIMIT + 1), "files.too-large"),
    ],
    ids=["empty", "bytes", "twice", "large"],
)
def test_a_file_that_is_not_a_bundle_is_refused(bundle, rule) -> None:
    """There is one problem, and no crash."""
    assert places(bundle_problems(bundle)) == [("model.sig", rule)]


def test_a_list_is_not_a_bundle() -> None:
    """It is refused like any invalid document."""
    assert "model.sig" in bundle_texts(b"[]")[0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
        (lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"), "predicateType"),
        (lambda s: s["subject"].append(s["subject"][0]), "subject"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "subject's digest"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "twice"),
        (lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"), "algorithm"),
        (lambda s: s["predicate"]["resources"][0].update(digest="0"), "digest"),
        (lambda s: s["predicate"].update(resources=[]), "resources"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "method"),
    ],
)
def test_a_statement_that_breaks_a_rule_is_refused(change, rule) -> None:
    """Even if it has a valid signature."""
    assert any(rule in text for text in bundle_texts(resigned(change))), bundle_texts(resigned(change))


def test_unknown_fields_of_a_statement_are_ignored() -> None:
    """Version 1.0 of the format requires it."""
    assert bundle_problems(resigned(lambda s: s["predicate"].update(card={"license": "MIT"}))) == []


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(noise) -> None:
    """With an InputError."""
    with pytest.raises(InputError):
        signing.signed_digests(noise, KEY.public_key())
