"""What touches the disk: models, tokenizers, tables, run folders; and progress."""
