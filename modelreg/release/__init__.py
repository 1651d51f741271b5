"""From a run or a version to a released one: plan, patch, init."""
