"""A model, an order of blocks to remove. The table of methods is the whole registry."""
