"""provenance: what the statement about a checkpoint says of its training."""

from example_records import example_data_record, example_run_record

from modelreg.documents import provenance
from modelreg.registry import filenames


def test_the_builder_is_the_modelreg_that_finished_the_training() -> None:
    """The one that started it is among the internal parameters."""
    run = example_run_record().model_copy(update={"resumed_by": ("0.8.0", "0.9.0")})
    digests = {filenames.CHECKPOINT: "c" * 64}
    predicate = provenance.statement({}, run, example_data_record(), digests, filenames.CHECKPOINT).predicate

    assert predicate.run_details.builder.version == {"modelreg": "0.9.0"}
    assert predicate.build_definition.internal_parameters == run.environment
