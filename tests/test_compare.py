"""compare: two versions or runs, as a record, a table, Markdown and a page."""

import re
import shutil

import pytest
from example_records import CLASSES, LEVELS, SETTINGS, example_metrics, example_predictions
from example_run import NOW, write_registry, write_run
from example_version import edit, make_version

from modelreg.cli.main import main
from modelreg.documents.report import comparison
from modelreg.errors import InputError
from modelreg.evaluation import metrics, paired_comparison
from modelreg.evaluation.paired_comparison import Side
from modelreg.records.base import parse
from modelreg.records.comparison import Change, Comparison, Contender, PairedComparison
from modelreg.records.latency import Hardware, LatencyRecord, LatencySpread
from modelreg.records.metrics import Reason
from modelreg.registry import filenames
from modelreg.workflows import compare

SPREAD = LatencySpread(p50_ms=1.0, p95_ms=2.0, p99_ms=3.0, max_ms=4.0)


def latency(**changes) -> LatencyRecord:
    """A benchmark; its numbers are made up and never reported."""
    record = LatencyRecord(
        model="conv2d_fsq",
        version=None,
        backend="onnxruntime",
        sha256="a" * 64,
        threads=1,
        windows=100,
        warm_up=10,
        measured=NOW,
        **SPREAD.to_document(),
        device_part=SPREAD,
        windows_per_s=900.0,
        hardware=Hardware(board=None, processor=None, machine="x86_64", cores=2, system="Linux"),
        packages={},
    )
    return record.model_copy(update=changes)


def contender(reference="one", seed=0, **changes) -> Contender:
    """One of two models that predicted the same windows of six subjects."""
    predictions = example_predictions(seed=seed)
    computed = metrics.compute(predictions, classes=CLASSES, levels=LEVELS, settings=SETTINGS)
    measured = example_metrics().model_copy(update=dict(computed))
    return Contender(reference=reference, metrics=measured, checkpoint_bytes=1000, latency=None).model_copy(
        update=changes
    )


def worse(share: float) -> metrics.Predictions:
    """The same windows, a share of them answered with the next class."""
    predictions = example_predictions()
    logits = predictions.logits.copy()
    wrong = slice(0, int(share * len(logits)))
    logits[wrong] = logits[wrong][:, [3, 0, 1, 2]]
    return predictions._replace(logits=logits)


def example_comparison(share=0.9, **changes) -> Comparison:
    """A comparison with intervals."""
    paired = paired_comparison.compare(Side(example_predictions(), CLASSES), Side(worse(share), CLASSES), SETTINGS)
    found = Comparison(one=contender("old"), other=contender("new_1"), paired=paired, config=(), data=())
    return found.model_copy(update=changes)


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """The working directory: a registry with two evaluated runs."""
    write_registry(tmp_path)
    for seed in (0, 1):
        write_run(tmp_path / f"runs/conv2d_fsq-00{seed + 1}", seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def candidate(folder) -> compare.Candidate:
    """What is read of a folder."""
    return compare.read_candidate(folder)


# Reading


def test_a_run_and_its_version_differ_in_nothing(two_runs) -> None:
    """Except in their names: the paths of a configuration are removed on both sides."""
    run = two_runs / "runs/conv2d_fsq-001"
    version = make_version(two_runs, run)
    found = compare.compare(candidate(run), candidate(version))

    assert (found.config, found.data, found.one.metrics) == ((), (), found.other.metrics)
    assert (found.one.reference, found.other.reference) == ("conv2d_fsq-001", "conv2d_fsq@v0.1.0")
    assert found.one.checkpoint_bytes == found.other.checkpoint_bytes


def test_differences_of_configuration_and_data_have_their_paths(two_runs) -> None:
    """Both documents, value by value."""
    other = two_runs / "runs/conv2d_fsq-002"
    edit(other / filenames.CONFIG, lambda document: document["training"].update(seed=7))
    edit(other / filenames.DATA, lambda document: document.update(hop=4))
    found = compare.compare(candidate(two_runs / "runs/conv2d_fsq-001"), candidate(other))

    assert found.config == (Change(path="training.seed", one=0, other=7),)
    assert found.data == (Change(path="hop", one=8, other=4),)


def test_latency_is_read_where_it_was_measured(two_runs) -> None:
    """And null where it was not."""
    run = two_runs / "runs/conv2d_fsq-001"
    (run / filenames.LATENCY).write_bytes(latency().to_bytes())

    assert candidate(run).contender.latency == latency()
    assert candidate(two_runs / "runs/conv2d_fsq-002").contender.latency is None


@pytest.mark.parametrize("which", [0, 1])
def test_absent_predictions_are_a_reason(two_runs, which) -> None:
    """An asset may be missing here; metrics, sizes and documents are still compared."""
    folders = [two_runs / f"runs/conv2d_fsq-00{number}" for number in (1, 2)]
    (folders[which] / filenames.PREDICTIONS).unlink()
    found = compare.compare(*map(candidate, folders))

    assert isinstance(found.paired, Reason)
    assert f"{folders[which].name} has no predictions.npz" in found.paired.reason


def other_predictions(run) -> None:
    """Those of another run."""
    shutil.copy(run.parent / "conv2d_fsq-002" / filenames.PREDICTIONS, run)


def unlisted_checkpoint(run) -> None:
    """The manifest of a version that is silent about its weights."""
    version = make_version(run.parents[1], run)
    edit(
        version / "manifest.json",
        lambda d: d.update(files=[e for e in d["files"] if e["path"] != filenames.CHECKPOINT]),
    )
    shutil.rmtree(run)
    version.rename(run)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda run: (run / filenames.METRICS).unlink(), "run.not-evaluated"),
        (lambda run: (run / filenames.RUN).unlink(), "reference.not-a-model"),
        (other_predictions, "evaluate.predictions-mismatch"),
        (unlisted_checkpoint, "manifest.file-unlisted"),
    ],
    ids=["not-evaluated", "no-run", "other-predictions", "unlisted"],
)
def test_what_cannot_be_compared_is_refused(two_runs, spoil, rule) -> None:
    """Each cause has its rule."""
    run = two_runs / "runs/conv2d_fsq-001"
    spoil(run)
    with pytest.raises(InputError) as caught:
        candidate(run)

    assert [problem.rule for problem in caught.value.problems] == [rule]


# Documents


def test_rows_state_the_records(two_runs) -> None:
    """Each metric of both, the paired ones with their interval."""
    found = example_comparison()
    assert isinstance(found.paired, PairedComparison)
    pair = found.paired.metrics["macro_f1"]
    rows = {row[0]: row[1:] for row in comparison.comparison_rows(found)}

    assert rows["macro F1"][:3] == (f"{pair.one:.4f}", f"{pair.other:.4f}", f"{pair.difference:+.4f}")
    assert rows["macro F1"][3] == f"{pair.interval.low:+.4f} to {pair.interval.high:+.4f}"
    assert rows["log loss"] == (f"{found.one.metrics.log_loss:.4f}", f"{found.other.metrics.log_loss:.4f}", "0", "")


def test_a_significant_difference_has_a_direction() -> None:
    """Equal models have no significant difference."""
    verdicts = comparison.comparison_verdicts(example_comparison())
    equal = comparison.comparison_verdicts(example_comparison(0.0))

    assert any(re.match(r"macro F1: B is 0\.\d+ lower", verdict) for verdict in verdicts)
    assert any(verdict.startswith("macro F1: no significant difference") for verdict in equal)
    assert any(verdict.startswith("McNemar's test: 0 windows correct in A only, 0 in B only") for verdict in equal)


def test_a_better_second_is_higher() -> None:
    """The other direction."""
    paired = paired_comparison.compare(Side(worse(0.9), CLASSES), Side(example_predictions(), CLASSES), SETTINGS)
    verdicts = comparison.comparison_verdicts(example_comparison(paired=paired))

    assert any(re.match(r"accuracy: B is 0\.\d+ higher", verdict) for verdict in verdicts)


def test_windows_of_one_model_are_counted() -> None:
    """They are not compared."""
    fewer = Side(example_predictions().rows(range(200)), CLASSES)
    paired = paired_comparison.compare(fewer, Side(worse(0.5), CLASSES), SETTINGS)
    verdicts = comparison.comparison_verdicts(example_comparison(paired=paired))

    assert verdicts[0].endswith("Windows predicted by one model only are not compared: 40.")


def test_without_shared_windows_the_reason_is_given() -> None:
    """The metrics are those of each model's test windows."""
    found = example_comparison(paired=Reason(reason="the models have no test windows in common"))
    rows = {row[0]: row[1:] for row in comparison.comparison_rows(found)}

    assert "the models have no test windows in common" in comparison.comparison_verdicts(found)[0]
    assert rows["accuracy"][0] == f"{found.one.metrics.accuracy:.4f}"


def test_latencies_of_different_machines_are_not_compared() -> None:
    """Times are shown, with the limits of their comparison."""
    found = example_comparison(
        one=contender("old", latency=latency()), other=contender("new", latency=latency(threads=2))
    )
    rows = {row[0]: row[1:] for row in comparison.comparison_rows(found)}

    assert rows["median latency (ms)"] == ("1.000", "1.000", "+0.000", "")
    assert comparison.comparison_verdicts(found)[-1].startswith("The latencies were measured on different machines")


def test_speed_of_one_alone_is_shown() -> None:
    """Without a difference; on one machine nothing is said of it."""
    found = example_comparison(one=contender("old", latency=latency()))
    alike = example_comparison(one=contender("a", latency=latency()), other=contender("b", latency=latency()))

    assert ("throughput (windows/s)", "900.000", "", "", "") in comparison.comparison_rows(found)
    assert not any("The times" in each for shown in (found, alike) for each in comparison.comparison_verdicts(shown))


def test_markdown_escapes_names_and_values() -> None:
    """Keys and values of a configuration may contain any name."""
    change = Change(path="data.labels.a|b", one=None, other=["a|b"])
    text = comparison.comparison_markdown(example_comparison(config=(change,)))

    assert '| data.labels.a\\|b | null | \\["a\\|b"\\] |' in text
    assert "# old and new\\_1" in text
    assert "## Data\n\nNo differences." in text


def test_the_page_contains_its_plots() -> None:
    """Differences, classes and subjects, for light and dark."""
    page = comparison.comparison_page(example_comparison())

    assert page.count("data:image/png;base64,") == 6
    assert "<h2" in page


def test_pages_of_models_that_share_nothing_have_no_picture() -> None:
    """Other classes, other subjects, no shared window."""
    other = contender("new")
    renamed = {f"x{name}": row for name, row in other.metrics.per_class.items()}
    strangers = {f"x{name}": row for name, row in other.metrics.per_subject.items()}
    changed = other.metrics.model_copy(update={"per_class": renamed, "per_subject": strangers})
    found = example_comparison(
        other=other.model_copy(update={"metrics": changed}), paired=Reason(reason="they tell other classes apart")
    )
    found = found.model_copy(update={"one": contender("old")})

    assert "data:image" not in comparison.comparison_page(found)


# The command


def test_compare_prints_a_table_of_80_columns(two_runs, monkeypatch, capsys) -> None:
    """Metrics, and what differs in configuration and data."""
    monkeypatch.setenv("COLUMNS", "80")
    edit(two_runs / "runs/conv2d_fsq-002" / filenames.CONFIG, lambda document: document["training"].update(seed=7))
    assert main(["compare", "runs/conv2d_fsq-001", "runs/conv2d_fsq-002"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[:2] == ["A: conv2d_fsq-001", "B: conv2d_fsq-002"]
    assert any(line.startswith("macro F1") for line in lines)
    assert any(line.split() == ["training.seed", "0", "7"] for line in lines)
    assert lines[-1] == "data: no difference"
    assert max(len(line) for line in lines[2:14]) <= 80


def test_compare_prints_the_record(two_runs, capsys) -> None:
    """Which is read again by its schema."""
    make_version(two_runs, two_runs / "runs/conv2d_fsq-001")
    (two_runs / "runs/conv2d_fsq-002" / filenames.LATENCY).write_bytes(latency().to_bytes())
    assert main(["compare", "v0.1.0", "runs/conv2d_fsq-002", "--json"]) == 0
    found = parse(capsys.readouterr().out.encode(), Comparison, "stdout")

    assert (found.one.reference, found.other.latency) == ("conv2d_fsq@v0.1.0", latency())


def test_compare_prints_markdown_and_writes_a_page(two_runs, capsys) -> None:
    """Both from the same record."""
    pair = ["runs/conv2d_fsq-001", "runs/conv2d_fsq-002"]
    assert main(["compare", *pair, "--markdown", "--html", "out.html"]) == 0

    assert capsys.readouterr().out.startswith("# conv2d\\_fsq-001 and conv2d\\_fsq-002\n")
    assert "<html" in (two_runs / "out.html").read_text()
    assert main(["compare", *pair, "--html", "out.html"]) == 0
    assert capsys.readouterr().out.endswith("page: out.html\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a", "b", "--json", "--markdown"], 2),
        (["runs/conv2d_fsq-001", "old.onnx", "--markdown"], 2),
        (["runs/conv2d_fsq-001", "runs/none"], 5),
        (["runs/conv2d_fsq-001", "v9.0.0"], 5),
    ],
)
def test_compare_refuses_unknown_versions_and_wrong_options(two_runs, words, code) -> None:
    """Exit 2 for usage, 5 for an unknown version."""
    assert main(["compare", *words]) == code
