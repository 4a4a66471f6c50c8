"""The ``README.md`` of a trained tagger: what it is, how it was made, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.flows._spans.settings import SpansRun
from inarch.io.files import write_text

_CARD = """\
---
pipeline_tag: token-classification
library_name: transformers
tags: [toxic-spans, inarch]
---

# Toxic spans: {encoder}, aux {aux}, head {head}

Finds the characters that make a text toxic. Made by `inarch spans train` with seed {seed}, from
{num_posts} posts of `{train}`{chosen}.

```python
from inarch.spans.tagger import Tagger

Tagger.from_pretrained("this folder").tag("you silly goose")
```

{pipeline}

## Limits

- Its training posts hold slurs and insults, and so do the words that it knows.
- It learns what its annotators marked. In the posts of SemEval-2021 Task 5, train and trial look
  like the union of three raters and test like their majority: 6 % of the training posts have no
  span and 20 % of test have none. A tagger that was trained and chosen on the former marks too
  much by the standard of the latter, so its scores are no probabilities of a majority.
- Names of groups are often inside spans of the training posts; look at what it does to neutral
  sentences about people (`inarch.spans.fairness`) before it decides over anything.
- It reads words, not intentions: quotations, negations and irony are marked like the rest.
- It speaks the language of its posts alone.
"""
_PIPELINE = """\
After `import inarch.spans.model`, the `token-classification` pipeline of transformers loads it too.
Its logits are log-marginals, of which the pipeline takes the best tag by tag, and `Tagger` the best
path."""


def write_card(folder: Path, settings: SpansRun, facts: Mapping[str, Any]) -> None:
    """Write the card of a model.

    Args:
        folder: Of the model.
        settings: Of the run.
        facts: Of its manifest: ``num_posts``, and ``dev`` where an epoch was chosen.
    """
    chosen = ""
    if "dev" in facts:
        dev = facts["dev"]
        chosen = f"; the epoch was chosen on `{settings.data.dev}`: character F1 {dev['f1']:.4f}"
    own = settings.encoder
    text = _CARD.format(
        encoder=own.path or ("BiLSTM over words" if own.words else "an encoder from scratch"),
        aux=settings.aux,
        head=settings.head,
        seed=settings.train.seed,
        num_posts=facts["num_posts"],
        train=settings.data.train,
        chosen=chosen,
        pipeline="Its tokens are words of its own." if own.words else _PIPELINE,
    )
    write_text(folder / "README.md", text)
