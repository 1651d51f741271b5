"""Released model cards name `modelreg.experiment.classify`; everything else is in `modelreg.workflows`."""

from modelreg.workflows.training_run import classify

__all__ = ["classify"]
