"""Text -> the characters that make it toxic."""
