"""Settings of ``teach``; importing them imports no torch."""

from pydantic import PositiveFloat, PositiveInt

from inarch.settings import Settings


class TeachSettings(Settings):
    """What is kept of a source model's distributions."""

    top_k: PositiveInt = 10
    """Candidates kept per position; the mass of all others is kept as one number."""
    temperature: PositiveFloat = 1.0
    """Divides the logits before the softmax of the kept distribution."""
    batch_tokens: PositiveInt = 16384
    """Padded tokens of one forward pass."""
    shard_rows: PositiveInt = 512
    """Documents per shard; a killed run repeats at most one shard."""
    online: bool = False
    """Run the teachers inside the training step and store nothing."""
