"""Records: the committed schemas are the generated ones, and agree with pydantic."""

import contextlib
import copy
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import regress
import untraced
from example_run import (
    NOW,
    data_record,
    epoch,
    eval_metrics,
    hsmm_spec,
    model_spec,
    normalization,
    predictions,
    run_record,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError
from timing import processor_seconds

from modelreg import files
from modelreg.config import ProjectConfig, TrainConfig
from modelreg.errors import InputError, Problem
from modelreg.records import base
from modelreg.records.gates import Gate, GateReport
from modelreg.records.manifest import FileEntry, Manifest, Tool
from modelreg.records.model import ModelSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import numpy as np
import write_schemas

MANIFEST = Manifest(
    model="conv2d_fsq",
    version="0.1.0",
    created=NOW,
    tool=Tool(version="0.1.0"),
    git=None,
    files=(FileEntry(path="a/b.json", sha256="a" * 64, size=1, stored="git"),),
)
EXAMPLES = [
    MANIFEST,
    ProjectConfig(),
    TrainConfig(),
    data_record(),
    epoch(),
    eval_metrics(predictions(np.random.default_rng(0)), "a" * 64, "b" * 64),
    hsmm_spec(),
    model_spec(),
    normalization(),
    run_record("a" * 64),
]
WRONG = [None, -1, 1.5, "", "x\n", [], {}, True, 10**30, "../x", "A" * 200]


def test_the_committed_schemas_are_the_generated_ones(tmp_path, root) -> None:
    """Otherwise run `make schemas`."""
    write_schemas.main(tmp_path)
    generated = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert generated == {path.name: path.read_bytes() for path in (root / "schemas").iterdir()}


@pytest.mark.parametrize("record", write_schemas.DOCUMENTS, ids=lambda record: record.__name__)
def test_a_schema_is_valid_and_closed(record) -> None:
    """It is a valid 2020-12 schema that refuses unknown keys."""
    schema = base.json_schema(record)
    Draft202012Validator.check_schema(schema)

    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_is_read_back_from_its_bytes(record) -> None:
    """Reading inverts rendering."""
    assert base.parse(record.to_bytes(), type(record), "x") == record


@given(st.data())
def test_pydantic_and_schema_agree(data) -> None:
    """Whatever one value of a document is replaced by, both accept it or both refuse it.

    Left out: text with a newline at its end, which Python's `$` lets pass, 1.0 for an integer, and what only
    our validators know (these are the second opinion's blind spots; a document must pass both).
    """
    record = data.draw(st.sampled_from(EXAMPLES))
    document = record.to_document()
    changed = copy.deepcopy(document)
    place = data.draw(st.sampled_from(list(places(changed))))
    put(changed, place, data.draw(st.sampled_from([w for w in WRONG if w != "x\n"])))
    schema_accepts = not base.schema_problems(changed, type(record), "x")
    assert schema_accepts == pydantic_accepts(changed, type(record)), (place, changed)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
@given(data=st.data())
def test_an_inlined_schema_is_the_published_one(record, data) -> None:
    """With any replaced values, the schema without references finds the same problems as the published one."""
    document = copy.deepcopy(record.to_document())
    for place in data.draw(st.lists(st.sampled_from(list(places(document))), max_size=3)):
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the parent was replaced before
            put(document, place, data.draw(st.sampled_from(WRONG)))
    published = Draft202012Validator(base.json_schema(type(record)))
    expected = [(base.dotted("x", *error.path), error.message[:300]) for error in published.iter_errors(document)]
    found = [(problem.where, problem.message) for problem in base.schema_problems(document, type(record), "x")]

    assert sorted(found) == sorted(expected)


GOOD_NAMES = ["a", "walk", "run|fast", "Größe", "走る", "a b", "é", "👟", "\u200d", "ß" * 100]
BLANKS = [" ", "\xa0", "\u1680", *map(chr, range(0x2000, 0x200B)), "\u202f", "\u205f", "\u3000", "\ufeff"]
CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]


def takes_name(text) -> tuple[bool, bool, bool]:
    """Return whether Rust (pydantic), ECMA (check-jsonschema) and Python (jsonschema) accept a text as a name."""
    schema = TypeAdapter(base.Name).json_schema()
    try:
        TypeAdapter(base.Name).validate_python(text)
    except ValidationError:
        rust = False
    else:
        rust = True
    ecma = regress.Regex(schema["pattern"], "u").find(text) is not None and 1 <= len(text) <= 100
    return rust, ecma, Draft202012Validator(schema).is_valid(text)


@pytest.mark.parametrize("name", [*GOOD_NAMES, *(f"a{blank}b" for blank in BLANKS)])
def test_a_name_may_be_of_any_script(name) -> None:
    """Three engines of regular expressions accept it, with blanks inside."""
    assert takes_name(name) == (True, True, True)


@pytest.mark.parametrize("name", [f(each) for each in [*BLANKS, *CONTROLS] for f in (str, "{}a".format, "a{}".format)])
def test_a_name_neither_begins_nor_ends_with_a_blank(name) -> None:
    """Three engines refuse it, except one newline at the end, which Python's `$` accepts."""
    assert takes_name(name) == (False, False, name == "a\n")


@pytest.mark.parametrize("control", CONTROLS)
def test_a_name_is_one_line(control) -> None:
    """It has no control character and no line break of any kind."""
    assert takes_name(f"a{control}b") == (False, False, False)


def test_characters_that_a_card_would_lose_are_not_in_names() -> None:
    """Python strips these characters from a line, or breaks the line there."""
    lost = [c for c in map(chr, range(0x110000)) if c.strip() != c or len(f"a{c}b".splitlines()) > 1]

    assert set(lost) <= {*BLANKS, *CONTROLS}


@given(st.text(st.sampled_from('"\\ud8DcfF0a[]{},: '), max_size=30) | st.from_regex(r'\["(\\\\ud[89abcd]..|x)*"\]'))
def test_a_lone_surrogate_is_an_input_error(text) -> None:
    """JSON with paired or lone surrogates is read or refused, without another exception."""
    try:
        base.parse(text.encode("utf-8", "replace"), Manifest, "x")
    except InputError as error:
        found = error

    assert found.problems


def test_deep_nesting_is_an_input_error() -> None:
    """Unbalanced brackets are refused: by the parser, and just below its limit by the schema."""
    for depth in (100, *range(800, 1000), 100_000):
        with pytest.raises(InputError):
            base.parse(b'{"files":' + b"[" * depth + b"]" * depth + b"}", Manifest, "x")


def test_a_record_is_loaded_from_a_file(tmp_path) -> None:
    """Loading inverts writing."""
    files.write_atomic(tmp_path / "manifest.json", MANIFEST.to_bytes())

    assert base.load(tmp_path / "manifest.json", Manifest) == MANIFEST


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([repr, "{:.30e}".format, "{:.25f}".format]))
def test_a_number_is_read_as_python_reads_it(number, render) -> None:
    """The parser of pydantic gives the same float as the parser of the schema check."""
    text = render(number)

    assert base.validate(f'{{"min": {text}}}'.encode(), Gate, "x").to_document()["min"] == float(text)


def places(document, path=()):
    """Yield the path of every value in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def put(document, path, value):
    """Replace the value at a path."""
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def pydantic_accepts(document, record) -> bool:
    """Return whether the types accept it; an error of a validator of modelreg counts as accepted."""
    try:
        record.model_validate_json(json.dumps(document))
    except ValidationError as error:
        return all(part["type"] == "value_error" for part in error.errors())
    return True


def test_a_second_validator_accepts_our_documents(tmp_path, root) -> None:
    """check-jsonschema has a different engine and different regular expressions."""
    for record in EXAMPLES:
        name = type(record).__name__
        (tmp_path / f"{name}.json").write_bytes(record.to_bytes())
        schema = root / "schemas" / f"{name}.schema.json"
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, tmp_path / f"{name}.json"]
        subprocess.run(command, check=True, capture_output=True, env=untraced.environment())


def test_a_second_validator_refuses_an_escaping_path(tmp_path, root) -> None:
    """The published schema alone is enough."""
    document = MANIFEST.to_document()
    document["files"][0]["path"] = "../x"
    (tmp_path / "m.json").write_bytes(files.to_json(document))
    schema = root / "schemas" / "Manifest.schema.json"
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, tmp_path / "m.json"]

    assert subprocess.run(command, check=False, capture_output=True).returncode == 1


def test_a_newline_at_the_end_is_refused() -> None:
    """Schema or pydantic finds it."""
    document = MANIFEST.to_document()
    document["files"][0]["sha256"] = "a" * 64 + "\n"
    with pytest.raises(InputError, match=r"files\.0\.sha256"):
        base.parse(files.to_json(document), Manifest, "manifest.json")


def test_an_integer_written_as_a_float_is_refused() -> None:
    """The schema accepts 1.0 as an integer; the record does not."""
    data = MANIFEST.to_bytes().replace(b'"size": 1,', b'"size": 1.0,')
    with pytest.raises(InputError, match=r"files\.0\.size"):
        base.parse(data, Manifest, "manifest.json")


def test_an_error_has_the_dotted_path() -> None:
    """All problems in one error, each with file, path and rule."""
    document = MANIFEST.to_document()
    document["files"][0]["size"] = -1
    document["version"] = "one"
    with pytest.raises(InputError) as caught:
        base.parse(files.to_json(document), Manifest, "manifest.json")

    assert [problem.where for problem in caught.value.problems] == [
        "manifest.json: files.0.size",
        "manifest.json: version",
    ]


def test_an_unknown_kind_lists_the_known_ones() -> None:
    """Of a document that no JSON Schema was applied to."""
    with pytest.raises(InputError) as caught:
        base.validate(b'{"model": {"name": "perceptron"}}', TrainConfig, "w")

    assert [problem.rule for problem in caught.value.problems] == ["document.invalid-value"]


def test_a_document_over_the_limit_of_its_record_is_refused() -> None:
    """Before it is parsed."""
    with pytest.raises(InputError) as caught:
        base.parse(b" " * (Manifest.SIZE_LIMIT + 1), Manifest, "manifest.json")

    assert [(problem.where, problem.rule) for problem in caught.value.problems] == [
        ("manifest.json", "files.too-large")
    ]


def of_errors(outcomes: int) -> bytes:
    """Return a report of gates whose outcomes have no key: nine errors for four bytes."""
    return json.dumps({"schema_version": 1, "model": "m", "outcomes": [{}] * outcomes}).encode()


def test_the_first_violations_of_a_schema_are_listed() -> None:
    """A document can have more of them than fit into memory."""
    rules = [problem.rule for problem in problems_in(of_errors(10_000), GateReport)]

    assert (len(rules), rules[-1]) == (base.LISTED + 1, "document.more-problems")


def test_the_violations_of_a_union_are_not_kept() -> None:
    """Each member that does not fit may have one for every byte."""
    document = {"name": "conv2d_fsq", "widths": [{}] * 100_000}
    tracemalloc.start()
    try:
        problems = base.schema_problems({"settings": document}, ModelSpec, "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert ("x: settings", "document.invalid-value") in {(problem.where, problem.rule) for problem in problems}
    assert peak < 20_000_000


@pytest.mark.no_cover
def test_errors_are_told_apart_in_proportional_time() -> None:
    """Four times the errors take about four times as long."""

    def seconds(outcomes: int) -> float:
        data = of_errors(outcomes)

        def validate() -> None:
            with contextlib.suppress(InputError):
                base.validate(data, GateReport, "x")

        return processor_seconds(validate)

    short, long = seconds(500), seconds(2000)

    assert long < 9 * max(short, 0.05)


def problems_in(data: bytes, record: type[base.Record]) -> list[Problem]:
    """Return the problems of a document."""
    with pytest.raises(InputError) as caught:
        base.parse(data, record, "x")
    return caught.value.problems
