"""What lies beside the weights of a checkpoint: configs, tokenizer, chat template."""

from collections.abc import Sequence
from pathlib import Path

from inarch.io.files import write_atomic

CONFIG_FILES = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""Everything that a tokenizer of transformers is saved as, its chat template with it."""
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
SIDE_FILES = (*CONFIG_FILES, *TOKENIZER_FILES, *PROCESSOR_FILES)


def copy_side_files(source: Path, out: Path, names: Sequence[str] = SIDE_FILES) -> tuple[str, ...]:
    """Copy those of the named files that `source` has into `out`, and return their names.

    Files are named, so that neither code nor weights ever come along; links are followed.

    Raises:
        DataError: The disk is full.
    """
    there = tuple(name for name in names if (source / name).is_file())
    for name in there:
        with write_atomic(out / name) as temp:
            temp.write_bytes((source / name).read_bytes())
    return there
