"""Released model cards name `modelreg.experiment.classify`; everything else is in `modelreg.workflows`."""

from modelreg.workflows.inference import classify

__all__ = ["classify"]
