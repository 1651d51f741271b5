"""What a run must be for a command."""

import pytest
from example_run import write_run
from places import places

from modelreg.errors import InputError
from modelreg.workflows import run_checks


@pytest.mark.parametrize(
    ("status", "expected", "rule"),
    [("training", "trained", "run.not-trained"), ("trained", "training", "run.already-trained")],
)
def test_a_run_of_another_status_is_refused(tmp_path, status, expected, rule) -> None:
    """With the command for it."""
    run = write_run(tmp_path / "run", status=status)
    with pytest.raises(InputError) as caught:
        run_checks.load_checked(run, status=expected)

    assert places(caught.value.problems) == [(str(run), rule)]
