"""The model card, template version 2: the code of "How to run it" names the public API of modelreg alone.

It also says where the training was resumed by another modelreg, and where the 8-bit estimate depends on the processor.
Version 1 never changes, so the other sections are its own.
"""

import yaml

from modelreg.documents.templates.card_v1 import (
    _data_and_protocol,
    _front_matter,
    _gates,
    _intended_use,
    _results,
    _smoothing,
    _what_it_is,
    escape,
)
from modelreg.documents.templates.card_v1 import _estimate as _estimate_v1
from modelreg.documents.templates.card_v1 import _how_it_was_made as _how_it_was_made_v1
from modelreg.documents.templates.facts import Facts


def render(facts: Facts) -> str:
    """Return the card as Markdown."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=100)
    sections = (
        _what_it_is,
        _intended_use,
        _data_and_protocol,
        _results,
        _smoothing,
        _estimate,
        _gates,
        _how_to_run,
        _how_it_was_made,
    )
    body = "\n\n".join(filter(None, (section(facts) for section in sections)))
    return f"---\n{front}---\n\n# {facts.model} v{facts.version}\n\n{body}\n"


def _estimate(facts: Facts) -> str:
    text = _estimate_v1(facts)
    if facts.estimate is None or facts.estimate.arithmetic:
        return text
    return f"""{text}

**This estimate depends on the processor that it was made on.** Integer kernels computed it, and those of some
processors saturate."""


def _how_to_run(facts: Facts) -> str:
    channels, rows, timesteps = facts.spec.input.shape
    reference = f"{facts.model}@v{facts.version}"
    extra = "predict" if facts.graphs else "train"
    return f"""## How to run it

From the registry's folder, with `pip install 'modelreg[{extra}]'`:

```sh
modelreg verify {reference}
```

```python
import modelreg
import numpy as np

windows = np.zeros((1, {channels}, {rows}, {timesteps}), dtype=np.float32)  # yours: raw values in the units above
predictions = modelreg.load("{reference}").predict(windows)
classes, probabilities = predictions.classes, predictions.probabilities
```"""


def _how_it_was_made(facts: Facts) -> str:
    text, resumed = _how_it_was_made_v1(facts), facts.run.resumed_by
    if not resumed:
        return text
    return f"{text}\n\nThe training was interrupted, and resumed by modelreg {', '.join(map(escape, resumed))}."
